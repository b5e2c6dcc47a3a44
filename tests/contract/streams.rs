//! Bytes between two open ends.

use crate::kit::{Flag, Kit, filled, pattern, receive_all, receive_exactly, send};
use shardgate::runtime::op::{Pieces, Received};
use shardgate::runtime::{Class, Event};
use shardgate::stdx::time::Mono;
use std::time::Duration;

pub fn bytes_arrive_whole_and_in_order(kit: &Kit) {
    kit.converse(
        |_, stream| async move {
            let (bytes, end) = receive_all(&stream).await;
            assert_eq!((bytes == pattern(100_000), end), (true, Ok(())));
        },
        |runtime, stream| async move { send(&runtime, &stream, &pattern(100_000)).await.unwrap() },
    );
}

pub fn both_directions_progress_independently(kit: &Kit) {
    kit.converse(
        |runtime, stream| async move {
            // Nobody reads what the far side sends until this side has sent everything.
            send(&runtime, &stream, &pattern(20_000)).await.unwrap();
            stream.shutdown_write();
            assert_eq!(receive_all(&stream).await, (pattern(30), Ok(())));
        },
        |runtime, stream| async move {
            send(&runtime, &stream, &pattern(30)).await.unwrap();
            let (bytes, end) = receive_all(&stream).await;
            assert_eq!((bytes == pattern(20_000), end), (true, Ok(())));
        },
    );
}

pub fn a_send_gathers_its_pieces(kit: &Kit) {
    kit.converse(
        |_, stream| async move { assert_eq!(receive_all(&stream).await, (b"headbody".to_vec(), Ok(()))) },
        |runtime, stream| async move {
            let pieces = [&b"head"[..], b"bo", b"dy"].map(|bytes| Some(filled(&runtime, bytes)));
            stream.send_all(Pieces::new(pieces), Duration::from_secs(60), Mono::NEVER).await.unwrap();
        },
    );
}

pub fn a_receive_goes_behind_what_a_buffer_holds(kit: &Kit) {
    kit.converse(
        |runtime, stream| async move {
            let mut buf = filled(&runtime, b"ab");
            while buf.len() < 5 {
                let Ok(Received::Data(more)) = stream.receive_behind(buf, Mono::NEVER).await else { panic!("no data") };
                buf = more;
            }
            assert_eq!(buf.bytes(), b"abcde");
            let Ok(Received::End(Some(buf))) = stream.receive_behind(buf, Mono::NEVER).await else { panic!("no end") };
            assert_eq!(buf.bytes(), b"abcde");
        },
        |runtime, stream| async move { send(&runtime, &stream, b"cde").await.unwrap() },
    );
}

pub fn what_is_at_hand_comes_in_its_order_and_what_is_not_is_not_waited_for(kit: &Kit) {
    kit.converse(
        |runtime, stream| async move {
            assert!(stream.receive_at_hand(Class::Head).is_none(), "nothing was sent yet");
            send(&runtime, &stream, b"!").await.unwrap();
            let (mut all, mut ended) = (Vec::new(), false);
            while !ended {
                let mut next = Some(stream.receive(Class::Head, Mono::NEVER).await);
                while let Some(received) = next {
                    let Received::Data(buf) = received.unwrap() else {
                        ended = true;
                        break;
                    };
                    all.extend_from_slice(buf.bytes());
                    next = stream.receive_at_hand(Class::Body);
                }
            }
            assert!(all == pattern(300_000));
        },
        |runtime, stream| async move {
            assert_eq!(receive_exactly(&stream, 1).await, b"!");
            send(&runtime, &stream, &pattern(300_000)).await.unwrap();
        },
    );
}

pub fn an_armed_receive_tells_its_token_and_is_taken_over(kit: &Kit) {
    let (armed, told) = (Flag::default(), Flag::default());
    let (events, far_armed) = (kit.near_events.clone(), armed.clone());
    kit.converse(
        |runtime, stream| async move {
            assert!(stream.arm_idle(Class::Head, 77).is_none(), "nothing has been sent yet");
            armed.set();
            crate::kit::wait_until(&runtime, || events.borrow().contains(&Event::Completed(77))).await;
            told.set();
            assert_eq!(receive_exactly(&stream, 3).await, b"xyz");
            assert_eq!(events.borrow().len(), 1, "a token is told once");
        },
        |runtime, stream| async move {
            far_armed.wait(&runtime).await;
            send(&runtime, &stream, b"xyz").await.unwrap();
        },
    );
}

pub fn a_receive_takes_over_one_that_is_still_armed(kit: &Kit) {
    let armed = Flag::default();
    let (events, far_armed) = (kit.near_events.clone(), armed.clone());
    kit.converse(
        |_, stream| async move {
            assert!(stream.arm_idle(Class::Head, 77).is_none(), "nothing has been sent yet");
            armed.set();
            assert_eq!(receive_exactly(&stream, 3).await, b"xyz");
            assert!(events.borrow().is_empty(), "it is the coroutine's now");
        },
        |runtime, stream| async move {
            far_armed.wait(&runtime).await;
            send(&runtime, &stream, b"xyz").await.unwrap();
        },
    );
}
