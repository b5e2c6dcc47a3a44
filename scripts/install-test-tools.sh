#!/bin/sh
# Installs the programs that tests use as peers, or with `bench` those of the comparison, that are not there yet. Nothing is
# left running: a package that would start a server is kept from it while it installs.
# Usage: scripts/install-test-tools.sh [bench]
set -eu

missing=""
need() { # PROGRAM PACKAGE
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need nginx nginx-light
need python3 python3
need redis-server redis-server
need haproxy haproxy
if [ "${1:-}" = bench ]; then
    need perf linux-perf
    need valgrind valgrind
else
    need wrk wrk
    need ab apache2-utils
    need curl curl
    need setpriv util-linux
    need systemd-analyze systemd
    need node nodejs
    need npm npm
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        rustup component add rustfmt clippy
    fi
fi

# The issuer of tests/e2e/oidc.rs, outside the checkout: node's packages, of the versions that the lock file names.
install_issuer() {
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/shardgate/oidc"
    cmp -s "$issuer/package-lock.json" "$cache/package-lock.json" && [ -d "$cache/node_modules/oidc-provider" ] && return
    rm -rf "$cache"
    mkdir -p "$cache"
    cp "$issuer/package.json" "$issuer/package-lock.json" "$cache"
    if ! (cd "$cache" && npm ci --ignore-scripts --no-audit --no-fund --silent); then
        rm -rf "$cache"
        return 1
    fi
}
issuer="$(dirname "$0")/../tests/e2e/oidc"

if [ -z "$missing" ]; then
    [ "${1:-}" = bench ] || install_issuer
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-test-tools: please install:$missing" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi

# invoke-rc.d asks this program whether a service may start; 101 is no.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
    $as_root chmod 755 "$guard"
    trap '$as_root rm -f "$guard"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# Word splitting is what makes several packages of one string.
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
echo "installed:$missing"
[ "${1:-}" = bench ] || install_issuer
