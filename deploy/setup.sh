#!/usr/bin/env bash
# Installs what building, the demo and the suite need on Debian. Does nothing, quickly and quietly, when all is there.
set -euo pipefail

# program or file -> the package that brings it
needed=(
    /usr/include/pcap/pcap.h=libpcap-dev
    cc=gcc
    pkg-config=pkg-config
    ip=iproute2
    iptables=iptables
    ip6tables=iptables
    ipset=ipset
    nft=nftables
    nft=nftables
    conntrack=conntrack
    tcpdump=tcpdump
    openssl=openssl
    sqlite3=sqlite3
    gpg=gnupg
    nc=netcat-openbsd
    faketime=faketime
    ssh=openssh-client
    fwknop=fwknop-client
    fwknopd=fwknop-server
    /usr/lib/postgresql=postgresql
)

# sbin is not on everyone's path
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=()
for entry in "${needed[@]}"; do
    what=${entry%%=*} package=${entry#*=}
    case $what in
        /*) [[ -e $what ]] || missing+=("$package") ;;
        *) command -v "$what" >/dev/null || missing+=("$package") ;;
    esac
done

if ((${#missing[@]})); then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    echo "setup: installing ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "setup: this is no Debian; install what these packages hold: ${missing[*]}" >&2
        exit 1
    fi
    as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "setup: run as root: apt-get install ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    # PostgreSQL's package makes a cluster and starts it: the tests make and run their own.
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
        "${as_root[@]}" mkdir -p /etc/postgresql-common
        [[ -e /etc/postgresql-common/createcluster.conf ]] ||
            echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    # The daemons among them must not start on this machine: the tests run their own, in namespaces.
    "${as_root[@]}" apt-get update -q -o=Dpkg::Use-Pty=0 >/dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q --no-install-recommends -o=Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing; install the Rust toolchain (1.95 or newer) from https://rustup.rs" >&2
    exit 1
fi
