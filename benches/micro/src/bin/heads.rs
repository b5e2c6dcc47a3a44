//! Reading an HTTP/1.1 head: one strict pass.

use micro::Suite;
use shardgate::http::h1::Scan;
use shardgate::http::head::{HeadLimits, RequestHead, ResponseHead, Underscores};
use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut small, mut large, mut piece, mut answer) =
        (RequestHead::new(), RequestHead::new(), RequestHead::new(), ResponseHead::new());
    let long = browsers_request();
    Suite::new()
        .case("request, 4 fields", || {
            let end = small.parse(black_box(REQUEST), &LIMITS, &mut Scan::new());
            assert_eq!(black_box(end), Ok(Some(REQUEST.len())));
        })
        .case("request, 16 fields, 1 KiB", || {
            let end = large.parse(black_box(long.as_bytes()), &LIMITS, &mut Scan::new());
            assert_eq!(black_box(end), Ok(Some(long.len())));
        })
        .case("request, 4 fields, in two pieces", || {
            let mut scan = Scan::new();
            let half = piece.parse(black_box(&REQUEST[..REQUEST.len() / 2]), &LIMITS, &mut scan);
            let end = piece.parse(black_box(REQUEST), &LIMITS, &mut scan);
            assert_eq!(black_box((half, end)), (Ok(None), Ok(Some(REQUEST.len()))));
        })
        .case("response, 5 fields", || {
            let end = answer.parse(black_box(RESPONSE), &LIMITS, &mut Scan::new());
            assert_eq!(black_box(end), Ok(Some(RESPONSE.len())));
        })
        .main()
}

fn browsers_request() -> String {
    let fields: String = (0..14).map(|number| format!("X-Field-{number}: {}\r\n", "v".repeat(50))).collect();
    format!("GET /assets/app.js?v=17 HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n{fields}\r\n")
}

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 32 << 10,
    fields_max: 100,
    uri_bytes_max: 8 << 10,
    underscores: Underscores::Drop,
    merge_slashes: true,
};
const REQUEST: &[u8] = b"GET /users/42?full=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: */*\r\nAccept-Encoding: gzip\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 1024\r\nConnection: keep-alive\r\n\r\n";
