#!/usr/bin/env bash
# Unpacks GNOME Keyring and its peers beside the build, for the tests of keys in a keyring. Nothing is installed, started or
# enabled on this machine. Does nothing when all is there. Called by tests/run-tests.sh.
set -euo pipefail
exec "$(dirname "$0")/unpack.sh" keyring gnome-keyring libsecret-tools dbus-daemon dbus-bin
