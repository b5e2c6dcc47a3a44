//! Operations that nobody waits for any more, and coroutines that wait for time.

use crate::kit::{Flag, Kit, pattern, receive_all, receive_exactly, send, wait_until};
use shardgate::runtime::op::Error;
use shardgate::runtime::wait::sleep_until;
use shardgate::runtime::{Class, Event, TcpListener};
use shardgate::stdx::time::Mono;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Polls once, which submits the operation; says whether it was over at once.
macro_rules! begin {
    ($future:expr) => {
        poll_fn(|context| Poll::Ready($future.as_mut().poll(context).is_ready())).await
    };
}

pub fn a_deadline_is_told_apart_and_the_next_receive_works(kit: &Kit) {
    let late = Flag::default();
    let far_late = late.clone();
    kit.converse(
        |runtime, stream| async move {
            let begun = runtime.now().mono;
            let received = stream.receive(Class::Head, begun + Duration::from_millis(10)).await;
            assert_eq!(received.err(), Some(Error::Deadline));
            assert!(runtime.now().mono >= begun + Duration::from_millis(10));
            assert_eq!(runtime.leftovers(), ([1, 0, 0], 0), "one socket and nothing under way");
            late.set();
            assert_eq!(receive_exactly(&stream, 5).await, b"hello");
        },
        |runtime, stream| async move {
            far_late.wait(&runtime).await;
            send(&runtime, &stream, b"hello").await.unwrap();
        },
    );
}

pub fn a_dropped_receive_leaves_nothing(kit: &Kit) {
    let over = Flag::default();
    let far_over = over.clone();
    kit.converse(
        |runtime, stream| async move {
            {
                let mut receive = pin!(stream.receive(Class::Body, Mono::NEVER));
                assert!(!begin!(receive), "nothing has been sent");
                assert_eq!(runtime.leftovers(), ([1, 0, 1], 0));
            }
            assert_eq!(runtime.leftovers(), ([1, 0, 0], 0));
            drop(stream);
            assert_eq!(runtime.leftovers(), ([0, 0, 0], 0));
            over.set();
        },
        |runtime, stream| async move {
            far_over.wait(&runtime).await;
            assert_eq!(receive_all(&stream).await, (Vec::new(), Ok(())));
        },
    );
}

pub fn a_receive_that_loses_to_its_data_gives_the_buffer_back(kit: &Kit) {
    let begun = Flag::default();
    let far_begun = begun.clone();
    kit.converse(
        |runtime, stream| async move {
            {
                let mut receive = pin!(stream.receive(Class::Head, Mono::NEVER));
                assert!(!begin!(receive), "nothing has been sent");
                begun.set();
                // A driver that receives only when it is asked fills none, however long one waits.
                let looks = Cell::new(0);
                let filled = || runtime.pool().bytes_out() > 0 || looks.replace(looks.get() + 1) > LOOKS_MAX;
                wait_until(&runtime, filled).await;
            }
            assert_eq!(runtime.leftovers(), ([1, 0, 0], 0));
        },
        |runtime, stream| async move {
            far_begun.wait(&runtime).await;
            // The near side leaves with the first of them.
            send(&runtime, &stream, &pattern(50)).await.unwrap_or_default();
        },
    );
}

pub fn an_idle_receive_that_nobody_takes_gives_the_buffer_back(kit: &Kit) {
    let armed = Flag::default();
    let (events, far_armed) = (kit.near_events.clone(), armed.clone());
    kit.converse(
        |runtime, stream| async move {
            assert!(stream.arm_idle(Class::Head, 5).is_none());
            armed.set();
            wait_until(&runtime, || events.borrow().contains(&Event::Completed(5))).await;
            drop(stream);
            assert_eq!(runtime.leftovers(), ([0; 3], 0));
        },
        |runtime, stream| async move {
            far_armed.wait(&runtime).await;
            // The near side leaves with the first of them.
            send(&runtime, &stream, &pattern(50)).await.unwrap_or_default();
        },
    );
}

pub fn an_accept_that_loses_to_a_connection_closes_it(kit: &Kit) {
    let listener = kit.listen();
    let address = listener.address();
    let (near, far) = (kit.near.clone(), kit.far.clone());
    kit.near.spawn(async move {
        {
            let mut accept = pin!(listener.accept());
            assert!(!begin!(accept), "nobody has connected");
            wait_until(&near, || near.leftovers().0[0] > 0).await;
        }
        assert_eq!(near.leftovers().0, [0, 1, 0], "the listener alone");
    });
    kit.far.spawn(async move {
        let stream = crate::kit::connect(&far, address).await;
        assert_eq!(receive_all(&stream).await.0, b"");
    });
    kit.run();
}

pub fn timers_fire_in_order_and_not_early(kit: &Kit) {
    let order = Rc::new(RefCell::new(Vec::new()));
    let begun = kit.near.now().mono;
    for ms in [30, 10, 20, 5] {
        let (runtime, order, at) = (kit.near.clone(), order.clone(), begun + Duration::from_millis(ms));
        kit.near.spawn(async move {
            sleep_until(&runtime, at).await;
            assert!(runtime.now().mono >= at, "a timer fired early");
            order.borrow_mut().push(ms);
        });
    }
    kit.near.set_timer(begun + Duration::from_millis(15), 9);
    kit.run();
    assert_eq!(*order.borrow(), [5, 10, 20, 30]);
    assert_eq!(*kit.near_events.borrow(), [Event::Timer(9, begun + Duration::from_millis(15))]);
}

pub fn a_panic_ends_one_coroutine_only(kit: &Kit) {
    kit.expect_panics(1);
    let panicked = Flag::default();
    let other = panicked.clone();
    let bystander = (kit.near.clone(), Flag::default());
    let bystander_over = bystander.1.clone();
    kit.near.spawn(async move {
        wait_until(&bystander.0, || bystander.0.panics() == 1).await;
        bystander.1.set();
    });
    kit.far.spawn({
        let far = kit.far.clone();
        async move { other.wait(&far).await }
    });
    let listener = kit.listen();
    let address = listener.address();
    kit.near.spawn(async move {
        let _stream = crate::kit::accept_one(listener).await;
        panicked.set();
        panic!("as a defect would");
    });
    let far = kit.far.clone();
    kit.far.spawn(async move {
        let stream = crate::kit::connect(&far, address).await;
        assert_eq!(receive_all(&stream).await, (Vec::new(), Ok(())));
    });
    kit.run();
    assert!(bystander_over.is_set());
}

pub fn dropping_all_coroutines_leaves_nothing(kit: &Kit) {
    let listener: TcpListener = kit.listen();
    let address = listener.address();
    let (near, far) = (kit.near.clone(), kit.far.clone());
    let waiting = Flag::default();
    let begun = waiting.clone();
    kit.near.spawn(async move {
        let stream = crate::kit::accept_one(listener).await;
        begun.set();
        let received = receive_all(&stream).await;
        unreachable!("nobody sends or closes: {received:?}");
    });
    kit.far.spawn(async move {
        let stream = crate::kit::connect(&far, address).await;
        waiting.wait(&far).await;
        assert_eq!(receive_all(&stream).await, (Vec::new(), Ok(())));
    });
    kit.run_until(|| near.leftovers().0 == [1, 0, 1]);
    near.drop_tasks();
    assert_eq!(near.leftovers(), ([0; 3], 0));
    kit.run();
}

/// Turns in which bytes have long arrived.
const LOOKS_MAX: u32 = 1_000;
