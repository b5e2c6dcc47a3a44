//! What the control thread asks of servers outside: one request, one answer, over HTTP or HTTPS.

use super::tls;
use crate::config::tls::Tls;
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub struct Fetched {
    pub body: Vec<u8>,
    /// How long it may be kept.
    pub max_age: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("its address is not one")]
    Address,
    #[error("it cannot be reached: {0}")]
    Connect(#[from] io::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer has more than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error("it does not answer within {} s", FETCH_TIMEOUT.as_secs())]
    Late,
}

/// Asks once for what is at `url`. Of `https` the server's certificate is signed by one of `authorities`, in DER, or of
/// those that the system trusts if there are none. Redirections are not followed: nobody configured where they go.
pub async fn get(url: &str, authorities: &[Vec<u8>]) -> Result<Fetched, FetchError> {
    tokio::time::timeout(FETCH_TIMEOUT, connect(url, authorities)).await.unwrap_or(Err(FetchError::Late))
}

async fn connect(url: &str, authorities: &[Vec<u8>]) -> Result<Fetched, FetchError> {
    let uri: Uri = url.parse().map_err(|_| FetchError::Address)?;
    let authority = uri.authority().ok_or(FetchError::Address)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_https = uri.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    if !is_https {
        return ask(stream, &uri).await;
    }
    let tls = Tls { authorities: authorities.to_vec(), ..Tls::default() };
    ask(tls::connect(stream, host, &tls).await?, &uri).await
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, uri: &Uri) -> Result<Fetched, FetchError> {
    let mut http = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) = http.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await?;
    let request = Request::get(uri.path_and_query().map_or("/", |target| target.as_str()))
        .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, "shardgate")
        .body(String::new())
        .map_err(|_| FetchError::Address)?;
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        Ok(Fetched { body: read(response.into_body()).await?, max_age })
    };
    // The connection moves only when it is polled, and both end together.
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        answer = &mut answer => answer,
        // It may have ended after the last byte of the answer.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

async fn read(body: Incoming) -> Result<Vec<u8>, FetchError> {
    let (mut body, mut bytes) = (pin!(body), Vec::new());
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > BODY_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
    }
    Ok(bytes)
}

/// RFC 9111 §5.2.2.1. What must not be kept at all is kept as shortly as anything is.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(&*directive, "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        directive.strip_prefix("max-age=")?.parse().ok().map(Duration::from_secs)
    })
}

/// 64 keys of 8192 bits, and what else is written of them.
const BODY_BYTES_MAX: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 16 << 10;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
