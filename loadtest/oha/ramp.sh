#!/bin/sh
# The same rate over ever more connections: what a connection costs must not show in latency. Every step runs; the exit
# code is 1 when one falls short.
. "$(dirname "$0")/common.sh"

failed=0
for connections in 64 128 256 512 1024 2048; do
    measure "ramp, $connections connections" -q 10000 -c "$connections" --latency-correction || failed=1
done
exit "$failed"
