#!/bin/sh
# The product's target load: 10,000 requests a second, evenly, over 64 connections. Latency is corrected for requests
# that a stalled gateway kept from being sent.
. "$(dirname "$0")/common.sh"

measure "steady 10,000/s" -q 10000 -c 64 --latency-correction
