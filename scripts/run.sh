#!/usr/bin/env bash
# Serves config/quickstart.yaml: the gateway in front, and behind it the origin that the same binary is. Ends both.
# Usage: scripts/run.sh BINARY
set -euo pipefail

binary=$(realpath "$1")
cd "$(dirname "$0")/.."
gateway_port=8080
origin_port=9000

"$binary" echo "127.0.0.1:$origin_port" &
origin=$!
trap 'kill "$origin" 2>/dev/null || true' EXIT

"$binary" run config/quickstart.yaml &
gateway=$!
# The gateway drains, and the origin must live until it has.
drain() {
    local status=0
    kill -TERM "$gateway" 2>/dev/null || true
    wait "$gateway" || status=$?
    exit "$status"
}
trap drain INT TERM

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
lives() { kill -0 "$1" 2>/dev/null; }

for _ in {1..100}; do
    sleep 0.05
    lives "$gateway" || break
    lives "$origin" || { kill -TERM "$gateway"; echo 'the origin did not start; see above' >&2; exit 1; }
    if listens "$origin_port" && listens "$gateway_port"; then
        echo "Shardgate serves. Try it:  curl -i http://127.0.0.1:$gateway_port/"
        break
    fi
done
wait "$gateway"
