#!/usr/bin/env bash
# Packs the three programs that are built already into .deb and .rpm files, with everything that belongs to them: man pages,
# completions, notices, bill of materials, units. Called by `make package`, and by the test of the packages for a build
# that is not optimised. PROFILE says which build (release), VERSION another version than that of Cargo.toml, FORMATS less
# than "deb rpm", PACKAGES_DIR where the packages go, BILLS=no and FAST=yes leave out what takes long and no test asks for.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
profile=${PROFILE:-release}
formats=${FORMATS:-deb rpm}
out=${PACKAGES_DIR:-$target/packages}
built=$target/${profile/#dev/debug}
export CARGO_TARGET_DIR=$target
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
# As `cargo build -p notices` has left it.
notices=$target/debug/notices

declare -A crates=([postern]=client [postern-agent]=agent [postern-controller]=controller)

# Everything of one package that is made and not written: a change to the command line changes its pages.
make_contents() {
    local program=$1 crate=$2 dir=$built/package/$1
    rm -rf "$dir"
    mkdir -p "$dir"/{man,completions,doc}
    "$built/$program" man "$dir/man" >/dev/null
    gzip -9n "$dir"/man/*.1
    local shell
    for shell in bash zsh fish; do
        "$built/$program" completions "$shell" >"$dir/completions/$shell"
    done
    "$notices" "$crate" >"$dir/doc/NOTICES"
    gzip -9n "$dir/doc/NOTICES"
    gzip -9nc CHANGELOG.md >"$dir/doc/changelog.gz"
    if [[ $formats == *rpm* ]]; then
        cp packaging/copyright "$dir/doc/"
    fi
    case $program in
        postern) client_of_fwknop "$dir" ;;
        postern-agent) server_of_fwknop "$dir" ;;
    esac
    if [[ ${BILLS:-yes} == yes ]]; then
        bill_of_materials "$crate" "$dir/doc/sbom.cdx.json"
    fi
}

# The same program by the names of fwknop; packages of their own have them, so that nobody has them who has fwknop.
client_of_fwknop() {
    local dir=$1/fwknop
    mkdir -p "$dir/doc"
    ln -s postern "$dir/fwknop"
    gzip -9nc CHANGELOG.md >"$dir/doc/changelog.gz"
}

# The unit is that of the agent, but for what runs: it says under fwknopd's name what fwknopd says, and keeps its PID file.
server_of_fwknop() {
    local dir=$1/fwknop
    mkdir -p "$dir/doc"
    ln -s ../bin/postern-agent "$dir/fwknopd"
    sed -e 's|^Description=.*|Description=Postern agent in the place of fwknopd, by the files in /etc/fwknop|' \
        -e 's|^ExecStart=.*|ExecStart=/usr/sbin/fwknopd --foreground|' \
        -e 's|^RuntimeDirectory=.*|& fwknop|' \
        -e 's|^Wants=.*|&\nConflicts=postern-agent.service|' \
        deploy/postern-agent.service >"$dir/fwknop-server.service"
    gzip -9nc CHANGELOG.md >"$dir/doc/changelog.gz"
}

# CycloneDX. The tool writes a file beside the Cargo.toml of every crate of the workspace, whatever it is asked, and names our
# own crates by where they lie on this machine.
bill_of_materials() {
    local crate=$1 file=$2 name=postern-package-sbom
    cargo cyclonedx --quiet --manifest-path "$crate/Cargo.toml" --format json --target x86_64-unknown-linux-gnu \
        --override-filename "$name"
    sed "s|file://$PWD|.|g" "$crate/$name.json" >"$file"
    find . -path ./target -prune -o -name "$name.json" -exec rm {} +
}

pack_deb() {
    local crate=$1
    local options=(--quiet --no-build --package "$crate" --profile "$profile" --no-dbgsym
        ${VERSION:+--deb-version "$VERSION"} ${FAST:+--fast} --output "$out/")
    cargo deb "${options[@]}" --strip >/dev/null
    if grep -q '^\[package.metadata.deb.variants.fwknop\]' "$crate/Cargo.toml"; then
        cargo deb "${options[@]}" --variant fwknop >/dev/null
    fi
}

# Where Debian calls the library libpcap.so.0.8, everybody else calls the same library libpcap.so.1.
pack_rpm() {
    local program=$1 crate=$2 copy=$built/package/rpm
    mkdir -p "$copy/release"
    strip -o "$copy/release/$program" "$built/$program"
    if [[ $crate == agent ]]; then
        patchelf --replace-needed libpcap.so.0.8 libpcap.so.1 "$copy/release/$program"
    fi
    ln -sfn "$built/package" "$copy/release/package"
    cargo generate-rpm --package "$crate" --target-dir "$copy" --auto-req builtin \
        ${VERSION:+--set-metadata "version = \"$VERSION\""} ${FAST:+--payload-compress none} --output "$out/" >/dev/null
}

mkdir -p "$out"
for program in "${!crates[@]}"; do
    crate=${crates[$program]}
    make_contents "$program" "$crate"
    for format in $formats; do
        case $format in
            deb) pack_deb "$crate" ;;
            rpm) pack_rpm "$program" "$crate" ;;
            *) echo "package: no format $format" >&2 && exit 2 ;;
        esac
    done
done
