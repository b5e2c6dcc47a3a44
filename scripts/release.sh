#!/bin/sh
# Builds the binary that is shipped, laid out by what it does under load: one that counts is built first and run through
# loadtest/compare's training, on both event loops, with the access log and with policies. Writes shipped/shardgate to cargo's
# target folder. About three times as long as `cargo build --release`; for the same source and compiler, the same path
# through every request.
set -eu

cd "$(dirname "$0")/.."
cargo="${CARGO:-cargo}"
target="${CARGO_TARGET_DIR:-$PWD/target}"
work="$target/shipped"
host="$(rustc -vV | sed -n 's/^host: //p')"
llvm="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"

# The counts are in a format of the compiler's own version.
profdata="$(rustc --print target-libdir)/../bin/llvm-profdata"
[ -x "$profdata" ] || profdata="$(command -v "llvm-profdata-$llvm")" || {
    echo "release: llvm-profdata of LLVM $llvm is missing: rustup component add llvm-tools, or Debian's llvm-$llvm" >&2
    exit 1
}

# With --target the flags are for the gateway alone, not for the programs that build it.
build() { # FOLDER FLAGS
    RUSTFLAGS="${RUSTFLAGS:-} $2" "$cargo" build --release --bin shardgate --target "$host" --target-dir "$work/$1"
}

"$cargo" build --release -p floor
build counting "-Cprofile-generate=$work/counts"
rm -rf "$work/counts"
train() { # PROXIES
    loadtest/compare --quick --rounds 1 --only train --proxies "$1" \
        --target "$target/release" --gateway "$work/counting/$host/release/shardgate" >&2
}
train shardgate-epoll,shardgate-log,shardgate-chain
train shardgate-uring || echo "release: no io_uring here, so its part is laid out unseen" >&2
"$profdata" merge -o "$work/profile" "$work/counts"
build guided "-Cprofile-use=$work/profile"
cp "$work/guided/$host/release/shardgate" "$work/shardgate"
echo "$work/shardgate"
