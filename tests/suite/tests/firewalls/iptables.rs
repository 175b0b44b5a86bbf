//! Hosts of iptables, and with routes that are chosen by mark.

use crate::life::lives;
use crate::place::IPTABLES as WITH;
use crate::world::{BAN_IPTABLES, FLUSH_IPTABLES, UNBAN_IPTABLES, World};

#[test]
fn on_a_host_of_iptables_that_drops_by_policy_a_knock_opens_and_the_owner_stays_the_owner() {
    lives(&IPTABLES, WITH);
}

#[test]
fn on_a_host_that_routes_by_marks_a_knock_opens_and_our_mark_changes_no_way() {
    lives(&ROUTED, WITH);
}

/// As Debian's manual has it.
const IPTABLES: World = World {
    lay: "for ip in iptables ip6tables; do
    $ip -A INPUT -i lo -j ACCEPT
    $ip -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $ip -A INPUT -p udp --dport 62201 -j ACCEPT
    $ip -P INPUT DROP
done
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
mkdir -p /etc/iptables",
    hooks: &[],
    ban: BAN_IPTABLES,
    unban: UNBAN_IPTABLES,
    // As netfilter-persistent saves and loads.
    reload: "iptables-save >/etc/iptables/rules.v4; iptables-restore </etc/iptables/rules.v4
ip6tables-save >/etc/iptables/rules.v6; ip6tables-restore </etc/iptables/rules.v6",
    flush: FLUSH_IPTABLES,
};

/// With tables of routes that are chosen by mark, with and without a mask.
const ROUTED: World = World {
    lay: "for ip in iptables ip6tables; do
    $ip -t mangle -A PREROUTING -i eth0 -p udp --dport 500 -j MARK --set-mark 0x1
    $ip -P INPUT DROP
    $ip -A INPUT -p udp --dport 62201 -j ACCEPT
    $ip -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
done
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
for family in -4 -6; do
    ip $family rule add fwmark 0x1 lookup 100
    ip $family rule add not fwmark 0xca6c lookup 101
    ip $family rule add fwmark 0x4000/0x4000 lookup 102
done
ip route add blackhole default table 100
ip route add blackhole default table 102",
    hooks: &[],
    ban: BAN_IPTABLES,
    unban: UNBAN_IPTABLES,
    reload: "ip rule add fwmark 0x2 lookup 100; ip rule del fwmark 0x2 lookup 100",
    flush: FLUSH_IPTABLES,
};
