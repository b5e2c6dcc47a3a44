//! How listeners stop, and how a connection changes its event loop.

use crate::kit::{Flag, Kit, accept_one, connect, pattern, receive_all, receive_exactly, send};
use shardgate::runtime::op::Error;
use shardgate::runtime::{Stop, TcpStream};
use std::rc::Rc;

const CLIENTS: usize = 3;

pub fn a_listener_that_stops_brings_all_who_have_connected(kit: &Kit) {
    let (listener, connected) = (kit.listen(), Flag::default());
    let (near, far, address, all_in) = (kit.near.clone(), kit.far.clone(), listener.address(), connected.clone());
    kit.far.spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..CLIENTS {
            streams.push(connect(&far, address).await);
        }
        connected.set();
        for stream in streams {
            assert_eq!(receive_all(&stream).await.0, b"hello");
        }
    });
    kit.near.spawn(async move {
        all_in.wait(&near).await;
        listener.stop(Stop::Dry);
        for _ in 0..CLIENTS {
            let (stream, _) = listener.accept().await.expect("all have connected before");
            send(&near, &stream, b"hello").await.expect("the client is there");
        }
        assert_eq!(listener.accept().await.err(), Some(Error::Stopped));
    });
    kit.run();
}

pub fn an_armed_accept_ends_when_its_listener_stops(kit: &Kit) {
    for stop in [Stop::Dry, Stop::Leave] {
        let (listener, over) = (Rc::new(kit.listen()), Flag::default());
        let (accepting, said) = (listener.clone(), over.clone());
        kit.near.spawn(async move {
            assert_eq!(accepting.accept().await.err(), Some(Error::Stopped));
            said.set();
        });
        let near = kit.near.clone();
        kit.near.spawn(async move {
            listener.stop(stop);
            over.wait(&near).await;
        });
        kit.run();
    }
}

pub fn a_fresh_connection_goes_to_another_loop(kit: &Kit) {
    let listener = kit.listen();
    let (far, address) = (kit.far.clone(), listener.address());
    let (near, other) = (kit.near.clone(), kit.far.clone());
    kit.near.spawn(async move {
        let parcel = accept_one(listener).await.release().ok().expect("nobody has used it");
        assert_eq!(near.leftovers().0, [0; 3], "nothing of it is left here");
        let runtime = other.clone();
        other.spawn(async move {
            let stream = TcpStream::adopt(&runtime, parcel);
            assert_eq!(receive_exactly(&stream, 10_000).await, pattern(10_000));
            send(&runtime, &stream, &pattern(20_000)).await.expect("the client is there");
        });
    });
    kit.far.spawn(async move {
        let stream = connect(&far, address).await;
        send(&far, &stream, &pattern(10_000)).await.expect("somebody took the connection over");
        assert_eq!(receive_all(&stream).await.0, pattern(20_000));
    });
    kit.run();
}

pub fn a_used_connection_stays_where_it_is(kit: &Kit) {
    kit.converse(
        |_, stream| async move {
            assert!(stream.watch(shardgate::runtime::Class::Head).is_none(), "nobody has sent a byte");
            let stream = stream.release().expect_err("a receive is under way");
            drop(stream);
        },
        |_, stream| async move {
            assert_eq!(receive_all(&stream).await.0, b"");
        },
    );
}
