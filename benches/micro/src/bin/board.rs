//! What shards count together: a place from a lease, a client's connection, the question who has fewest.

use micro::Suite;
use shardgate::stdx::board::{Board, Lease, client_key};
use std::hint::black_box;
use std::process::ExitCode;

fn main() -> ExitCode {
    let board = Board::new(SHARDS, 1, 8);
    let mut places = Lease::default();
    let client = client_key([192, 0, 2, 1].into());
    Suite::new()
        .case("a request enters and leaves", || {
            assert!(black_box(places.enter(&board.requests, 10_000, SHARDS)));
            places.leave(&board.requests, 10_000, SHARDS);
        })
        .case("a connection of a client comes and goes", || {
            assert!(board.connections_per_client.enter(black_box(client), 1000));
            board.connections_per_client.leave(client);
        })
        .case("a connection comes to a shard and goes", || {
            board.arrive(black_box(3));
            board.depart(3);
        })
        .case("who of eight has far fewer", || {
            assert!(black_box(board.less_loaded_than(black_box(0))).is_none());
        })
        .main()
}

const SHARDS: usize = 8;
