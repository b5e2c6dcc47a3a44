#!/usr/bin/env bash
# Serves config/quickstart.yaml: the gateway in front, and behind it the origin that the same binary is. Ends both.
# Usage: scripts/run.sh BINARY
set -euo pipefail

binary=$(realpath "$1")
cd "$(dirname "$0")/.."
gateway_port=8080
origin_port=9000

# Says nothing when PROCESS ends before it listens: it has told why.
listens() { # PROCESS PORT
    for _ in {1..100}; do
        kill -0 "$1" 2>/dev/null || return 1
        # Somebody else's listener on that port would answer too, but then our process is about to end.
        (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && sleep 0.05 && kill -0 "$1" 2>/dev/null && return
        sleep 0.05
    done
    echo "nothing listens on port $2" >&2
    return 1
}

end() { # PROCESS
    kill -TERM "$1" 2>/dev/null || true
    wait "$1" || true
}

"$binary" echo "127.0.0.1:$origin_port" &
origin=$!
trap 'end "$origin"' EXIT
listens "$origin" "$origin_port"

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

if listens "$gateway" "$gateway_port"; then
    echo "Shardgate serves. Try it:  curl -i http://127.0.0.1:$gateway_port/"
fi
wait "$gateway"
