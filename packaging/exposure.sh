#!/usr/bin/env bash
# Says how confined each unit is, by systemd's own scale: 0 is nothing to attack, 10 everything.
set -euo pipefail
cd "$(dirname "$0")/.."
for unit in deploy/*.service; do
    systemd-analyze security --offline=true --no-pager "$unit" 2>/dev/null | tail -n 1
done
