#!/usr/bin/env bash
# Called by `make older`, after the programs are built: builds the controller of the newest commit whose schema is the one
# before this tree's, in a worktree of its own, and runs it beside this tree's controller (tests/suite/src/bin/older).
set -euo pipefail
cd "$(dirname "$0")/.."

schema_file=controller/src/store/sqlite/schema.rs
schema=$(sed -n 's/.*const SCHEMA: u32 = \([0-9]*\);.*/\1/p' "$schema_file")
before=$((schema - 1))
target=${CARGO_TARGET_DIR:-$PWD/target}

commit=
for candidate in HEAD $(git log --format=%H -- "$schema_file"); do
    # What stands before the commit that has changed it; where this tree's is not committed yet, the newest.
    for one in "$candidate" "$candidate^"; do
        if [[ -z $commit ]] && git show "$one:$schema_file" 2>/dev/null | grep -q "const SCHEMA: u32 = $before;"; then
            commit=$(git rev-parse "$one")
        fi
    done
    if [[ -n $commit ]]; then break; fi
done
if [[ -z $commit ]]; then
    echo "make older: no commit with schema $before is in this history; of a shallow clone: git fetch --unshallow" >&2
    exit 1
fi

tree=$target/older/tree
git worktree remove --force "$tree" 2>/dev/null || true
git worktree add --quiet --detach "$tree" "$commit"
trap 'git worktree remove --force "$tree"' EXIT
echo "make older: $(git log --format='%h, %cs' -1 "$commit") has schema $before, this has $schema"
(cd "$tree" && CARGO_TARGET_DIR=$target/older/target cargo build --locked -p controller --bins)
"$target/debug/older" "$target/older/target/debug/postern-controller" "migrations/older/$before.sql"
