//! The relay on the gateway's own runtime: `ours LISTEN ORIGIN uring`, or `epoll`.

use runtimes::{request_end, response_end};
use shardgate::runtime::driver::choice::Choice;
use shardgate::runtime::op::Error;
use shardgate::runtime::options::EventLoop;
use shardgate::runtime::{Buf, Class, Pieces, Received, Runtime, TcpListener, TcpStream};
use shardgate::stdx::time::Mono;
use std::cell::RefCell;
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Pool = Rc<RefCell<Vec<TcpStream>>>;

fn main() -> ExitCode {
    let event_loop = match std::env::args().nth(3).as_deref() {
        Some("epoll") => EventLoop::Epoll,
        Some("uring") => EventLoop::Uring,
        _ => {
            eprintln!("the third word is the event loop: uring or epoll");
            return ExitCode::from(2);
        }
    };
    runtimes::main(|listen, origin| {
        let choice = Choice::make(event_loop);
        if choice.event_loop != event_loop {
            return Err(std::io::Error::other(choice.reason));
        }
        let driver = choice.open().map_err(std::io::Error::other)?;
        let runtime = Runtime::new(driver, RECEIVE_BYTES_MAX);
        let listener = TcpListener::bind(&runtime, listen.into()).map_err(std::io::Error::other)?;
        runtime.spawn(accept(runtime.clone(), listener, origin));
        loop {
            runtime.turn(Mono::NEVER, &mut |_| ()).map_err(std::io::Error::other)?;
        }
    })
}

async fn accept(runtime: Runtime, listener: TcpListener, origin: SocketAddrV4) {
    let pool = Pool::default();
    while let Ok((stream, _)) = listener.accept().await {
        let (of_relay, pool) = (runtime.clone(), pool.clone());
        runtime.spawn(async move {
            // Ends with its client.
            let _ended = relay(&of_relay, stream, origin, pool).await;
        });
    }
}

async fn relay(runtime: &Runtime, downstream: TcpStream, origin: SocketAddrV4, pool: Pool) -> Result<(), Error> {
    loop {
        let request = message(&downstream, request_end).await?;
        let kept = pool.borrow_mut().pop();
        let upstream = match kept {
            Some(kept) => kept,
            None => TcpStream::connect(runtime, origin.into(), Mono::NEVER).await?,
        };
        upstream.send_all(Pieces::one(request), Duration::MAX, Mono::NEVER).await?;
        let response = message(&upstream, response_end).await?;
        downstream.send_all(Pieces::one(response), Duration::MAX, Mono::NEVER).await?;
        pool.borrow_mut().push(upstream);
    }
}

async fn message(stream: &TcpStream, end: fn(&[u8]) -> Option<usize>) -> Result<Buf, Error> {
    let mut received = stream.receive(Class::Head, Mono::NEVER).await?;
    loop {
        let Received::Data(buf) = received else { return Err(Error::Reset) };
        if end(buf.bytes()).is_some() {
            return Ok(buf);
        }
        received = stream.receive_behind(buf, Mono::NEVER).await?;
    }
}

const RECEIVE_BYTES_MAX: usize = 256 << 20;
