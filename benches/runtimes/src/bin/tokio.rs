//! The relay on tokio's single thread.

use runtimes::{BUFFER_BYTES, request_end, response_end};
use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Pool = Rc<RefCell<Vec<TcpStream>>>;

fn main() -> ExitCode {
    runtimes::main(|listen, origin| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        LocalSet::new().block_on(&runtime, accept(listen, origin))
    })
}

async fn accept(listen: SocketAddrV4, origin: SocketAddrV4) -> Result<()> {
    let (listener, pool) = (TcpListener::bind(listen).await?, Pool::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn_local(relay(stream, origin, pool.clone()));
    }
}

async fn relay(mut downstream: TcpStream, origin: SocketAddrV4, pool: Pool) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let end = message(&mut downstream, &mut buffer, request_end).await?;
        let kept = pool.borrow_mut().pop();
        let mut upstream = match kept {
            Some(kept) => kept,
            None => TcpStream::connect(origin).await?,
        };
        upstream.write_all(&buffer[..end]).await?;
        let end = message(&mut upstream, &mut buffer, response_end).await?;
        downstream.write_all(&buffer[..end]).await?;
        pool.borrow_mut().push(upstream);
    }
}

async fn message(stream: &mut TcpStream, buffer: &mut [u8], end: fn(&[u8]) -> Option<usize>) -> Result<usize> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
            count => filled += count,
        }
        if let Some(end) = end(&buffer[..filled]) {
            return Ok(end);
        }
    }
}
