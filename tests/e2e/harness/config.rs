//! The configuration file of one test: the least that serves, and what the test adds to it.

use std::fmt::Write;
use std::net::SocketAddr;

use super::{Origin, event_loops};

/// One listener on a free port, and at first one service behind one route for everything.
pub struct Config {
    address: String,
    /// How many shards there are; by default as many as the machine has room for.
    shards: String,
    event_loop: String,
    proxies: String,
    listener: String,
    admin: String,
    services: Vec<String>,
    routes: Vec<String>,
    top: String,
}

impl Config {
    pub fn to(origin: &Origin) -> Self {
        Self::to_addresses(&[origin.address])
    }

    pub fn to_addresses(addresses: &[SocketAddr]) -> Self {
        Self::empty().service("origin", addresses, "").route("all", "origin", "paths: [\"/\"]")
    }

    /// Neither services nor routes.
    pub fn empty() -> Self {
        Self {
            address: "127.0.0.1:0".to_owned(),
            shards: "auto".to_owned(),
            event_loop: event_loops::wanted(),
            proxies: String::new(),
            listener: String::new(),
            admin: "enabled: false".to_owned(),
            services: Vec::new(),
            routes: Vec::new(),
            top: String::new(),
        }
    }

    pub fn listen(mut self, address: impl ToString) -> Self {
        self.address = address.to_string();
        self
    }

    /// Peers of this network begin with a PROXY header.
    pub fn proxy_protocol_from(mut self, network: &str) -> Self {
        self.proxies = network.to_owned();
        self
    }

    /// With an admin listener on a free port.
    pub fn admin(mut self) -> Self {
        self.admin = "address: \"127.0.0.1:0\"".to_owned();
        self
    }

    /// The gateway is to be on io_uring, and can be here.
    pub fn must_have_ring(&self) -> bool {
        self.event_loop == "uring" && event_loops::refused().is_none()
    }

    /// On this event loop, whatever the suite is run on.
    pub fn event_loop(mut self, event_loop: &str) -> Self {
        self.event_loop = event_loop.to_owned();
        self
    }

    /// For tests of what each shard has of its own: upstream connections, turns, memory.
    pub fn one_shard(mut self) -> Self {
        self.shards = "1".to_owned();
        self
    }

    pub fn shards(mut self, count: usize) -> Self {
        self.shards = count.to_string();
        self
    }

    /// `more` is YAML for the inside of the service's `{ }`.
    pub fn service(mut self, name: &str, addresses: &[SocketAddr], more: &str) -> Self {
        let endpoints: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        self.services.push(format!("name: {name}, endpoints: [{}]{}", endpoints.join(", "), comma(more)));
        self
    }

    pub fn route(mut self, name: &str, service: &str, more: &str) -> Self {
        self.routes.push(format!("name: {name}, service: {service}{}", comma(more)));
        self
    }

    /// A route that leads to no service of its own: `action` is YAML.
    pub fn acting(mut self, name: &str, action: &str) -> Self {
        self.routes.push(format!("name: {name}{}", comma(action)));
        self
    }

    /// Adds to the listener.
    pub fn of_listener(mut self, more: &str) -> Self {
        self.listener.push_str(&comma(more));
        self
    }

    /// Adds to the last service.
    pub fn of_service(mut self, more: &str) -> Self {
        self.services.last_mut().unwrap().push_str(&comma(more));
        self
    }

    /// Adds to the last route.
    pub fn of_route(mut self, more: &str) -> Self {
        self.routes.last_mut().unwrap().push_str(&comma(more));
        self
    }

    /// Adds a key of the file's top.
    pub fn with(mut self, top: &str) -> Self {
        writeln!(self.top, "{top}").unwrap();
        self
    }

    pub fn yaml(&self) -> String {
        let proxies = if self.proxies.is_empty() { "[]".to_owned() } else { format!("[\"{}\"]", self.proxies) };
        let listener =
            format!("name: public, address: \"{}\", proxy_protocol_from: {proxies}{}", self.address, self.listener);
        let mut yaml = format!("version: 1\nlisteners:\n  - {{ {listener} }}\n");
        writeln!(yaml, "runtime: {{ shards: {}, event_loop: {} }}", self.shards, self.event_loop).unwrap();
        writeln!(yaml, "admin: {{ {} }}", self.admin).unwrap();
        for (key, entries) in [("services", &self.services), ("routes", &self.routes)] {
            if !entries.is_empty() {
                writeln!(yaml, "{key}:").unwrap();
            }
            for entry in entries {
                writeln!(yaml, "  - {{ {entry} }}").unwrap();
            }
        }
        yaml + &self.top
    }
}

fn comma(more: &str) -> String {
    if more.is_empty() { String::new() } else { format!(", {more}") }
}
