#!/bin/sh
# Builds the binary that is shipped, laid out by what it does under load: one that counts is built first and run through
# loadtest/compare's training, on both event loops, with the access log and with policies. Writes shipped/shardgate to cargo's
# target folder. About three times as long as `cargo build --release`; for the same source and compiler, the same path
# through every request.
set -eu

cd "$(dirname "$0")/.."
cargo="${CARGO:-cargo}"
# The compiler is run in many folders.
target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
work="$target/shipped"
host="$(rustc -vV | sed -n 's/^host: //p')"
llvm="$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')"

# The counts are in a format of the compiler's own version.
profdata="$(rustc --print target-libdir)/../bin/llvm-profdata"
[ -x "$profdata" ] || profdata="$(command -v "llvm-profdata-$llvm")" || {
    echo "release: llvm-profdata of LLVM $llvm is missing: rustup component add llvm-tools, or Debian's llvm-$llvm" >&2
    exit 1
}

# What is not seen at work is laid out for size.
python3 -c 'import ctypes, sys
ctypes.CDLL(None, use_errno=True).syscall(425, 1, None)
sys.exit(ctypes.get_errno() != 14)' || {
    echo "release: no io_uring here, so its event loop cannot be seen at work: build where it is allowed" >&2
    exit 1
}

# With --target the flag is for the gateway alone, not for the programs that build it.
build() { # FOLDER FLAG
    CARGO_ENCODED_RUSTFLAGS="$2" "$cargo" build --release --bin shardgate --target "$host" --target-dir "$work/$1"
}

"$cargo" build --release -p floor
build counting "-Cprofile-generate=$work/counts"
rm -rf "$work/counts"
loadtest/compare --quick --rounds 1 --only train \
    --proxies shardgate-uring,shardgate-epoll,shardgate-log,shardgate-chain \
    --target "$target/release" --gateway "$work/counting/$host/release/shardgate" >&2
"$profdata" merge -o "$work/profile" "$work/counts"
build guided "-Cprofile-use=$work/profile"
install "$work/guided/$host/release/shardgate" "$work/shardgate"
echo "$work/shardgate"
