#!/usr/bin/env bash
# Unpacks what receives events and metrics elsewhere (rsyslog, Prometheus) beside the build, for the tests that send to them.
# Nothing is installed, started or enabled on this machine. Does nothing when all is there. Called by tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" monitoring prometheus rsyslog rsyslog-gnutls
