#!/usr/bin/env bash
# Unpacks Debian packages into target/NAME, for tests that run programs of others. Nothing is installed, started or enabled on
# this machine. Does nothing when all is there.
# Usage: tests/unpack.sh NAME PACKAGE...
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
shift
packages=("$@")
target=${CARGO_TARGET_DIR:-target}
tree=$target/$name
[[ -e $tree/complete ]] && exit 0

# sbin is not on everyone's path
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "$name: this is no Debian; the tests need ${packages[*]} as Debian packs them" >&2
    exit 1
fi

mkdir -p "$target"
new=$(mktemp -d "$(realpath "$target")/$name.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/debs/partial" "$new/tree"

# Everything that they need and this machine has not, and only downloaded.
download() {
    apt-get install --download-only --no-install-recommends --assume-yes -qq \
        -o Dpkg::Use-Pty=0 -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
        -o "Dir::Cache::archives=$new/debs" "${packages[@]}" >"$new/log" 2>&1
}
echo "$name: unpacking ${packages[*]} beside the build"
if ! download; then
    # The lists of this machine may be missing or old.
    if ! apt-get update -qq >>"$new/log" 2>&1 || ! download; then
        cat "$new/log" >&2
        echo "$name: these packages cannot be had: ${packages[*]}" >&2
        exit 1
    fi
fi

shopt -s nullglob
for deb in "$new"/debs/*.deb; do
    dpkg-deb -x "$deb" "$new/tree"
done
# Old places, where these directories are links today.
for dir in bin sbin lib; do
    if [[ -d $new/tree/$dir ]]; then
        mkdir -p "$new/tree/usr/$dir"
        cp -a "$new/tree/$dir/." "$new/tree/usr/$dir/"
        rm -rf "${new:?}/tree/$dir"
    fi
done
mkdir -p "$new/tree"/{etc,usr,var}
touch "$new/tree/complete"
chmod 755 "$new/tree"
rm -rf "$tree"
mv "$new/tree" "$tree"
