//! A send that is counted once it is over.

use crate::runtime::tcp::SendAll;
use crate::runtime::{Error, Pieces, TcpStream};
use crate::stdx::time::Mono;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Tells `count` how many bytes have gone out. Of a send that fails that is none: nobody knows how many the socket took
/// before. By hand, as what it waits for is.
pub struct Counted<'a, C> {
    send: SendAll<'a>,
    bytes: u64,
    count: C,
}

impl<'a, C: Fn(u64)> Counted<'a, C> {
    pub fn new(stream: &'a TcpStream, pieces: Pieces, stall_max: Duration, deadline: Mono, count: C) -> Self {
        Self { bytes: pieces.len() as u64, send: stream.send_all(pieces, stall_max, deadline), count }
    }
}

impl<C: Fn(u64) + Unpin> Future for Counted<'_, C> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let sent = ready!(Pin::new(&mut self.send).poll(context));
        if sent.is_ok() {
            (self.count)(self.bytes);
        }
        Poll::Ready(sent)
    }
}
