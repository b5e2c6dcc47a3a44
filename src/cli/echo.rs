//! `shardgate echo ADDRESS`

use std::net::SocketAddr;
use std::process::ExitCode;

pub fn run(_address: SocketAddr) -> ExitCode {
    unimplemented!()
}
