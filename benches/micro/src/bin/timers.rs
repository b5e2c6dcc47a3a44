//! The timer wheel: setting one, and a turn in which one fires or none.

use micro::Suite;
use shardgate::runtime::op::Owner;
use shardgate::runtime::timer::{Entry, Wheel};
use shardgate::stdx::time::Mono;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let (mut idle, mut busy, mut fired) = (wheel(10_000), wheel(10_000), Vec::new());
    let (mut now, mut others) = (Mono::ZERO, Vec::new());
    Suite::new()
        .case("a turn in which none fires", || idle.expire(black_box(Mono::ZERO), &mut others))
        .case("set one, a millisecond, it fires", || {
            busy.insert(Entry { at: now + Duration::from_micros(900), owner: Owner::Token(1) });
            now = now + Duration::from_millis(1);
            busy.expire(black_box(now), &mut fired);
            // Those far away come too, one day, and are set again as a connection's are.
            for entry in fired.drain(..) {
                if entry.owner != Owner::Token(1) {
                    busy.insert(Entry { at: now + FAR, owner: entry.owner });
                }
            }
        })
        .main()
}

/// With as many entries in it as there are idle connections.
fn wheel(entries: u64) -> Wheel {
    let mut wheel = Wheel::new(Mono::ZERO);
    for token in 0..entries {
        wheel.insert(Entry {
            at: Mono::ZERO + FAR + Duration::from_micros(token * 100),
            owner: Owner::Token(token + 2),
        });
    }
    wheel
}

const FAR: Duration = Duration::from_secs(75);
