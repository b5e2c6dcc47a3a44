//! Bringing a path into its one form, and asking one rule about it.

use micro::Suite;
use shardgate::http::path::normalise;
use shardgate::route::PathRule;
use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut plain, mut odd) = (Vec::with_capacity(128), Vec::with_capacity(128));
    let prefix = PathRule::Prefix(Box::from(&b"/v1/users"[..]));
    let exact = PathRule::Exact(Box::from(&b"/v1/users/42"[..]));
    Suite::new()
        .case("normalise, nothing to do", || {
            assert_eq!(normalise(black_box(PLAIN), true, &mut plain), Ok(()));
            black_box(&plain);
        })
        .case("normalise, dots and triplets", || {
            assert_eq!(normalise(black_box(b"/v1/./a/%75sers/../users//42"), true, &mut odd), Ok(()));
            black_box(&odd);
        })
        .case("prefix rule", || assert!(black_box(&prefix).matches(black_box(PLAIN))))
        .case("exact rule", || assert!(black_box(&exact).matches(black_box(PLAIN))))
        .main()
}

const PLAIN: &[u8] = b"/v1/users/42";
