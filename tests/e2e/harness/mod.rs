//! What every test here stands on: the gateway as a process, an origin that does as told, a client that speaks raw
//! bytes.

mod config;
pub mod event_loops;
mod gateway;
mod message;
mod origin;
mod tool;
mod wire;

pub use config::Config;
pub use gateway::{Finished, Gateway};
pub use message::{Framing, Message};
pub use origin::{Origin, Peer, black_hole, nobody};
pub use tool::{Running, free_port, tool};
pub use wire::Wire;

use std::time::{Duration, Instant};

/// No wait of a test is longer; what is right takes milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An answer of two bytes, with which a test's origin is content.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `length` bytes that no framing mistake leaves unchanged: no period that a buffer's size divides.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// `body` as chunks of `size` bytes, without the last one.
pub fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / size * 16);
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out
}
