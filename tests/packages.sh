#!/usr/bin/env bash
# Packs the programs of this build for the tests of the packages, as they are and once more as an earlier version, and as rpm:
# what is tested is the packing, and not the compiler. Called by tests/run-tests.sh. `make package-test` calls it for a release build.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
profile=${PROFILE:-dev}
packages=$target/test-packages
built=$target/${profile/#dev/debug}

# Packed anew when a program or anything of the packing is newer.
if [[ -e $packages/complete ]]; then
    newer=$(find "$built"/postern{,-agent,-controller} packaging deploy {agent,controller,client}/Cargo.toml CHANGELOG.md \
        tests/packages.sh -newer "$packages/complete" | head -n 1)
    [[ -n $newer || $(<"$packages/complete") != "$profile" ]] || exit 0
fi
packaging/tools.sh deb generate-rpm
if ! command -v rpm2cpio >/dev/null || ! command -v cpio >/dev/null; then
    echo "packages: installing rpm and cpio"
    apt-get install -y -q --no-install-recommends -o=Dpkg::Use-Pty=0 rpm cpio >/dev/null
fi
echo "packages: packing the programs for their tests"
rm -rf "$packages"
mkdir -p "$packages"
export PROFILE=$profile FORMATS=deb BILLS=no FAST=yes
PACKAGES_DIR=$packages/before VERSION=0.0.9 packaging/build.sh
PACKAGES_DIR=$packages/now packaging/build.sh
FORMATS=rpm PACKAGES_DIR=$packages/rpm packaging/build.sh
echo "$profile" >"$packages/complete"
