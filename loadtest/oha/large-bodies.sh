#!/bin/sh
# Uploads of 1 MiB beside each other: bodies stream through, and small requests' latency targets hold for them too.
. "$(dirname "$0")/common.sh"

body=$(mktemp)
trap 'rm -f "$body"' EXIT
head -c 1048576 /dev/zero >"$body"

measure "bodies of 1 MiB, 100/s" -m POST -D "$body" -T application/octet-stream -q 100 -c 16 --latency-correction
