#!/usr/bin/env bash
# Runs every test of the workspace: with nextest where it is installed, else with plain cargo test.
# Called by `make test`, after the programs are built.
set -euo pipefail
cd "$(dirname "$0")/.."

if ((EUID != 0)); then
    echo "make test: the suite makes network namespaces and needs root; run: sudo -E make test" >&2
    exit 1
fi
probe=ptprobe$$
if ! ip netns add "$probe" 2>/dev/null; then
    echo "make test: this kernel or container gives no network namespaces (ip netns add failed)" >&2
    exit 1
fi
if ! ip netns exec "$probe" iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT ||
    ! ip netns exec "$probe" ipset create probe hash:ip,port timeout 5; then
    ip netns del "$probe"
    echo "make test: this kernel has no iptables with conntrack, or no ipset, inside a namespace" >&2
    exit 1
fi
ip netns del "$probe"

if cargo nextest --version >/dev/null 2>&1; then
    status=0
    cargo nextest run --workspace --locked --no-fail-fast "$@" || status=$?
    # That nobody can make a grant by hand is shown by examples that must not compile. Nextest runs
    # no examples.
    cargo test --quiet --doc --locked -p policy -p gate || status=$?
    exit "$status"
fi
echo "make test: cargo-nextest is not installed; using cargo test, which takes longer"
# Network tests of one program run two at a time, as under nextest.
exec cargo test --workspace --locked --no-fail-fast "$@" -- --test-threads=2
