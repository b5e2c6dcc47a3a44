//! The relay on monoio, which gives a buffer away with each operation and gets it back with the result.

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use runtimes::{BUFFER_BYTES, request_end, response_end};
use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddrV4;
use std::process::ExitCode;
use std::rc::Rc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Pool = Rc<RefCell<Vec<TcpStream>>>;

fn main() -> ExitCode {
    runtimes::main(|listen, origin| {
        let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().build()?;
        runtime.block_on(accept(listen, origin))
    })
}

async fn accept(listen: SocketAddrV4, origin: SocketAddrV4) -> Result<()> {
    let (listener, pool) = (TcpListener::bind(listen)?, Pool::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        monoio::spawn(relay(stream, origin, pool.clone()));
    }
}

async fn relay(mut downstream: TcpStream, origin: SocketAddrV4, pool: Pool) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let end;
        (end, buffer) = message(&mut downstream, buffer, request_end).await?;
        let kept = pool.borrow_mut().pop();
        let mut upstream = match kept {
            Some(kept) => kept,
            None => TcpStream::connect(origin).await?,
        };
        let (sent, slice) = upstream.write_all(buffer.slice(..end)).await;
        sent?;
        let end;
        (end, buffer) = message(&mut upstream, slice.into_inner(), response_end).await?;
        let (sent, slice) = downstream.write_all(buffer.slice(..end)).await;
        sent?;
        buffer = slice.into_inner();
        pool.borrow_mut().push(upstream);
    }
}

async fn message(
    stream: &mut TcpStream,
    mut buffer: Vec<u8>,
    end: fn(&[u8]) -> Option<usize>,
) -> Result<(usize, Vec<u8>)> {
    let mut filled = 0;
    loop {
        let (read, slice) = stream.read(buffer.slice_mut(filled..)).await;
        buffer = slice.into_inner();
        match read? {
            0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
            count => filled += count,
        }
        if let Some(end) = end(&buffer[..filled]) {
            return Ok((end, buffer));
        }
    }
}
