#!/usr/bin/env bash
# Where the time of one experiment goes: `make profile` or `make profile ARGS="E4a"`.
# Needs perf (Debian: linux-perf) and root. Prints the functions that cost most, what each sync of the
# journal waited for at the disk, and draws a flame graph where inferno is installed
# (cargo install inferno).
set -euo pipefail
cd "$(dirname "$0")/../.."

experiment=${1:-E4a}
out=${CARGO_TARGET_DIR:-target}/profile
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
mkdir -p "$out"

command -v perf >/dev/null || { echo "profile: perf is not installed (apt-get install linux-perf)" >&2; exit 1; }

# The whole experiment under this perf command; what the programs say goes aside.
under() {
    POSTERN_BIN_DIR=$bin "$@" -- "$bin/bench" "$experiment" --servers postern >"$out/bench.txt" 2>&1 || {
        cat "$out/bench.txt" >&2
        exit 1
    }
}

under perf record -q -a -F 1999 -g -o "$out/cpu.data"
echo "== $experiment: what the gate thread's processor time is spent in"
perf report -i "$out/cpu.data" --comm gate --percentage relative --no-children --stdio -g none 2>/dev/null | awk '!/^#/ && NF && n++ < 25'
if command -v inferno-flamegraph >/dev/null; then
    perf script -i "$out/cpu.data" --comm gate 2>/dev/null | inferno-collapse-perf | inferno-flamegraph >"$out/flame.svg"
    echo "flame graph: $out/flame.svg"
fi

under perf record -q -a -o "$out/disk.data" \
    -e syscalls:sys_enter_fdatasync,syscalls:sys_exit_fdatasync -e block:block_rq_issue,block:block_rq_complete
echo
echo "== $experiment: what each sync of the gate thread waited for (microseconds)"
perf script -i "$out/disk.data" -F comm,time,event,trace 2>/dev/null | awk '
    function us(stamp) { sub(":", "", stamp); return stamp * 1e6 }
    { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\.[0-9]+:$/) { now = us($i); event = $(i + 1); kind = $(i + 3); break } }
    event ~ /sys_enter_fdatasync/ && $1 == "gate" { start = now; inside = 1; parts = "" }
    event ~ /block_rq_issue/ && inside { issued = now; what = kind }
    event ~ /block_rq_complete/ && inside && what != "" {
        name = what ~ /^FF/ ? "flush" : what ~ /M/ ? "write of metadata" : "write of the log"
        parts = parts sprintf("  %s %d", name, now - issued); what = ""
    }
    event ~ /sys_exit_fdatasync/ && $1 == "gate" && inside { printf "sync %5d:%s\n", now - start, parts; inside = 0 }
' | awk 'NR <= 40'
