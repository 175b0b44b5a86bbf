#!/usr/bin/env bash
# Installs what packing needs and is not there: Cargo's commands by the names given (packaging/tools.sh deb generate-rpm), and
# Debian's programs for those of them that need one.
set -euo pipefail

for tool in "$@"; do
    if ! command -v "cargo-$tool" >/dev/null && [[ ! -x ${CARGO_HOME:-$HOME/.cargo}/bin/cargo-$tool ]]; then
        echo "packaging: installing cargo-$tool, once"
        if ! cargo install "cargo-$tool" --locked --debug --quiet; then
            echo "packaging: cargo-$tool is missing and cannot be installed here; on a machine with a network:" \
                "cargo install cargo-$tool --locked" >&2
            exit 1
        fi
    fi
    if [[ $tool == generate-rpm ]] && ! command -v patchelf >/dev/null; then
        as_root=()
        ((EUID == 0)) || as_root=(sudo)
        echo "packaging: installing patchelf"
        "${as_root[@]}" apt-get install -y -q --no-install-recommends -o=Dpkg::Use-Pty=0 patchelf >/dev/null
    fi
done
