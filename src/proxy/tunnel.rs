//! Bytes in both directions after a protocol switch, until both ends have said goodbye.

use super::exchange::Exchange;
use crate::runtime::{Buf, Class, Pieces, Received, Runtime, TcpStream};
use crate::stdx::time::Mono;
use crate::upstream::Upstream;
use crate::wire::Reader;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Runs until both directions have ended, one has failed, or neither has carried a byte for the service's idle timeout.
pub async fn run(exchange: &Exchange<'_>, client: &mut Reader, upstream: Box<Upstream>) {
    let runtime = &exchange.shared.runtime;
    let mut connection = upstream.connection;
    let last_byte = Cell::new(runtime.now().mono);
    let stall_max = exchange.service.timeouts.idle;
    let lane = |from, to| Lane { runtime, from, to, last_byte: &last_byte, stall_max };
    let up = lane(exchange.client.stream, &connection.stream);
    let down = lane(&connection.stream, exchange.client.stream);
    let (up_first, down_first) = (client.take_input(), connection.reader.take_input());
    let mut up = pin!(up.run(up_first));
    let mut down = pin!(down.run(down_first));
    let (mut up_done, mut down_done, mut failed) = (false, false, false);
    poll_fn(|context| {
        if !up_done && let Poll::Ready(ended_well) = up.as_mut().poll(context) {
            up_done = ended_well;
            failed |= !ended_well;
        }
        if !down_done && let Poll::Ready(ended_well) = down.as_mut().poll(context) {
            down_done = ended_well;
            failed |= !ended_well;
        }
        let deadline = exchange.deadline.min(last_byte.get() + stall_max);
        if failed || up_done && down_done || runtime.now().mono >= deadline {
            return Poll::Ready(());
        }
        runtime.wake_by(deadline);
        Poll::Pending
    })
    .await;
    if up_done && down_done {
        // Until here dropping them resets them: neither side may take a part of what it was sent for the whole.
        exchange.client.stream.end_on_drop();
        connection.stream.end_on_drop();
    }
    exchange.shared.counters.borrow_mut().upstream_received_bytes += connection.reader.take_bytes_received();
}

/// One direction.
struct Lane<'a> {
    runtime: &'a Runtime,
    from: &'a TcpStream,
    to: &'a TcpStream,
    /// When either direction last carried a byte.
    last_byte: &'a Cell<Mono>,
    stall_max: Duration,
}

impl Lane<'_> {
    /// True when the sender said goodbye and that was passed on, false when a connection failed.
    async fn run(self, first: Option<Buf>) -> bool {
        let mut next = first;
        loop {
            let Some(buf) = next.take() else {
                match self.from.receive(Class::Body, Mono::NEVER).await {
                    Ok(Received::Data(buf)) => next = Some(buf),
                    Ok(Received::End(_)) => {
                        self.to.shutdown_write();
                        return true;
                    }
                    Err(_) => return false,
                }
                continue;
            };
            self.last_byte.set(self.runtime.now().mono);
            if self.to.send_all(Pieces::one(buf), self.stall_max, Mono::NEVER).await.is_err() {
                return false;
            }
            self.last_byte.set(self.runtime.now().mono);
        }
    }
}
