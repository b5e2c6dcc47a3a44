//! What happens when a peer, or the memory for bytes, is the bottleneck.

use crate::kit::{Flag, Kit, pattern, receive_all, receive_exactly, send};
use shardgate::runtime::op::{Error, Pieces, Received};
use shardgate::runtime::wait::yield_now;
use shardgate::runtime::{Buf, Class, Runtime, TcpStream};
use shardgate::stdx::time::Mono;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

const STALL_MAX: Duration = Duration::from_millis(20);
const MEGABYTE: usize = 1 << 20;

/// Sends until the peer takes no more for `STALL_MAX`; says how many sends ended well.
async fn send_until_blocked(runtime: &Runtime, stream: &TcpStream) -> usize {
    let mut sent = 0;
    loop {
        let mut buf = runtime.pool().take(Class::Body).expect("the pool has a buffer");
        assert!(buf.push(&pattern(MEGABYTE)[sent * CHUNK % MEGABYTE..][..CHUNK]));
        match stream.send_all(Pieces::one(buf), STALL_MAX, Mono::NEVER).await {
            Ok(()) => sent += 1,
            Err(Error::Deadline) => return sent,
            Err(error) => panic!("the send failed: {error}"),
        }
    }
}

const CHUNK: usize = 1 << 16;

pub fn a_slow_reader_blocks_the_sender_for_no_longer_than_it_allows(kit: &Kit) {
    let (blocked, far_blocked) = (Flag::default(), Flag::default());
    let told = blocked.clone();
    kit.converse(
        |runtime, stream| async move {
            told.wait(&runtime).await;
            drop(stream);
        },
        |runtime, stream| async move {
            send_until_blocked(&runtime, &stream).await;
            assert_eq!(runtime.leftovers(), ([1, 0, 0], 0), "the blocked send was given up whole");
            blocked.set();
            far_blocked.set();
        },
    );
}

pub fn a_short_send_that_is_cancelled_leaves_a_prefix(kit: &Kit) {
    let blocked = Flag::default();
    let told = blocked.clone();
    kit.converse(
        |runtime, stream| async move {
            told.wait(&runtime).await;
            let mut position = 0;
            let whole = pattern(MEGABYTE);
            let end = loop {
                match stream.receive(Class::Head, Mono::NEVER).await {
                    Ok(Received::Data(buf)) => {
                        for byte in buf.bytes() {
                            assert_eq!(*byte, whole[position % MEGABYTE], "at {position}");
                            position += 1;
                        }
                    }
                    Ok(Received::End(_)) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            assert_eq!(end, Err(Error::Reset));
        },
        |runtime, stream| async move {
            send_until_blocked(&runtime, &stream).await;
            stream.reset_on_drop();
            drop(stream);
            blocked.set();
        },
    );
}

/// Connections whose bytes are there already.
fn connections(kit: &Kit, count: usize) -> Vec<TcpStream> {
    let (listener, streams) = (Rc::new(kit.listen()), Rc::new(RefCell::new(Vec::new())));
    let address = listener.address();
    for index in 0..count {
        let (listener, streams) = (listener.clone(), streams.clone());
        kit.near.spawn(async move {
            let stream = listener.accept().await.expect("a connection comes").0;
            streams.borrow_mut().push(stream);
        });
        let far = kit.far.clone();
        kit.far.spawn(async move {
            let stream = crate::kit::connect(&far, address).await;
            send(&far, &stream, &pattern(10 + index)).await.unwrap();
            stream.shutdown_write();
            receive_all(&stream).await.1.unwrap_or_default();
        });
        kit.run_until(|| kit.near.tasks() == 0);
    }
    streams.take()
}

pub fn receives_wait_for_buffers_first_in_first_out(kit: &Kit) {
    let mut streams = connections(kit, 4);
    let held: Vec<Buf> = std::iter::from_fn(|| kit.near.pool().take(Class::Body)).collect();
    assert_eq!(held.len(), 2, "what the cap leaves to large buffers");
    let order = Rc::new(RefCell::new(Vec::new()));
    for (index, stream) in streams.drain(..).enumerate() {
        let log = order.clone();
        kit.near.spawn(async move {
            let Ok(Received::Data(_buf)) = stream.receive(Class::Body, Mono::NEVER).await else { panic!("no data") };
            log.borrow_mut().push(index);
            receive_all(&stream).await.1.unwrap();
        });
        let parked = index as u64 + 1;
        kit.run_until(|| kit.near.driver_counters().receives_parked >= parked);
        assert_eq!(order.borrow().len(), 0, "nothing moves without a buffer");
    }
    for _ in 0..3 {
        drop(kit.near.pool().take(Class::Head).expect("some memory is kept for heads"));
        let turns = Cell::new(0);
        kit.run_until(|| turns.replace(turns.get() + 1) == 2);
    }
    assert_eq!(kit.near.driver_counters().receives_parked, 4, "each once, however often it is tried");
    drop(held);
    kit.run();
    assert_eq!(*order.borrow(), [0, 1, 2, 3]);
}

/// Whoever has sent what there is no room for was not late, and what was armed for it is the next receive.
pub fn at_its_deadline_a_receive_that_waits_for_a_buffer_is_told_from_one_for_a_peer(kit: &Kit) {
    let streams = connections(kit, 1);
    let held: Vec<Buf> = std::iter::from_fn(|| kit.near.pool().take(Class::Body)).collect();
    let near = kit.near.clone();
    kit.near.spawn(async move {
        let [stream] = streams.try_into().unwrap_or_else(|_| panic!("one was asked for"));
        let soon = || near.now().mono + STALL_MAX;
        assert_eq!(stream.receive_kept(Class::Body, soon()).await.map(|_| ()), Err(Error::Exhausted));
        drop(held);
        assert_eq!(receive_exactly(&stream, 10).await, pattern(10));
    });
    kit.run();
    let over = Flag::default();
    let told = over.clone();
    kit.converse(
        |runtime, stream| async move {
            let soon = runtime.now().mono + STALL_MAX;
            assert_eq!(stream.receive_kept(Class::Body, soon).await.map(|_| ()), Err(Error::Deadline));
            over.set();
        },
        |runtime, stream| async move {
            told.wait(&runtime).await;
            drop(stream);
        },
    );
}

pub fn a_receive_that_waits_for_a_buffer_can_be_dropped(kit: &Kit) {
    let streams = connections(kit, 2);
    let held: Vec<Buf> = std::iter::from_fn(|| kit.near.pool().take(Class::Body)).collect();
    let near = kit.near.clone();
    kit.near.spawn(async move {
        let [first, second] = streams.try_into().unwrap_or_else(|_| panic!("two were asked for"));
        {
            let mut given_up = pin!(first.receive(Class::Body, Mono::NEVER));
            while near.driver_counters().receives_parked == 0 {
                let poll = std::future::poll_fn(|context| std::task::Poll::Ready(given_up.as_mut().poll(context)));
                assert!(poll.await.is_pending(), "there is no buffer");
                yield_now(&near).await;
            }
        }
        drop(held);
        assert_eq!(receive_exactly(&second, 11).await, pattern(11));
        assert_eq!(receive_exactly(&first, 10).await, pattern(10));
    });
    kit.run();
}
