#!/usr/bin/env bash
# Plants each bug of this folder in a scratch copy of HEAD and demands that the simulation finds it.
# Usage: run.sh [NAME...], the names of patches or what they begin with; CARGO is another cargo, SEEDS another number of
# seeds.
set -euo pipefail

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
cargo=${CARGO:-cargo}
seeds=${SEEDS:-2000}
seconds_max=900
# Kept between the mutants and between runs: only the package itself is built anew.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/mutants

scratch=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$scratch/copy"; rm -rf "$scratch"' EXIT
git -C "$root" worktree add --quiet --detach "$scratch/copy" HEAD
cd "$scratch/copy"

simulate() {
    SHARDGATE_SEEDS=$seeds timeout "$seconds_max" \
        "$cargo" test --quiet --test sim every_exchange -- --nocapture >"$scratch/log" 2>&1
}

is_chosen() { # NAME [CHOICE...]
    [ $# -gt 1 ] || return 0
    local name=$1 choice
    shift
    for choice in "$@"; do
        case $name in "$choice"*) return 0 ;; esac
    done
    return 1
}

simulate || { echo 'the simulation fails without any bug planted:' >&2; tail -40 "$scratch/log" >&2; exit 1; }

survived=0
printf '%-44s %s\n' 'planted bug' 'found'
for patch in "$root"/tests/sim/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    is_chosen "$name" "$@" || continue
    git apply --recount -C1 "$patch"
    if simulate; then
        verdict='NOT FOUND'
    else
        # Nothing but a seed that fails is a find: neither a build that fails nor a run that takes too long.
        verdict=$(sed -n 's/^replay it: make sim SEED=/seed /p' "$scratch/log" | tail -1)
    fi
    case ${verdict:=no verdict} in seed*) ;; *) survived=$((survived + 1)); cp "$scratch/log" "/tmp/$name.log" ;; esac
    printf '%-44s %s\n' "$name" "$verdict"
    git checkout --quiet -- src
done
[ "$survived" -eq 0 ] || { echo "$survived planted bugs were not found" >&2; exit 1; }
