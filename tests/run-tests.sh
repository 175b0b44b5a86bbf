#!/usr/bin/env bash
# Runs every test of the workspace: with nextest where it is installed, else with plain cargo test.
# Called by `make test` and `make soak`, after the programs are built.
set -euo pipefail
cd "$(dirname "$0")/.."

# One rule for a machine that lacks something, and it stands in tests/harness: it is named, and nothing passes unlooked at.
check=${CARGO_TARGET_DIR:-target}/debug/demo
if [[ ! -x $check ]]; then
    echo "make test: $check is not built; \`make test\` builds it" >&2
    exit 1
fi
if ! "$check" --check; then
    echo "make test: this machine cannot run the tests; nothing was run" >&2
    exit 1
fi

tests/owners.sh
tests/packages.sh
tests/monitoring.sh
tests/ssh.sh
tests/p0f.sh
tests/sudo.sh
tests/keyring.sh
tests/ulogd.sh

# Called by `make soak`: only the proofs whose size is a variable, one at a time.
if [[ -n ${POSTERN_SOAK:-} ]]; then
    if cargo nextest --version >/dev/null 2>&1; then
        exec cargo nextest run --workspace --locked --no-fail-fast --profile soak "$@"
    fi
    cargo test --locked -p model "$@" -- --test-threads=1
    cargo test --locked -p agent --test storage "$@" -- --test-threads=1
    exec cargo test --locked -p suite --test killed --test cross_product "$@"
fi

if cargo nextest --version >/dev/null 2>&1; then
    status=0
    cargo nextest run --workspace --locked --no-fail-fast "$@" || status=$?
    # That nobody can make a grant by hand is shown by examples that must not compile. Nextest runs
    # no examples.
    cargo test --quiet --doc --locked -p policy -p gate -p engine || status=$?
    exit "$status"
fi
echo "make test: cargo-nextest is not installed; using cargo test, which takes longer"
# Network tests of one program run two at a time, as under nextest.
exec cargo test --workspace --locked --no-fail-fast "$@" -- --test-threads=2
