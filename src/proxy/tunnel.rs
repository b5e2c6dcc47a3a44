//! Bytes in both directions after a protocol switch, until both ends have said goodbye.

use super::exchange::Exchange;
use crate::runtime::{Buf, Class, Pieces, Received, Runtime, TcpStream};
use crate::stdx::time::Mono;
use crate::upstream::Upstream;
use crate::wire::Reader;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Runs until both directions have ended, one has failed, or neither has carried a byte for the service's idle timeout.
pub async fn run(exchange: &Exchange<'_>, client: &mut Reader, mut upstream: Box<Upstream>) {
    exchange.count_received(&mut upstream);
    let (near, far) = (exchange.client.stream, &upstream.connection.stream);
    let (up_first, down_first) = (client.take_input(), upstream.connection.reader.take_input());
    let (account, counters, from_client) = (exchange.account, &exchange.shared.counters, Cell::new(0));
    let tunnel = Tunnel::new(&exchange.shared.runtime, exchange.service.timeouts.idle, exchange.deadline);
    let up = tunnel.lane(
        (near, far),
        up_first,
        |bytes| from_client.set(from_client.get() + bytes),
        |bytes| counters.borrow_mut().upstream_sent_bytes += bytes,
    );
    let down = tunnel.lane(
        (far, near),
        down_first,
        |bytes| counters.borrow_mut().upstream_received_bytes += bytes,
        |bytes| account.count_sent(bytes),
    );
    if tunnel.carry(pin!(up), pin!(down)).await {
        // Until here dropping them resets them: neither side may take a part of what it was sent for the whole.
        near.end_on_drop();
        far.end_on_drop();
    }
    client.count_received(from_client.get());
}

/// What both directions go by.
struct Tunnel<'a> {
    runtime: &'a Runtime,
    /// When either direction last carried a byte.
    last_byte: Cell<Mono>,
    /// Directions that are about to pass something on. A send waits for `stall_max` from one byte to the next, and says
    /// nothing of those that have gone until all have.
    sending: Cell<u32>,
    stall_max: Duration,
    deadline: Mono,
}

impl<'a> Tunnel<'a> {
    fn new(runtime: &'a Runtime, stall_max: Duration, deadline: Mono) -> Self {
        let (last_byte, sending) = (Cell::new(runtime.now().mono), Cell::new(0));
        Self { runtime, last_byte, sending, stall_max, deadline }
    }

    /// Runs both directions. True when both have come to a good end.
    async fn carry(
        &self,
        mut up: Pin<&mut impl Future<Output = bool>>,
        mut down: Pin<&mut impl Future<Output = bool>>,
    ) -> bool {
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
            let deadline = self.deadline.min(self.silent_at());
            if failed || up_done && down_done || self.runtime.now().mono >= deadline {
                return Poll::Ready(up_done && down_done);
            }
            self.runtime.wake_by(deadline);
            Poll::Pending
        })
        .await
    }

    /// One direction, which tells how many bytes have come and how many have gone. True when the sender said goodbye
    /// and that was passed on, false when a connection failed.
    async fn lane(
        &self,
        (from, to): (&TcpStream, &TcpStream),
        first: Option<Buf>,
        came: impl Fn(u64),
        went: impl Fn(u64),
    ) -> bool {
        let mut next = first;
        loop {
            let Some(buf) = next.take() else {
                match from.receive(Class::Body, Mono::NEVER).await {
                    Ok(Received::Data(buf)) => {
                        came(buf.len() as u64);
                        next = Some(buf);
                    }
                    Ok(Received::End(_)) => {
                        to.shutdown_write();
                        return true;
                    }
                    Err(_) => return false,
                }
                continue;
            };
            let bytes = buf.len() as u64;
            self.sending.set(self.sending.get() + 1);
            let sent = to.send_all(Pieces::one(buf), self.stall_max, Mono::NEVER).await;
            self.sending.set(self.sending.get() - 1);
            if sent.is_err() {
                return false;
            }
            went(bytes);
            self.last_byte.set(self.runtime.now().mono);
        }
    }

    /// When nothing has been carried for too long.
    fn silent_at(&self) -> Mono {
        if self.sending.get() > 0 { Mono::NEVER } else { self.last_byte.get() + self.stall_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::TcpListener;
    use crate::runtime::driver::Driver;
    use crate::runtime::driver::sim::{Fault, Faults, World};
    use std::net::SocketAddr;
    use std::rc::Rc;

    #[derive(Default)]
    struct Seen {
        went: Cell<u64>,
        ended_well: Cell<Option<bool>>,
    }

    /// A tunnel between the first who comes and the second.
    async fn carry(runtime: Runtime, listener: TcpListener, seen: Rc<Seen>) {
        let (client, _) = listener.accept().await.expect("the client comes");
        let (origin, _) = listener.accept().await.expect("the origin comes");
        let tunnel = Tunnel::new(&runtime, STALL_MAX, Mono::NEVER);
        let up = tunnel.lane((&client, &origin), None, |_| (), |bytes| seen.went.set(seen.went.get() + bytes));
        let down = tunnel.lane((&origin, &client), None, |_| (), |_| ());
        seen.ended_well.set(Some(tunnel.carry(pin!(up), pin!(down)).await));
    }

    /// The client says all at once, the origin hears a byte a second.
    async fn talk(world: World, runtime: Runtime, to: SocketAddr) {
        let client = TcpStream::connect(&runtime, to, Mono::NEVER).await.expect("somebody listens");
        world.set_faults(Faults::none().with(Fault::SlowPeer, 1000));
        let origin = TcpStream::connect(&runtime, to, Mono::NEVER).await.expect("somebody listens");
        let mut buf = runtime.pool().take(Class::Head).expect("there is memory");
        assert!(buf.push(&[b'x'; PIECE_BYTES]), "it fits");
        client.send_all(Pieces::one(buf), Duration::MAX, Mono::NEVER).await.expect("there is room");
        while let Ok(Received::Data(_)) = origin.receive(Class::Head, Mono::NEVER).await {}
    }

    #[test]
    fn a_piece_of_which_a_byte_goes_now_and_then_is_no_silence() {
        let world = World::new(1, Faults::none());
        let node = |name| Runtime::new(Driver::Sim(world.node(name)), 1 << 20);
        let (gateway, peers) = (node("gateway"), node("peers"));
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let listener = TcpListener::bind(&gateway, address).expect("the simulation lets anybody listen");
        let seen = Rc::<Seen>::default();
        gateway.spawn(carry(gateway.clone(), listener, seen.clone()));
        peers.spawn(talk(world.clone(), peers.clone(), address));
        loop {
            for runtime in [&gateway, &peers] {
                runtime.turn(runtime.now().mono, &mut |_| ()).expect("a turn never fails");
            }
            if gateway.tasks() + peers.tasks() == 0 {
                break;
            }
            let wakes_at = [gateway.wakes_at(), peers.wakes_at()].into_iter().flatten().min();
            assert!(world.advance(wakes_at), "they wait for ever");
        }
        assert_eq!(seen.went.get(), PIECE_BYTES as u64);
        assert_eq!(seen.ended_well.get(), Some(false), "then there was silence, and no goodbye");
    }

    /// More than a slow connection of the simulation has room for.
    const PIECE_BYTES: usize = 2000;
    const STALL_MAX: Duration = Duration::from_secs(10);
}
