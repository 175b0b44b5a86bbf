//! What is refused, and how it is said.

use std::net::SocketAddr;

use anyhow::ensure;
use harness::{Result, in_lab};

use crate::world::{World, who};

const ON: &str = "nat_forward = true\nnat_local = true\nbackend = \"nftables\"\n";

/// Whoever asks for this is told that, and reaches nothing.
fn refused(stanza: &str, config: &str, before: &[&str], nat: &[&str], reason: &str) {
    in_lab(|lab| {
        let world = World::new(lab)?;
        for words in before {
            let words: Vec<&str> = words.split(' ').collect();
            world.gateway.run(&words)?.ok()?;
        }
        let mut agent = world.agent_with(stanza, config)?;
        knock(&world, nat)?;
        agent.wait_for(reason)?;
        ensure!(who(&world.user, SocketAddr::from((world.gateway.v4, 40001)))?.is_none());
        Ok(())
    });
}

fn knock(world: &World, nat: &[&str]) -> Result<()> {
    let address = world.user.v4.to_string();
    let words: Vec<&str> = ["-a", &address].iter().chain(nat).copied().collect();
    world.knock(world.gateway.v4, "tcp/22", &words)
}

#[test]
fn an_inner_address_that_policy_does_not_permit_is_refused() {
    refused(
        "NAT_ACCESS 198.51.100.31,LOCAL",
        ON,
        &[],
        &["-N", "198.51.100.30:22", "--nat-port", "40001"],
        "tcp/22 of 198.51.100.30 is not in NAT_ACCESS",
    );
}

#[test]
fn a_host_that_does_not_want_to_says_which_switch_would_have_to_be_on() {
    refused(
        "",
        "backend = \"nftables\"\n",
        &[],
        &["-N", "198.51.100.30:22", "--nat-port", "40001"],
        "would have to say `nat_forward = true`",
    );
}

#[test]
fn a_back_end_that_cannot_lead_on_says_that_and_not_that_it_does_not_want_to() {
    refused(
        "",
        "nat_forward = true\nbackend = \"iptables\"\n",
        &[],
        &["-N", "198.51.100.30:22", "--nat-port", "40001"],
        "the packet filter of this host cannot lead packets on to another place",
    );
}

#[test]
fn a_kernel_that_forwards_nothing_is_said_and_never_switched_on() {
    refused(
        "",
        ON,
        &["sysctl -qw net.ipv4.ip_forward=0"],
        &["-N", "198.51.100.30:22", "--nat-port", "40001"],
        "net.ipv4.ip_forward is off",
    );
}

#[test]
fn a_name_is_refused_without_its_switch_and_looked_up_with_it() {
    refused(
        "",
        ON,
        &[],
        &["-N", "localhost:22", "--nat-port", "40001"],
        "would have to say `nat_dns = true`",
    );
    refused(
        "",
        &format!("{ON}nat_dns = true\n"),
        &[],
        &["-N", "localhost:22", "--nat-port", "40001"],
        "packets cannot be led to 127.0.0.1",
    );
}

#[test]
fn the_hosts_own_addresses_are_local_whatever_network_nat_access_names() {
    for own in [
        "198.51.100.10:22",
        "[::ffff:198.51.100.10]:22",
        "198.51.100.255:22",
    ] {
        refused(
            "NAT_ACCESS 198.51.100.0/24",
            ON,
            &[],
            &["-N", own, "--nat-port", "40001"],
            "tcp/22 of this host (LOCAL) is not in NAT_ACCESS",
        );
    }
    refused(
        "NAT_ACCESS 198.51.100.0/24",
        &format!("{ON}gateway = true\n"),
        &[],
        &["-N", "198.51.100.10:22", "--nat-port", "40001"],
        "tcp/22 of this host (LOCAL) is not in NAT_ACCESS",
    );
}

#[test]
fn an_address_that_becomes_the_hosts_own_leads_to_no_hidden_port() {
    in_lab(|lab| {
        let world = World::new(lab)?;
        let stanza = "NAT_ACCESS 198.51.100.0/24\nNAT_ACCESS LOCAL tcp/8080";
        let mut agent = world.agent_with(stanza, ON)?;
        let at = SocketAddr::from((world.gateway.v4, 40001));
        knock(&world, &["-N", "198.51.100.40:22", "--nat-port", "40001"])?;
        agent.wait_for("grant opened")?;

        let words = "ip addr add 198.51.100.40/24 dev eth1";
        let words: Vec<&str> = words.split(' ').collect();
        world.gateway.run(&words)?.ok()?;

        ensure!(who(&world.user, at)?.is_none(), "{}", world.table()?);
        let permitted = SocketAddr::from((world.gateway.v4, 40002));
        let address = world.user.v4.to_string();
        world.knock(
            world.gateway.v4,
            "tcp/8080",
            &[
                "-a",
                &address,
                "-N",
                "198.51.100.40:8080",
                "--nat-port",
                "40002",
            ],
        )?;
        world.until_answered(&world.user, permitted, Some("gateway"))
    });
}
