//! What is asked of a request before it goes to a service.

pub mod jwt;
