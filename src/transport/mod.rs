//! What lies between a socket and HTTP.

pub mod proxy_protocol;
