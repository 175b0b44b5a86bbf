//! Our client against the real `fwknopd`: everything it sends alone is what fwknop would have sent.

use anyhow::ensure;
use harness::fwknop::Fwknopd;
use harness::postern::Member;
use harness::{Lab, Node, Result, SPA_PORT, in_lab, wait};

/// Mode and HMAC type of each stanza; `None` for no HMAC.
const KINDS: &[(&str, Option<&str>)] = &[
    ("CBC", None),
    ("CBC", Some("md5")),
    ("CBC", Some("sha1")),
    ("CBC", Some("sha256")),
    ("CBC", Some("sha384")),
    ("CBC", Some("sha512")),
    ("CBC", Some("sha3_256")),
    ("CBC", Some("sha3_512")),
    ("CTR", Some("sha256")),
    ("CFB", Some("sha256")),
    ("OFB", Some("sha256")),
    ("ECB", Some("sha256")),
    ("legacy", None),
];

#[test]
fn fwknopd_opens_for_every_mode_and_hmac_type_that_our_client_seals() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let server = Fwknopd::start(&host, &access(), "")?;

        for (index, (mode, hmac)) in KINDS.iter().enumerate() {
            let address = format!("203.0.113.{index}");
            let mut rc = format!(
                "[kind]\nSPA_SERVER {}\nKEY key-{index}\nENCRYPTION_MODE {mode}\n",
                host.v4
            );
            if let Some(hmac) = hmac {
                rc.push_str(&format!(
                    "HMAC_KEY hmac-key-{index}\nHMAC_DIGEST_TYPE {hmac}\nUSE_HMAC Y\n"
                ));
            }
            person.node.write(".fwknoprc", &rc)?;

            person.knock(
                &host.v4.to_string(),
                "tcp/22",
                &["-n", "kind", "-a", &address],
            )?;

            opens(&host, &address, &server)?;
        }
        server.stop()
    });
}

#[test]
fn fwknopd_honours_the_timeout_the_user_and_the_ports_that_our_client_names() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let access = "SOURCE ANY\nKEY key\nHMAC_KEY hmac-key\nREQUIRE_USERNAME alice\n\
                      OPEN_PORTS tcp/22, udp/53\nFW_ACCESS_TIMEOUT 30\n";
        let mut server = Fwknopd::start(&host, access, "")?;
        rc(&person, &host)?;

        let words = ["-n", "lab", "-a", "203.0.113.1", "-U", "mallory"];
        person.knock(&host.v4.to_string(), "tcp/22,udp/53", &words)?;
        server.wait_for("sername")?;
        let words = [
            "-n",
            "lab",
            "-a",
            "203.0.113.2",
            "-U",
            "alice",
            "-f",
            "77",
            "-m",
            "sha512",
        ];
        let before = wait::wall_secs();
        person.knock(&host.v4.to_string(), "tcp/22,udp/53", &words)?;

        opens(&host, "203.0.113.2", &server)?;
        let rules = host.rules()?;
        ensure!(
            !rules.iter().any(|rule| rule.contains("203.0.113.1/")),
            "{rules:?}"
        );
        let until = expiry(&rules, "203.0.113.2/")?;
        ensure!(
            (76..=90).contains(&(until - before)),
            "opened for {} s",
            until - before
        );
        server.stop()
    });
}

#[test]
fn fwknopd_opens_the_source_address_when_our_client_says_0_0_0_0() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let server = Fwknopd::start(&host, "SOURCE ANY\nKEY key\nHMAC_KEY hmac-key\n", "")?;
        rc(&person, &host)?;

        person.knock(&host.v4.to_string(), "tcp/22", &["-n", "lab", "-s"])?;

        opens(&host, &person.node.v4.to_string(), &server)
    });
}

#[test]
fn a_dry_run_prints_the_packet_and_sends_nothing_and_fwknopd_takes_the_printed_one() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let server = Fwknopd::start(&host, "SOURCE ANY\nKEY key\nHMAC_KEY hmac-key\n", "")?;
        rc(&person, &host)?;

        let words = ["-n", "lab", "-a", "203.0.113.9", "--dry-run"];
        let dry = person.knock(&host.v4.to_string(), "tcp/22", &words)?;
        let packet = dry
            .stdout
            .split_whitespace()
            .rfind(|word| word.len() >= 140 && word.bytes().all(is_base64));
        let packet = packet.ok_or_else(|| anyhow::anyhow!("no packet in\n{}", dry.text()))?;
        ensure!(!server.log().contains("SPA Packet from IP"));
        person.node.send(host.v4, SPA_PORT, packet.as_bytes())?;

        opens(&host, "203.0.113.9", &server)
    });
}

fn two(lab: &Lab) -> Result<(Node, Member)> {
    let person = Member::stranger(&lab.node("user", 20)?, "nobody");
    Ok((lab.node("host", 10)?, person))
}

fn access() -> String {
    let mut access = String::new();
    for (index, (mode, hmac)) in KINDS.iter().enumerate() {
        access.push_str(&format!(
            "SOURCE ANY\nKEY key-{index}\nENCRYPTION_MODE {mode}\n"
        ));
        if let Some(hmac) = hmac {
            access.push_str(&format!(
                "HMAC_KEY hmac-key-{index}\nHMAC_DIGEST_TYPE {hmac}\n"
            ));
        }
    }
    access
}

fn rc(person: &Member, host: &Node) -> Result<()> {
    let rc = format!(
        "[lab]\nSPA_SERVER {}\nKEY key\nHMAC_KEY hmac-key\nUSE_HMAC Y\n",
        host.v4
    );
    person.node.write(".fwknoprc", &rc)?;
    Ok(())
}

fn opens(host: &Node, address: &str, server: &Fwknopd) -> Result<()> {
    let source = format!("-s {address}/32 ");
    let waited = wait::until(&format!("fwknopd to open {address}"), wait::SOON, || {
        Ok(host
            .rules()?
            .iter()
            .any(|rule| rule.contains(&source) && rule.contains("--dport 22 ")))
    });
    waited.map_err(|error| error.context(server.log()))?;
    Ok(())
}

/// The second in fwknopd's `_exp_` comment of the rule for `address`.
fn expiry(rules: &[String], address: &str) -> Result<u64> {
    let rule = rules.iter().find(|rule| rule.contains(address));
    let digits = rule
        .and_then(|rule| rule.split("_exp_").nth(1))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or_else(|| anyhow::anyhow!("no expiry in {rules:?}"))?;
    Ok(digits.parse()?)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}
