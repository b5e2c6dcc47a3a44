//! The shipped binary, end to end: real processes, real sockets, peers that nobody here wrote.
//!
//! `harness` holds the two ends of the gateway that a test drives; each other file is one thing promised to users.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the bans keep the data path replayable; these tests stand outside it, in real time"
)]

mod harness;

// The bytes of HTTP/1.1, well meant and not.
mod authorize;
mod bad_requests;
mod bad_responses;
mod connection;
mod desync;
mod framing;
mod interim;
mod tunnel;

// What a gateway does with them.
mod api_key;
mod bodies;
mod forwarding;
mod jwks_https;
mod jwt;
mod oidc;
mod paths;
mod policies;
mod proxy_protocol;
mod rate_limits;
mod route_actions;
mod routing;
mod shared_limits;
mod transforms;
mod upstream;

// Bounds.
mod descriptors;
mod limits;
mod shedding;
mod slowness;

// Operation.
mod access_log;
mod admin;
mod commands;
mod drain;
mod reload;
mod restart;
mod sandbox;
mod startup;

// Others' programs as client and as origin.
mod peers;
