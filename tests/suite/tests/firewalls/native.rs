//! Hosts of nftables.

use crate::life::lives;
use crate::place::BackEnd;
use crate::world::{FLUSH_NFT, Service, World};

#[test]
fn on_a_host_with_a_table_that_iptables_cannot_read_a_knock_opens() {
    lives(&NATIVE_IP, &[BackEnd::Nftables]);
}

/// In the name that iptables would use, with what it cannot show.
const NATIVE_IP: World = World {
    lay: "for family in ip ip6; do nft -f - <<END
table $family filter {
    set blocked { type ipv4_addr; flags interval; }
    chain INPUT {
        type filter hook input priority 0; policy accept;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        udp dport 62201 accept
        tcp dport 22 ct state new limit rate 1000/second accept
        counter drop
    }
}
END
done
nft insert rule ip filter INPUT ip saddr @blocked drop",
    hooks: &[],
    ban: "nft add element ip filter blocked { $WHO }",
    unban: "nft delete element ip filter blocked { $WHO }",
    reload: "nft list table ip filter >/etc/ip.nft
(echo 'delete table ip filter'; cat /etc/ip.nft) | nft -f -",
    flush: FLUSH_NFT,
    service: Service::Own,
};
