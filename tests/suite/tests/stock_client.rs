//! Stock `fwknop`, as Debian ships it, against our agent alone: a drop-in for fwknopd.

use std::time::Duration;

use anyhow::ensure;
use harness::fwknop::{fwknop, fwknop_with_rc};
use harness::service::Reach;
use harness::{Result, in_lab, wait};
use suite::{Alone, HMAC_ARGS, KEY, STANZA, STOCK_ARGS};

#[test]
fn with_an_hmac_it_opens_the_port_it_names_for_the_address_it_names() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;
        alone.user_sees(alone.host.v4, Reach::Silent)?;

        alone.knock_as_told()?;

        alone.agent.opens(alone.user.v4, "tcp:22")?;
        alone.user_sees(alone.host.v4, Reach::Open)?;
        ensure!(alone.stranger.reach(alone.host.v4, 22)? == Reach::Silent);
        ensure!(alone.holes()?.len() == 1, "{:?}", alone.holes()?);
        Ok(())
    });
}

#[test]
fn without_an_hmac_it_opens_too() {
    in_lab(|lab| {
        let alone = Alone::start(lab, "SOURCE ANY\nKEY suite-passphrase\nOPEN_PORTS tcp/22\n")?;

        knock_for(&alone, "192.0.2.20", &["--key-rijndael", KEY])?;

        alone.agent.opens(alone.user.v4, "tcp:22")?;
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn in_legacy_mode_it_opens_too() {
    in_lab(|lab| {
        let access = "SOURCE ANY\nKEY shortkey\nENCRYPTION_MODE legacy\nOPEN_PORTS tcp/22\n";
        let alone = Alone::start(lab, access)?;

        knock_for(
            &alone,
            "192.0.2.20",
            &["--key-rijndael", "shortkey", "-M", "legacy"],
        )?;

        alone.agent.opens(alone.user.v4, "tcp:22")?;
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn in_every_mode_and_with_every_digest_and_hmac_it_opens_too() {
    const KINDS: &[(&str, &str, &str)] = &[
        ("cbc", "md5", "md5"),
        ("ctr", "sha1", "sha1"),
        ("cfb", "sha256", "sha256"),
        ("ofb", "sha384", "sha384"),
        ("ecb", "sha512", "sha512"),
        ("cbc", "sha3_256", "sha3_256"),
        ("cbc", "sha3_512", "sha3_512"),
    ];
    in_lab(|lab| {
        let mut access = String::new();
        for (index, (mode, _, hmac)) in KINDS.iter().enumerate() {
            access.push_str(&format!(
                "SOURCE ANY\nKEY key-{index}\nHMAC_KEY hmac-key-{index}\nHMAC_DIGEST_TYPE {hmac}\n\
                 ENCRYPTION_MODE {mode}\nOPEN_PORTS tcp/22\n\n"
            ));
        }
        let alone = Alone::start(lab, &access)?;

        for (index, (mode, digest, hmac)) in KINDS.iter().enumerate() {
            let (key, hmac_key) = (format!("key-{index}"), format!("hmac-key-{index}"));
            let address = format!("203.0.113.{index}");
            let more = [
                "--key-rijndael",
                &key,
                "--key-hmac",
                &hmac_key,
                "--hmac-digest-type",
                hmac,
                "-m",
                digest,
                "-M",
                mode,
            ];
            knock_for(&alone, &address, &more)?;

            alone
                .agent
                .opens(address.parse::<std::net::IpAddr>()?, "tcp:22")?;
        }
        Ok(())
    });
}

#[test]
fn with_a_base64_key_in_its_rc_file_it_opens_too() {
    const KEY_64: &str = "c3VpdGUta2V5LXdpdGgtMzItYnl0ZXMtaW4tYWxsISE=";
    const HMAC_64: &str = "c3VpdGUtaG1hYy1rZXktdGhhdC1pcy1sb25nZXItdGhhbi10aGUtb3RoZXI=";
    in_lab(|lab| {
        let access = format!(
            "SOURCE ANY\nKEY_BASE64 {KEY_64}\nHMAC_KEY_BASE64 {HMAC_64}\nOPEN_PORTS tcp/22\n"
        );
        let alone = Alone::start(lab, &access)?;
        let rc = format!(
            "[default]\n\n[lab]\nSPA_SERVER 192.0.2.10\nACCESS tcp/22\nALLOW_IP 192.0.2.20\n\
             KEY_BASE64 {KEY_64}\nHMAC_KEY_BASE64 {HMAC_64}\nUSE_HMAC Y\n"
        );

        fwknop_with_rc(&alone.user, &rc, "lab", &[])?;

        alone.agent.opens(alone.user.v4, "tcp:22")?;
        Ok(())
    });
}

#[test]
fn with_a_client_timeout_the_hole_lives_that_long_but_never_longer_than_the_cap() {
    in_lab(|lab| {
        let access = format!("{STANZA}MAX_FW_TIMEOUT 20\n");
        let alone = Alone::start(lab, &access)?;

        knock_for(&alone, "203.0.113.1", &[STOCK_ARGS, &["-f", "3"]].concat())?;
        let opened = wait::now();
        alone.agent.opens([203, 0, 113, 1], "tcp:22")?;
        knock_for(
            &alone,
            "203.0.113.2",
            &[STOCK_ARGS, &["-f", "600"]].concat(),
        )?;
        alone.agent.opens([203, 0, 113, 2], "tcp:22")?;

        let capped = timeout_of(&alone, "203.0.113.2")?;
        ensure!(capped <= 20, "the capped hole still lives for {capped} s");
        wait::until("the short hole to close", Duration::from_secs(6), || {
            Ok(!alone.agent.has_hole([203, 0, 113, 1], "tcp:22")?)
        })?;
        ensure!(
            opened.elapsed() > Duration::from_secs(2),
            "closed after {:?}",
            opened.elapsed()
        );
        Ok(())
    });
}

#[test]
fn with_0_0_0_0_the_address_it_came_from_is_opened() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;

        alone.knock(&[&["-A", "tcp/22", "-s"], STOCK_ARGS].concat())?;

        alone.agent.opens(alone.user.v4, "tcp:22")?;
        alone.user_sees(alone.host.v4, Reach::Open)
    });
}

#[test]
fn with_0_0_0_0_nothing_opens_where_a_source_address_is_required() {
    in_lab(|lab| {
        let alone = Alone::start(lab, &format!("{STANZA}REQUIRE_SOURCE_ADDRESS Y\n"))?;

        alone.knock(&[&["-A", "tcp/22", "-s"], STOCK_ARGS].concat())?;
        alone.nothing_opened()?;

        alone.knock_as_told()?;
        alone.agent.opens(alone.user.v4, "tcp:22")?;
        Ok(())
    });
}

#[test]
fn several_ports_open_together_or_not_at_all() {
    in_lab(|lab| {
        let access = STANZA.replace("OPEN_PORTS tcp/22", "OPEN_PORTS tcp/22, udp/53");
        let alone = Alone::start(lab, &access)?;

        knock_ports(&alone, "tcp/22,tcp/80", "203.0.113.1", STOCK_ARGS)?;
        alone.nothing_opened()?;
        knock_ports(&alone, "tcp/22,udp/53", "203.0.113.2", STOCK_ARGS)?;

        alone.agent.opens([203, 0, 113, 2], "tcp:22")?;
        alone.agent.opens([203, 0, 113, 2], "udp:53")?;
        Ok(())
    });
}

#[test]
fn a_port_listed_twice_lets_no_other_port_through() {
    in_lab(|lab| {
        let access = STANZA.replace("OPEN_PORTS tcp/22", "OPEN_PORTS tcp/22, tcp/22");
        let alone = Alone::start(lab, &access)?;

        knock_ports(&alone, "tcp/22,udp/53", "203.0.113.1", STOCK_ARGS)?;

        alone.nothing_opened()
    });
}

#[test]
fn a_wrong_key_a_wrong_hmac_key_and_a_wrong_user_open_nothing() {
    in_lab(|lab| {
        let alone = Alone::start(lab, &format!("{STANZA}REQUIRE_USERNAME alice\n"))?;

        knock_for(
            &alone,
            "203.0.113.1",
            &[&["--key-rijndael", "wrong", "-U", "alice"], HMAC_ARGS].concat(),
        )?;
        knock_for(
            &alone,
            "203.0.113.2",
            &["--key-rijndael", KEY, "--key-hmac", "wrong", "-U", "alice"],
        )?;
        knock_for(
            &alone,
            "203.0.113.3",
            &["--key-rijndael", KEY, "-U", "alice"],
        )?;
        knock_for(
            &alone,
            "203.0.113.4",
            &[STOCK_ARGS, &["-U", "mallory"]].concat(),
        )?;
        alone.nothing_opened()?;

        knock_for(
            &alone,
            "203.0.113.5",
            &[STOCK_ARGS, &["-U", "alice"]].concat(),
        )?;
        alone.agent.opens([203, 0, 113, 5], "tcp:22")?;
        Ok(())
    });
}

#[test]
fn a_clock_that_is_three_minutes_off_opens_nothing_and_one_minute_is_fine() {
    in_lab(|lab| {
        let alone = Alone::start(lab, STANZA)?;

        knock_for(
            &alone,
            "203.0.113.1",
            &[STOCK_ARGS, &["--time-offset-minus", "3m"]].concat(),
        )?;
        knock_for(
            &alone,
            "203.0.113.2",
            &[STOCK_ARGS, &["--time-offset-plus", "3m"]].concat(),
        )?;
        alone.nothing_opened()?;

        knock_for(
            &alone,
            "203.0.113.3",
            &[STOCK_ARGS, &["--time-offset-plus", "1m"]].concat(),
        )?;
        alone.agent.opens([203, 0, 113, 3], "tcp:22")?;
        Ok(())
    });
}

#[test]
fn on_a_second_interface_it_opens_too() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let user = lab.node("user", 20)?;
        let (host_address, _) = lab.second_wire(&host, &user)?;
        let agent = harness::postern::Agent::alone_with(&host, STANZA, &["--interface", "eth1"])?;

        for (server, opened) in [(host.v4, "203.0.113.1"), (host_address, "203.0.113.2")] {
            fwknop(
                &user,
                server,
                &[&["-A", "tcp/22", "-a", opened], STOCK_ARGS].concat(),
            )?;
            agent.opens(opened.parse::<std::net::IpAddr>()?, "tcp:22")?;
        }
        Ok(())
    });
}

fn knock_for(alone: &Alone, address: &str, more: &[&str]) -> Result<()> {
    knock_ports(alone, "tcp/22", address, more)
}

fn knock_ports(alone: &Alone, ports: &str, address: &str, more: &[&str]) -> Result<()> {
    alone.knock(&[&["-A", ports, "-a", address], more].concat())
}

/// Seconds that the hole for `address` has left, as the kernel counts them.
fn timeout_of(alone: &Alone, address: &str) -> Result<u64> {
    let holes = alone.holes()?;
    let left = holes
        .iter()
        .find(|hole| hole.contains(address))
        .and_then(|hole| hole.split("timeout ").nth(1))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok());
    left.ok_or_else(|| anyhow::anyhow!("no timeout for {address} in {holes:?}"))
}
