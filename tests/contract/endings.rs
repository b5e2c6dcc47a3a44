//! How a connection ends, and how the other side learns of it.

use crate::kit::{Flag, Kit, accept_one, connect, filled, pattern, receive_all, receive_exactly, send};
use shardgate::runtime::op::{Error, Pieces, Received};
use shardgate::runtime::wait::sleep_until;
use shardgate::runtime::{Class, TcpStream};
use shardgate::stdx::time::Mono;
use std::time::Duration;

pub fn an_end_uses_no_buffer(kit: &Kit) {
    let seen = Flag::default();
    let far_seen = seen.clone();
    kit.converse(
        |runtime, stream| async move {
            let received = stream.receive(Class::Body, runtime.now().mono + Duration::from_millis(5)).await;
            assert_eq!(
                (received.err(), runtime.pool().bytes_out()),
                (Some(Error::Deadline), 0),
                "waiting holds nothing"
            );
            seen.set();
            assert!(matches!(stream.receive(Class::Body, Mono::NEVER).await, Ok(Received::End(None))));
            assert_eq!(runtime.pool().bytes_out(), 0);
            assert!(matches!(stream.receive(Class::Body, Mono::NEVER).await, Ok(Received::End(None))), "it stays");
        },
        |runtime, stream| async move {
            far_seen.wait(&runtime).await;
            drop(stream);
        },
    );
}

pub fn a_reset_is_not_an_end(kit: &Kit) {
    kit.converse(
        |_, stream| async move {
            let (bytes, end) = receive_all(&stream).await;
            assert!(pattern(10).starts_with(&bytes));
            assert_eq!(end, Err(Error::Reset));
        },
        |runtime, stream| async move {
            send(&runtime, &stream, &pattern(10)).await.unwrap();
            stream.reset_on_drop();
        },
    );
}

pub fn unread_bytes_make_a_close_a_reset(kit: &Kit) {
    let sent = Flag::default();
    let far_sent = sent.clone();
    kit.converse(
        |runtime, stream| async move {
            sent.wait(&runtime).await;
            let buf = filled(&runtime, &vec![0; Class::Head.payload_bytes() - 1]);
            let Ok(Received::Data(_)) = stream.receive_behind(buf, Mono::NEVER).await else { panic!("no data") };
        },
        |runtime, stream| async move {
            send(&runtime, &stream, b"two bytes and more").await.unwrap();
            far_sent.set();
            assert_eq!(receive_all(&stream).await.1, Err(Error::Reset));
        },
    );
}

/// Or else a message that ends with the connection would look whole: the kernel tells an error once.
pub fn a_reset_that_a_send_met_is_told_to_receives_too(kit: &Kit) {
    kit.converse(
        |runtime, stream| async move {
            while send(&runtime, &stream, b"x").await.is_ok() {
                sleep_until(&runtime, runtime.now().mono + Duration::from_millis(1)).await;
            }
            assert_eq!(receive_all(&stream).await.1, Err(Error::Reset));
            assert_eq!(receive_all(&stream).await.1, Err(Error::Reset));
        },
        |runtime, stream| async move {
            stream.reset_on_drop();
            sleep_until(&runtime, runtime.now().mono + Duration::from_millis(2)).await;
        },
    );
}

pub fn each_side_ends_its_own_direction(kit: &Kit) {
    kit.converse(
        |runtime, stream| async move {
            assert_eq!(receive_all(&stream).await, (b"ping".to_vec(), Ok(())));
            send(&runtime, &stream, &pattern(20_000)).await.unwrap();
            stream.shutdown_write();
            assert_eq!(send(&runtime, &stream, b"too late").await, Err(Error::Reset));
        },
        |runtime, stream| async move {
            send(&runtime, &stream, b"ping").await.unwrap();
            stream.shutdown_write();
            let (bytes, end) = receive_all(&stream).await;
            assert_eq!((bytes == pattern(20_000), end), (true, Ok(())));
        },
    );
}

pub fn a_refused_connect_says_so(kit: &Kit) {
    let listener = kit.listen();
    let address = listener.address();
    drop(listener);
    let far = kit.far.clone();
    kit.far.spawn(async move {
        let refused = TcpStream::connect(&far, address, Mono::NEVER).await;
        assert_eq!(refused.err(), Some(Error::Refused));
        assert_eq!(far.leftovers().0, [0; 3]);
    });
    kit.run();
}

pub fn a_client_that_left_before_it_was_accepted_is_accepted_and_ends(kit: &Kit) {
    let (listener, left) = (kit.listen(), Flag::default());
    let (near, far, address, gone) = (kit.near.clone(), kit.far.clone(), listener.address(), left.clone());
    kit.far.spawn(async move {
        let stream = connect(&far, address).await;
        send(&far, &stream, b"bye").await.unwrap();
        drop(stream);
        gone.set();
    });
    kit.near.spawn(async move {
        left.wait(&near).await;
        let stream = accept_one(listener).await;
        assert_eq!(receive_exactly(&stream, 3).await, b"bye");
        assert_eq!(receive_all(&stream).await, (Vec::new(), Ok(())));
        let answer = Pieces::one(filled(&near, b"nobody reads this"));
        let _gone = stream.send_all(answer, Duration::from_secs(60), Mono::NEVER).await;
    });
    kit.run();
}
