//! Every limit that a downstream or an upstream can run into, with its default.

use std::time::Duration;

/// What the operator may tune; `config/limits.yaml` documents each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    pub head_bytes_max: usize,
    pub fields_max: usize,
    pub uri_bytes_max: usize,
    /// `None` is no limit; a route may have its own.
    pub body_bytes_max: Option<u64>,
    pub trailer_bytes_max: usize,
    /// 1xx responses that an exchange passes on before its final one.
    pub informational_max: u32,

    /// From the first byte of a head to its last.
    pub header_read_timeout: Duration,
    /// Bytes a second that a request's body must keep up with once the grace is over; zero is off.
    pub body_rate_min: u64,
    pub body_rate_grace: Duration,
    /// No request on a kept connection.
    pub idle_timeout: Duration,
    /// No byte taken by a client that has some to take.
    pub send_timeout: Duration,
    /// How long a connection that was refused is still read from, so that the refusal is not lost to a reset.
    pub linger_timeout: Duration,

    pub requests_per_connection_max: u32,
    pub connections_max: usize,
    pub connections_per_client_max: usize,
    pub requests_in_flight_max: usize,
    /// Receive buffers that a shard holds at one time, in bytes.
    pub receive_bytes_max: usize,
    /// What a shed request's `Retry-After` says.
    pub retry_after_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 << 10,
            fields_max: 100,
            uri_bytes_max: 8 << 10,
            body_bytes_max: None,
            trailer_bytes_max: 8 << 10,
            informational_max: 16,
            header_read_timeout: Duration::from_secs(10),
            body_rate_min: 240,
            body_rate_grace: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            requests_per_connection_max: 10_000,
            connections_max: 20_000,
            connections_per_client_max: 1_000,
            requests_in_flight_max: 10_000,
            receive_bytes_max: 256 << 20,
            retry_after_s: 1,
        }
    }
}

impl Limits {
    /// Offsets into a head are 16 bits wide.
    pub const HEAD_BYTES_CEILING: usize = u16::MAX as usize;
    /// The parser's own table, on its stack.
    pub const FIELDS_CEILING: usize = 256;
}
