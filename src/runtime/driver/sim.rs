//! placeholder while the seam settles
use super::{Close, DriverCounters};
use crate::runtime::buffer::Pool;
use crate::runtime::op::{Done, Error, ListenerId, Op, OpId, Owner, SocketId};
use crate::stdx::time::Now;
use std::net::SocketAddr;
pub struct Node;
impl Node {
    pub fn submit(&mut self, _op: Op, _owner: Owner, _pool: &Pool) -> Result<Done, OpId> {
        unreachable!()
    }
    pub fn take(&mut self, _id: OpId) -> Option<Done> {
        None
    }
    pub fn cancel(&mut self, _id: OpId) {}
    pub fn set_owner(&mut self, _id: OpId, _owner: Owner) {}
    pub fn turn(&mut self, _told: &mut Vec<Owner>) {}
    pub fn listen(&mut self, _address: SocketAddr) -> Result<ListenerId, Error> {
        unreachable!()
    }
    pub fn listener_address(&self, _id: ListenerId) -> Option<SocketAddr> {
        None
    }
    pub fn close_listener(&mut self, _id: ListenerId) {}
    pub fn shutdown_write(&mut self, _id: SocketId) {}
    pub fn close(&mut self, _id: SocketId, _how: Close) {}
    pub fn now(&self) -> Now {
        Now::default()
    }
    pub fn counters(&self) -> DriverCounters {
        DriverCounters::default()
    }
    pub fn leftovers(&self) -> [usize; 3] {
        [0; 3]
    }
}
