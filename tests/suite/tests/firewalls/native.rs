//! Hosts of nftables.

use crate::life::lives;
use crate::place::{BOTH, BackEnd};
use crate::world::{FLUSH_NFT, Service, World};

#[test]
fn on_a_host_of_nftables_a_knock_opens_through_the_chain_that_the_configuration_names() {
    let hooks = &["inet filter input"];
    lives(&World { hooks, ..NATIVE }, BOTH);
}

#[test]
fn on_a_host_of_nftables_that_accepts_our_mark_a_knock_opens_and_the_owner_stays_the_owner() {
    lives(&MARKED, BOTH);
}

#[test]
fn on_a_host_with_a_table_that_iptables_cannot_read_a_knock_opens() {
    lives(&NATIVE_IP, &[BackEnd::Nftables]);
}

/// As most pages about nftables have it.
macro_rules! native {
    ($more:literal) => {
        concat!(
            "cat >/etc/nftables.conf <<'END'
table inet filter
delete table inet filter
table inet filter {
    set blocked { type ipv4_addr; }
    chain input {
        type filter hook input priority 0; policy drop;
        ip saddr @blocked drop
        ct state established,related accept
        iif lo accept
        meta l4proto ipv6-icmp accept
        udp dport 62201 accept
",
            $more,
            "    }
}
END
nft -f /etc/nftables.conf"
        )
    };
}

/// It drops what it does not name.
pub(crate) const NATIVE: World = World {
    lay: native!(""),
    hooks: &[],
    ban: "nft add element inet filter blocked { $WHO }",
    unban: "nft delete element inet filter blocked { $WHO }",
    reload: "nft -f /etc/nftables.conf",
    flush: FLUSH_NFT,
    service: Service::Own,
};

/// Its owner has written the line for our mark.
pub(crate) const MARKED: World = World {
    lay: native!("        meta mark and 0x20000000 == 0x20000000 accept\n"),
    ..NATIVE
};

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
