//! Hosts of iptables, of old iptables beside nf_tables, and with routes that are chosen by mark.

use crate::life::lives;
use crate::place::BOTH;
use crate::world::{BAN_IPTABLES, FLUSH_IPTABLES, Service, UNBAN_IPTABLES, World};

#[test]
fn on_a_host_of_iptables_that_drops_by_policy_a_knock_opens_and_the_owner_stays_the_owner() {
    lives(&IPTABLES, BOTH);
}

#[test]
fn on_a_host_of_iptables_legacy_a_knock_opens() {
    lives(&LEGACY, BOTH);
}

#[test]
fn on_a_host_that_routes_by_marks_a_knock_opens_and_answers_find_their_way() {
    lives(&ROUTED, BOTH);
}

#[test]
fn on_a_host_whose_tunnel_is_made_as_wg_quick_does_a_knock_opens() {
    lives(&WG_QUICK, BOTH);
}

/// As Debian's manual has it.
pub(crate) const IPTABLES: World = World {
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
    service: Service::Own,
};

/// With iptables of old, which nf_tables neither shows nor tells of.
const LEGACY: World = World {
    lay: "for ip in iptables-legacy ip6tables-legacy; do
    $ip -A INPUT -i lo -j ACCEPT
    $ip -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $ip -A INPUT -p udp --dport 62201 -j ACCEPT
    $ip -P INPUT DROP
done
ip6tables-legacy -A INPUT -p ipv6-icmp -j ACCEPT",
    hooks: &[],
    ban: "iptables-legacy -I INPUT 1 -s $WHO -j DROP",
    unban: "iptables-legacy -D INPUT -s $WHO -j DROP",
    reload: "iptables-legacy-save >/etc/rules.v4; iptables-legacy-restore </etc/rules.v4",
    flush: "for ip in iptables-legacy ip6tables-legacy; do $ip -P INPUT ACCEPT; $ip -F; done",
    service: Service::Own,
};

/// With two ways out, chosen by the mark of the way in: answers find their way by that mark alone.
const ROUTED: World = World {
    lay: "ip link add nowhere type veth peer name nothing
ip link set nowhere up
iptables -t mangle -A PREROUTING -i eth0 -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x1/0xff
iptables -t mangle -A OUTPUT -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
ip6tables -t mangle -A PREROUTING -i eth0 -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x1/0xff
ip6tables -t mangle -A OUTPUT -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
for ip in iptables ip6tables; do
    $ip -P INPUT DROP
    $ip -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
done
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
ip route add 192.0.2.0/24 dev eth0 table 100
ip -6 route add 2001:db8::/64 dev eth0 table 100
ip route del 192.0.2.0/24 dev eth0
ip -6 route del 2001:db8::/64 dev eth0
ip route add default dev nowhere
ip -6 route add default dev nowhere
ip rule add fwmark 0x1/0xff lookup 100
ip -6 rule add fwmark 0x1/0xff lookup 100",
    hooks: &[],
    ban: BAN_IPTABLES,
    unban: UNBAN_IPTABLES,
    reload: "ip rule add fwmark 0x2/0xff lookup 100; ip rule del fwmark 0x2/0xff lookup 100",
    flush: "iptables -P INPUT ACCEPT; iptables -F INPUT; ip6tables -P INPUT ACCEPT; ip6tables -F INPUT",
    service: Service::Own,
};

/// What `wg-quick up` lays for a tunnel that everything goes into, around a link that stands for it.
const WG_QUICK: World = World {
    lay: "ip link add wg0 type veth peer name nothing
ip addr add 10.9.0.2/32 dev wg0
ip link set wg0 up
ip link set nothing up
for ip in iptables ip6tables; do
    $ip -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    $ip -P INPUT DROP
done
ip6tables -A INPUT -p ipv6-icmp -j ACCEPT
ip -4 route add 0.0.0.0/0 dev wg0 table 51820
ip -4 rule add not fwmark 51820 table 51820
ip -4 rule add table main suppress_prefixlength 0
sysctl -qw net.ipv4.conf.all.src_valid_mark=1 net.ipv4.conf.all.rp_filter=1
nft -f - <<'END'
add table ip wg-quick-wg0
add chain ip wg-quick-wg0 preraw { type filter hook prerouting priority -300; }
add chain ip wg-quick-wg0 premangle { type filter hook prerouting priority -150; }
add chain ip wg-quick-wg0 postmangle { type filter hook postrouting priority -150; }
add rule ip wg-quick-wg0 preraw iifname != \"wg0\" ip daddr 10.9.0.2 fib saddr type != local drop
add rule ip wg-quick-wg0 postmangle meta l4proto udp mark 51820 ct mark set mark
add rule ip wg-quick-wg0 premangle meta l4proto udp meta mark set ct mark
END",
    reload: "true",
    ..IPTABLES
};
