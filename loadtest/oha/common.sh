# What the scenarios share: the gateway's address, the thresholds, and one measured run.
#
#   URL              what to load                       http://127.0.0.1:8080/
#   SECONDS_EACH     length of each run                 30
#   P95_MS_MAX, P99_MS_MAX, SUCCESS_SHARE_MIN           the product's targets: 50, 100, 0.999

set -eu

URL=${URL:-http://127.0.0.1:8080/}
SECONDS_EACH=${SECONDS_EACH:-30}
P95_MS_MAX=${P95_MS_MAX:-50}
P99_MS_MAX=${P99_MS_MAX:-100}
SUCCESS_SHARE_MIN=${SUCCESS_SHARE_MIN:-0.999}
here=$(dirname "$0")

command -v oha >/dev/null || { echo "oha is not here: cargo install oha" >&2; exit 2; }
oha --help | grep -q -- --output-format || { echo "this oha has no --output-format: cargo install oha" >&2; exit 2; }

# measure NAME OHA_OPTIONS...: a request under way at the end is waited for, so that it counts.
measure() {
    name=$1
    shift
    found=$(oha --no-tui --output-format json -z "${SECONDS_EACH}s" -w "$@" "$URL")
    printf '%s\n' "$found" | "$here/judge" "$name" "$P95_MS_MAX" "$P99_MS_MAX" "$SUCCESS_SHARE_MIN"
}
