#!/usr/bin/env bash
# Proves the packages of a release build on pristine Debian: the tests that `make test` runs with this machine's own files, run on
# those of a new machine that has nothing but what the packages ask for; and the rpm, with rpm. Called by `make package-test`.
# PROFILE=dev takes a build that is not optimised.
set -euo pipefail
cd "$(dirname "$0")/.."
((EUID == 0)) || { echo "package-test: it makes namespaces and needs root: run it with sudo -E" >&2 && exit 1; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export PROFILE=${PROFILE:-release}
root=${POSTERN_TEST_ROOT:-$target/test-root}

# Once; later runs take it as it is.
if [[ ! -e $root/complete ]]; then
    command -v debootstrap >/dev/null || apt-get install -y -q --no-install-recommends debootstrap >/dev/null
    echo "package-test: making a pristine Debian in $root"
    rm -rf "$root"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,libpcap0.8,iptables,ipset,nftables,iproute2,openssl,man-db,rpm,procps,curl \
        bookworm "$root" >"$target/debootstrap.log" || { tail -n 5 "$target/debootstrap.log" >&2 && exit 1; }
    touch "$root/complete"
fi

tests/packages.sh
export POSTERN_FIRST_HOST_FILE=$target/first-host
POSTERN_TEST_ROOT=$root cargo test --locked -p suite --test packages -- --test-threads=2
echo "package-test: from the package to the first protected host: $(<"$target/first-host") s"

# The rpm, and the version before it, in a copy of that machine that lives in memory.
packages=$target/test-packages/rpm
mkdir -p "$packages"/{before,now}
rm -f "$packages"/*/*.rpm
FORMATS=rpm BILLS=no FAST=yes VERSION=0.0.9 PACKAGES_DIR=$packages/before packaging/build.sh
FORMATS=rpm BILLS=no FAST=yes PACKAGES_DIR=$packages/now packaging/build.sh
unshare --mount --net --pid --fork --propagation private bash -euc '
root=$1 packages=$2 script=$3
mount -t tmpfs tmpfs /mnt
mkdir /mnt/{upper,work,root}
mount -t overlay overlay /mnt/root -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work"
mkdir /mnt/root/packages
cp -r "$packages"/. /mnt/root/packages/
cp "$script" /mnt/root/packages/test.sh
mount -t proc proc /mnt/root/proc
exec chroot /mnt/root bash /packages/test.sh
' package-test "$root" "$packages" packaging/rpm/test.sh
echo "package-test: all of it holds"
