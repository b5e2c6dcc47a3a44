//! Which event loop the scenarios of `uring::` are run on. A suite that quietly ran on another would say nothing of
//! rings.

use io_uring::IoUring;
use shardgate::runtime::options::EventLoop;
use std::io::Write;

#[test]
fn where_the_kernel_makes_rings_they_are_what_is_tested_and_else_it_is_said_why_not() {
    let choice = crate::kit::choice();
    // Past the harness, which shows nothing of a test that passes.
    let said = writeln!(std::io::stderr(), "scenarios of uring:: run on {}: {}", choice.name(), choice.reason);
    said.expect("it is open");
    // As the driver wants them, but made without it: a driver that does not work is no reason to fall back here.
    let made = IoUring::<io_uring::squeue::Entry>::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    let chosen = choice.event_loop == EventLoop::Uring;
    assert!(chosen || made.is_err(), "the kernel makes rings, and {} was chosen: {}", choice.name(), choice.reason);
    assert!(chosen || choice.reason.starts_with("io_uring does not work here: "), "{choice:?}");
}
