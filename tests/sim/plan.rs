//! What a simulated gateway goes by.

use crate::generate::JSON_BYTES_MAX;
use crate::limits::Limits;
use shardgate::policy::{Chain, Consumers, Declared, Order, Password, Policy, Scope, Slot};
use shardgate::proxy::limits::Limits as Bounds;
use shardgate::proxy::{Entrance, Gate, Plan, Settings};
use shardgate::route::{Action, HostRule, PathRule, Route, Rule, Table};
use shardgate::upstream::service::{Endpoint, PoolLimits, Retry, Service, Timeouts};
use std::sync::Arc;

/// Without policies.
pub fn plan(limits: Bounds, timeouts: Timeouts, retry: Retry) -> Plan {
    let endpoints = ORIGINS.map(|address| Endpoint { address: address.into(), name: "origin.internal:9000".into() });
    let service = Service {
        id: 0,
        name: "origin".into(),
        endpoints: endpoints.to_vec(),
        timeouts,
        pool: PoolLimits::default(),
        retry,
    };
    let path = PathRule::Prefix(Box::from(&b"/x"[..]));
    let rule = Rule { host: HostRule::Any, path, predicates: Arc::default(), rank: 1 };
    let route = Route {
        id: 0,
        name: "x".into(),
        action: Action::Service(0),
        rewrite: None,
        rules: vec![rule],
        priority: 0,
        preserve_host: true,
        websocket: true,
        body_bytes_max: None,
    };
    let routes = vec![Arc::new(route)];
    let table = Table::compile(&routes);
    let password = Password { username: "ann".to_owned(), hash: HASH.to_owned() };
    let consumers =
        Consumers::new([], &[Declared { name: CONSUMER, passwords: vec![&password], ..Declared::default() }], None);
    let gates = vec![Gate { entrance: Entrance::new(GATEWAY.into(), 0), chain: None }];
    let settings = Settings { limits, gates, consumers: Arc::new(consumers), ..Settings::default() };
    let (services, chains) = (vec![Arc::new(service)], vec![[None].into()]);
    Plan { services, routes, table, chains, limits: Vec::new(), shared: Vec::new(), settings }
}

/// With what requests meet under the plan of this number.
pub fn with_policies(mut plan: Plan, has_policies: bool, limits: Option<&Limits>, generation: u64) -> Plan {
    let mut policies = if has_policies { policies() } else { Vec::new() };
    let mut in_force = Vec::new();
    if let Some(limits) = limits {
        let (policy, own) = limits.policy(generation);
        in_force = own;
        match limits.policy_behind() {
            None => policies.push(policy),
            Some((behind, own)) => {
                let slot = Slot::new(policy, Scope::Listener);
                plan.settings.gates[0].chain = Chain::new([slot], &Order::default(), &[]).map(Arc::new);
                policies.push(behind);
                in_force.extend(own);
            }
        }
    }
    let slots = policies.into_iter().map(|policy| Slot::new(policy, Scope::Route));
    let chain = Chain::new(slots, &Order::default(), &[]).map(Arc::new);
    Plan { chains: vec![[chain].into()], limits: in_force, ..plan }
}

/// What asks for a password, and changes bodies of JSON, those of answers up to a size. Everybody may ask.
fn policies() -> Vec<Arc<Policy>> {
    let transform = "remove: { body: [dropped] }, add: { body: [\"added:x\"] }";
    let policies = [
        "ip_filter: { allow: [10.0.0.0/16] }".to_owned(),
        "basic_auth: { hide_password: true, remember_s: 0 }".to_owned(),
        format!("request_transform: {{ {transform}, body_bytes_max: 1000000 }}"),
        format!("response_transform: {{ {transform}, body_bytes_max: {JSON_BYTES_MAX} }}"),
    ];
    let read = |policy: String| {
        let config = serde_saphyr::from_str(&policy).expect("it is a policy");
        Arc::new(Policy::new(config).expect("it makes sense"))
    };
    policies.map(read).into()
}

/// The same plan with a number, and without policies: see `judge`.
pub fn numbered(plan: &Plan, generation: u64) -> Plan {
    let address = ORIGINS[origin_of(generation)].into();
    let endpoint = Endpoint { address, ..plan.services[0].endpoints[0].clone() };
    let service = Service { endpoints: vec![endpoint], ..(*plan.services[0]).clone() };
    let routes: Vec<_> = plan.routes.iter().map(|route| Arc::new((**route).clone())).collect();
    let mut settings = plan.settings.clone();
    settings.http.via = Some(format!("plan-{generation}"));
    Plan {
        services: vec![Arc::new(service)],
        table: Table::compile(&routes),
        routes,
        chains: vec![[None].into()],
        limits: Vec::new(),
        shared: Vec::new(),
        settings,
    }
}

/// Which origin the service of a numbered plan has.
pub fn origin_of(generation: u64) -> usize {
    generation as usize % ORIGINS.len()
}

/// "secret", at the least cost there is.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2hhcmRnYXRlLXNhbHQxNg$kT6Amhi7GpkKW2dqX/aX6Lu9frrDHao18BSt2mctV5A";
/// Whose password that is.
pub const CONSUMER: &str = "Ann";
pub const GATEWAY: ([u8; 4], u16) = ([10, 0, 0, 1], 80);
pub const ORIGINS: [([u8; 4], u16); 2] = [([10, 0, 0, 101], 9000), ([10, 0, 0, 102], 9000)];
