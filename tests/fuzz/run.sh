#!/usr/bin/env bash
# Runs the targets under libFuzzer; called by `make fuzz`.
#
#   run.sh                    each target a million times; a table of what was run at its end
#   run.sh TARGET [RUNS]      one of them
#   run.sh keep TARGET        takes what was found into corpus/, as few files as cover the same
#
# What is found stays in target/fuzz/found/TARGET and is where the next run begins; an input that breaks something is
# printed, and kept in target/fuzz/broken. Sanitizers need a nightly compiler and find little in code without `unsafe`.
set -euo pipefail
cd "$(dirname "$0")"

target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")/fuzz
# No input of these readers is longer, but for policies and files.
longest=2000
dictionaries=$PWD/dictionaries

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "make fuzz: installing cargo-fuzz, once"
    cargo install cargo-fuzz --locked --debug --quiet
fi

# fuzz NAME ARGUMENT...: libFuzzer itself.
fuzz() {
    local name=$1
    shift
    # As in every program of Rust, a connection that the other side has closed is an error and no signal.
    (trap '' PIPE && POSTERN_FUZZ_TARGET=$name exec "$target/x86_64-unknown-linux-gnu/release/target" "$@")
}

# run NAME RUNS: a line of the table goes to `table`, what is found wrong to the terminal.
run() {
    local name=$1 runs=$2 said ended=0
    mkdir -p "$target/found/$name" "$target/broken"
    local words=()
    [[ ! -e $dictionaries/$name ]] || words=(-dict="$dictionaries/$name")
    echo "== $name: $runs times" >&2
    said=$(fuzz "$name" -runs="$runs" -max_len=$longest -print_final_stats=1 -artifact_prefix="$target/broken/$name-" \
        -timeout=10 -rss_limit_mb=2048 "${words[@]}" "$target/found/$name" "corpus/$name" 2>&1 >/dev/null) || ended=$?
    grep -E '^(thread|panicked|.*(ERROR|SUMMARY|panicked|Test unit written))|^  (left|right)' <<<"$said" >&2 || true
    local stat
    stat() { sed -n "s/^stat::$1: *//p" <<<"$said"; }
    printf '%-16s %12s %10s %8s %8s  %s\n' "$name" "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" \
        "$(find "corpus/$name" -type f | wc -l)" "$(stat peak_rss_mb)" "$( ((ended)) && echo 'BROKEN' || echo 'none')" >>"$table"
    broken=$((broken | ended))
}

table=$(mktemp)
trap 'rm -f "$table"' EXIT
broken=0
# What was run, and what came of it.
finish() {
    printf '%-16s %12s %10s %8s %8s  %s\n' target executions per-second corpus rss-MB found
    cat "$table"
    exit $((broken ? 1 : 0))
}

(cd libfuzzer && CARGO_TARGET_DIR=$target cargo fuzz build -s none --fuzz-dir . target)
case ${1:-} in
"")
    for name in corpus/*/; do
        run "$(basename "$name")" 1000000
    done
    finish
    ;;
keep)
    name=${2:?which target}
    mkdir -p "corpus/$name"
    fuzz "$name" -set_cover_merge=1 -max_len=$longest "corpus/$name" "$target/found/$name"
    ;;
*)
    run "$1" "${2:-1000000}"
    finish
    ;;
esac
