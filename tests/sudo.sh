#!/usr/bin/env bash
# Unpacks sudo beside the build, for the test of commands that sudo runs. Nothing is installed on this machine. Does nothing
# when all is there. Called by tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" sudo sudo
