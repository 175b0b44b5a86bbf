#!/usr/bin/env bash
# Unpacks sshd beside the build, for the test of the days of users. Nothing is installed, started or enabled on this machine.
# Does nothing when all is there. Called by tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" ssh openssh-server
