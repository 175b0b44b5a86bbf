//! What the owner's rules would drop is said before anybody is told that something is open; and the
//! cure that is shown cures.

use anyhow::ensure;
use harness::service::Reach;
use harness::{in_lab, wait};

use crate::life::lives;
use crate::place::{BOTH, BackEnd, Place};
use crate::world::{FLUSH_NFT, Service, World};

#[test]
fn where_a_native_chain_drops_the_grant_is_blocked_until_the_owner_does_what_is_shown() {
    in_lab(|lab| {
        let place = Place::new(lab, &NATIVE_DROP)?;
        let mut agent = place.agent(BackEnd::Nftables, &[])?;
        agent.wait_for("dropped by inet filter input: policy drop")?;
        place.knock_v4()?;
        agent.wait_for("grant blocked")?;
        ensure!(place.user.reach(place.host.v4, 22)? == Reach::Silent);

        place.owner_does(
            "nft add rule inet filter input 'meta mark & 0x20000000 == 0x20000000 accept'",
        )?;
        agent.wait_for("no more: a grant for")?;
        place.knock_v4()?;
        place.opens_v4()?;
        let blocked = agent.log().matches("grant blocked").count();
        ensure!(blocked == 1, "{blocked} grants were said to be blocked");

        place.owner_does("nft add element inet filter blocked { $WHO }")?;
        wait::until("the owner's block to be known", wait::SOON, || {
            place.knock_v4()?;
            Ok(agent.log().contains("ip saddr @blocked drop"))
        })?;
        Ok(())
    });
}

#[test]
fn on_a_host_whose_native_chain_has_our_line_a_knock_opens() {
    lives(&NATIVE_HOOKED, BOTH);
}

/// Drops what it does not name, from a file.
const NATIVE_DROP: World = World {
    lay: "cat >/etc/inet.nft <<END
table inet filter {
    set blocked { type ipv4_addr; }
    chain input {
        type filter hook input priority 0; policy drop;
        ip saddr @blocked drop
        ct state vmap { established : accept, related : accept, invalid : drop }
        iif lo accept
        meta l4proto ipv6-icmp accept
        udp dport 62201 accept
    }
}
END
nft -f /etc/inet.nft",
    hooks: &[],
    ban: "nft add element inet filter blocked { $WHO }",
    unban: "nft delete element inet filter blocked { $WHO }",
    reload: "(echo 'delete table inet filter'; cat /etc/inet.nft) | nft -f -",
    flush: FLUSH_NFT,
    service: Service::Own,
};

/// The same, and the agent may put its line in.
const NATIVE_HOOKED: World = World {
    hooks: &["inet filter input"],
    ..NATIVE_DROP
};
