//! What systemd is told: that the gateway is ready, reloads, ends, and lives (sd_notify(3)).

use super::clock::clocks;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Silent where nobody asked to be told.
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it must be told that the gateway lives, and when next.
    watchdog: Option<(Duration, Instant)>,
}

impl Notify {
    #[expect(clippy::disallowed_methods, reason = "systemd tells by the environment")]
    pub fn from_environment() -> Self {
        let path = std::env::var("NOTIFY_SOCKET").ok();
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        Self::new(path.as_deref(), micros.map(Duration::from_micros))
    }

    fn new(path: Option<&str>, watchdog: Option<Duration>) -> Self {
        let to = path.and_then(|path| {
            let address = match path.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(path),
            };
            Some((UnixDatagram::unbound().ok()?, address.ok()?))
        });
        // Half of it, so that one that comes late is no reason to be killed.
        let watchdog = watchdog.map(|every| (every / 2, clocks().now));
        Self { to, watchdog }
    }

    /// This process serves, also if it took over from another.
    pub fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}\n", std::process::id()));
    }

    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", clocks().mono.as_nanos() / 1_000));
    }

    pub fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    /// To be called often; tells when it is time, if the gateway is alive.
    pub fn alive(&mut self, is_alive: bool) {
        let Some((every, next)) = &mut self.watchdog else { return };
        let now = clocks().now;
        if is_alive && now >= *next {
            *next = now + *every;
            self.tell("WATCHDOG=1\n");
        }
    }

    fn tell(&self, text: &str) {
        if let Some((socket, to)) = &self.to {
            // Whoever asked to be told and does not listen misses it.
            let _missed = socket.send_to_addr(text.as_bytes(), to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_told_at_a_path_or_a_name() {
        let name = format!("shardgate-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let heard = [
            (format!("@{name}"), UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name"))),
            (path.display().to_string(), UnixDatagram::bind(&path)),
        ];
        for (to, socket) in heard {
            let socket = socket.expect("it can be bound");
            let mut notify = Notify::new(Some(&to), Some(Duration::from_secs(60)));
            notify.ready();
            notify.alive(false);
            notify.alive(true);
            notify.alive(true);
            notify.stopping();
            let mut text = String::new();
            socket.set_nonblocking(true).expect("it is a socket");
            let mut bytes = [0; 256];
            while let Ok(count) = socket.recv(&mut bytes) {
                text.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
            }
            assert_eq!(text, format!("READY=1\nMAINPID={}\nWATCHDOG=1\nSTOPPING=1\n", std::process::id()));
        }
        std::fs::remove_file(path).expect("it was bound above");
        Notify::new(None, None).ready();
    }
}
