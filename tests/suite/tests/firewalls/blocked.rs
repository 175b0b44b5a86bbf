//! Where the owner's rules still drop what a grant opens, the audit does not say that it is open: it
//! names the chain, and the cure that the manual gives makes it so.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::service::Reach;
use harness::{in_lab, wait};

use crate::containers::DOCKER_USER;
use crate::iptables::IPTABLES;
use crate::native::NATIVE;
use crate::place::{BackEnd, Place};
use crate::programs::{FIREWALLD, UFW};
use crate::world::World;

/// A firewall that drops what a grant opens, and what its owner does about it.
struct Obstacle {
    world: World,
    /// What the owner does after laying it, to be in the way.
    then: &'static str,
    hooks: &'static [&'static str],
    /// What the audit names.
    named: &'static [&'static str],
    cure: &'static str,
}

#[test]
fn a_native_chain_that_drops_is_named_and_a_line_for_the_mark_cures_it() {
    obstructs(&Obstacle {
        world: NATIVE,
        then: "true",
        hooks: &[],
        named: &["inet filter input"],
        cure: "nft add rule inet filter input meta mark and 0x20000000 == 0x20000000 accept",
    });
}

#[test]
fn a_chain_of_iptables_that_drops_is_named_where_hooks_are_switched_off() {
    obstructs(&Obstacle {
        world: IPTABLES,
        then: "true",
        hooks: &["none"],
        named: &["ip filter INPUT"],
        cure: "iptables -A INPUT -m mark --mark 0x20000000/0x20000000 -j ACCEPT
ip6tables -A INPUT -m mark --mark 0x20000000/0x20000000 -j ACCEPT",
    });
}

#[test]
fn what_ufw_denies_by_port_is_named_and_taking_it_back_cures_it() {
    obstructs(&Obstacle {
        world: UFW,
        then: "ufw deny 22/tcp",
        hooks: &[],
        named: &["ufw-user-input"],
        cure: "ufw delete deny 22/tcp",
    });
}

#[test]
fn the_chain_of_firewalld_that_rejects_is_named_and_allowing_the_hidden_port_cures_it() {
    obstructs(&Obstacle {
        world: FIREWALLD,
        then: "true",
        hooks: &[],
        named: &["inet firewalld filter_IN"],
        cure: "firewall-cmd -q --permanent --add-port=22/tcp
firewall-cmd -q --reload",
    });
}

#[test]
fn a_drop_in_docker_user_is_named_and_a_line_for_the_mark_cures_it() {
    obstructs(&Obstacle {
        world: DOCKER_USER,
        then: "true",
        hooks: &["none"],
        named: &["DOCKER-USER"],
        cure: "iptables -I DOCKER-USER -m mark --mark 0x20000000/0x20000000 -j RETURN
ip6tables -I DOCKER-USER -m mark --mark 0x20000000/0x20000000 -j RETURN",
    });
}

fn obstructs(obstacle: &Obstacle) {
    in_lab(|lab| {
        let place = Place::new(lab, &obstacle.world)?;
        place.owner_does(obstacle.then)?;
        let mut agent = place.agent(BackEnd::Nftables, obstacle.hooks)?;
        place.knock()?;
        agent.wait_for("grant blocked")?;
        let log = agent.log();
        let blocked = |line: &&str| line.contains("grant blocked");
        let said: Vec<&str> = log.lines().filter(blocked).collect();
        for named in obstacle.named {
            ensure!(said.iter().any(|line| line.contains(named)), "{said:#?}");
        }
        for address in place.addresses() {
            let seen = place.user.reach(address, 22);
            ensure!(!matches!(seen, Ok(Reach::Open)), "{address} is open");
        }

        place.owner_does(obstacle.cure)?;
        wait::until("the cure to be seen", Duration::from_secs(8), || {
            let before = agent.log().matches("grant blocked").count();
            place.knock()?;
            let is_open = place.opens().is_ok();
            Ok(is_open && agent.log().matches("grant blocked").count() == before)
        })
        .context("cured")?;
        Ok(())
    });
}
