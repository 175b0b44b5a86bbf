#!/usr/bin/env bash
# Unpacks the programs that own the firewall of many hosts (ufw, firewalld, fail2ban) beside the build, for the tests that
# run the agent next to them. Nothing is installed, started or enabled on this machine: the tests lay the files over its own
# in a mount namespace. Does nothing when all is there. Called by tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" owners ufw firewalld fail2ban
