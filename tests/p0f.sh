#!/usr/bin/env bash
# Unpacks p0f beside the build, for the tests that compare what it and the agent make of SYNs. Nothing is installed, started or enabled on
# this machine. Does nothing when all is there. Called by tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" p0f p0f
