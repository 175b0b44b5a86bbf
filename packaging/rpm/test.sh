#!/usr/bin/env bash
# Run by packaging/test.sh in a machine that is thrown away: installs, upgrades and removes the packages with rpm itself.
set -euo pipefail
cd /packages

fail() {
    echo "rpm: $*" >&2
    exit 1
}

# Debian calls the library libpcap.so.0.8, and systemd is none of rpm's here.
ln -s libpcap.so.0.8 "/usr/lib/x86_64-linux-gnu/libpcap.so.1"
rpmdb --initdb

needs=$(rpm -qp --requires now/postern-agent-*.rpm)
grep -q 'libpcap.so.1' <<<"$needs" || fail "the agent does not ask for libpcap.so.1: $needs"
! grep -q 'libpcap.so.0.8' <<<"$needs" || fail "the agent asks for a library that only Debian has"
[[ $(rpm -qp --queryformat '%{license}' now/postern-0*.rpm) == "Apache-2.0 OR MIT" ]] || fail "the licence is lost"

rpm -i --nodeps before/*.rpm
for program in postern postern-agent postern-controller; do
    "$program" --version >/dev/null || fail "$program does not start"
    rpm -V --nodeps "$program" || fail "$program is not as it was packed"
    [[ -e /usr/share/man/man1/$program.1.gz ]] || fail "$program has no page"
done
[[ $(stat -c '%U %a' /var/lib/postern) == "postern 700" ]] || fail "the controller has no directory of its own"
systemd-analyze verify /usr/lib/systemd/system/postern-{agent,controller,protect,sets}.service 2>&1 |
    grep 'postern-.*: ' && fail "a unit is not valid"

echo 'spa_port = 62301' >>/etc/postern/agent.toml
mkdir -p /var/lib/postern-agent
printf 'tcp/22\n' >/var/lib/postern-agent/protected-ports
rpm -U --nodeps now/*.rpm
[[ $(rpm -q --queryformat '%{version}' postern-agent) != 0.0.9 ]] || fail "it was not upgraded"
grep -q '^spa_port = 62301' /etc/postern/agent.toml || fail "the configuration was not kept"

said=$(rpm -e postern postern-agent postern-controller 2>&1)
grep -q 'tcp/22' <<<"$said" || fail "what stays hidden was not said: $said"
[[ -e /var/lib/postern-agent/protected-ports && -d /var/lib/postern ]] || fail "what somebody made is gone"
[[ -e /etc/postern/agent.toml.rpmsave ]] || fail "a changed configuration is gone"
[[ ! -e /usr/bin/postern-agent ]] || fail "it is still there"
echo "rpm: installed, upgraded and removed"
