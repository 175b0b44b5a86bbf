#!/usr/bin/env bash
# Unpacks ulogd and its pcap writer beside the build, for the test that follows the file that it writes. Called by
# tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" ulogd ulogd2 ulogd2-pcap
