//! IPv6, which fwknop never had: packet, message, hole and protected port.

use anyhow::ensure;
use harness::in_lab;
use harness::postern::Member;
use harness::service::Reach;
use suite::{Alone, STANZA};

const RC: &str = "[lab]\nSPA_SERVER 2001:db8::a\nKEY suite-passphrase\nHMAC_KEY suite-hmac-passphrase\nUSE_HMAC Y\n";

#[test]
fn a_port_is_hidden_and_opened_over_ipv6() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        alone.user_sees(alone.host.v6, Reach::Silent)?;
        alone.user.write(".fwknoprc", RC)?;
        let person = Member::stranger(&alone.user, "nobody");
        let host = alone.host.v6.to_string();

        person.knock(
            &host,
            "tcp/22",
            &["-n", "lab", "-a", &alone.user.v6.to_string()],
        )?;

        alone.agent.opens(alone.user.v6, "tcp:22")?;
        alone.user_sees(alone.host.v6, Reach::Open)?;
        alone.user_sees(alone.host.v4, Reach::Silent)?;
        ensure!(alone.stranger.reach(alone.host.v6, 22)? == Reach::Silent);
        Ok(())
    });
}

#[test]
fn the_source_address_of_an_ipv6_packet_is_opened_when_the_message_leaves_it_open() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        alone.user.write(".fwknoprc", RC)?;
        let person = Member::stranger(&alone.user, "nobody");

        person.knock(&alone.host.v6.to_string(), "tcp/22", &["-n", "lab", "-s"])?;

        alone.agent.opens(alone.user.v6, "tcp:22")?;
        alone.user_sees(alone.host.v6, Reach::Open)
    });
}

#[test]
fn a_stanza_for_an_ipv6_network_serves_only_that_network() {
    in_lab(|lab| {
        let access = STANZA.replace("SOURCE ANY", "SOURCE 2001:db8::10/124");
        let alone = Alone::start(lab, &access)?;
        alone.user.write(".fwknoprc", RC)?;
        alone.stranger.write(".fwknoprc", RC)?;
        let host = alone.host.v6.to_string();

        Member::stranger(&alone.stranger, "nobody").knock(&host, "tcp/22", &["-n", "lab", "-s"])?;
        alone.send(&alone.stranger, b"noise")?;
        Member::stranger(&alone.user, "nobody").knock(&host, "tcp/22", &["-n", "lab", "-s"])?;

        alone.agent.opens(alone.user.v6, "tcp:22")?;
        alone.wait_until_judged()?;
        ensure!(!alone.agent.has_hole(alone.stranger.v6, "tcp:22")?);
        Ok(())
    });
}
