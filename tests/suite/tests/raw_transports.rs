//! Packets with headers of our client's own: what the real fwknopd makes of them, and what tcpdump says of
//! their checksums.

use anyhow::ensure;
use harness::fwknop::Fwknopd;
use harness::postern::Member;
use harness::{Lab, Node, Process, Result, in_lab, machine, wait};

/// Ways to send, each with what more is said on the command line.
const WAYS: &[(&str, &[&str])] = &[
    ("udpraw", &[]),
    ("udpraw", &["-S", "4000", "-Q", "198.51.100.77"]),
    ("tcpraw", &[]),
    ("tcpraw", &["-Q", "198.51.100.77"]),
    ("icmp", &[]),
    ("icmp", &["--icmp-type", "8"]),
    ("icmp", &["--icmp-type", "3", "--icmp-code", "3"]),
    ("icmp", &["-Q", "198.51.100.77"]),
];

#[test]
fn fwknopd_opens_for_raw_and_spoofed_packets_and_their_checksums_are_right() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let access = "SOURCE ANY\nKEY key\nHMAC_KEY hmac-key\n";
        // Without a filter of its own, as the reference needs it for these ways.
        let server = Fwknopd::start(&host, access, "PCAP_FILTER ip;")?;
        let wire = tcpdump(&host, "ip and not tcp[tcpflags] & tcp-rst != 0")?;
        let rc = format!(
            "[raw]\nSPA_SERVER {}\nKEY key\nHMAC_KEY hmac-key\nUSE_HMAC Y\n",
            host.v4
        );
        person.node.write(".fwknoprc", &rc)?;

        for (index, (way, more)) in WAYS.iter().enumerate() {
            let address = format!("203.0.113.{}", index + 1);
            let words = [&["-n", "raw", "-a", &address, "-P", way], *more].concat();
            person.knock(&host.v4.to_string(), "tcp/22", &words)?;

            let rule = format!("{address}/32");
            wait::until(
                &format!("{way} {more:?}: {}", server.log()),
                wait::SOON,
                || Ok(host.rules()?.iter().any(|line| line.contains(&rule))),
            )?;
        }

        let seen = wire.log();
        for sign in ["198.51.100.77.4000 >", "ttl 255", "udp sum ok", "(correct)"] {
            ensure!(seen.contains(sign), "no {sign} in\n{seen}");
        }
        ensure!(!seen.contains("bad ") && !seen.contains("wrong "), "{seen}");
        server.stop()
    });
}

#[test]
fn raw_packets_go_over_ipv6_with_the_numbers_of_its_own_icmp() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let wire = tcpdump(&host, "ip6")?;
        let to = host.v6.to_string();
        let keys = ["--key-file", "keys", "-a", "2001:db8::7"];
        person.node.write("keys", &format!("{to}: key\n"))?;

        for way in ["udpraw", "tcpraw", "icmp"] {
            let words = [&keys[..], &["-P", way, "-Q", "fd00:1::77"]].concat();
            person.knock(&to, "tcp/22", &words)?;
        }

        let signs = [
            "fd00:1::77.",
            "udp sum ok",
            "(correct)",
            "icmp6 sum ok",
            "echo reply",
        ];
        wait::until(&wire.log(), wait::SOON, || {
            Ok(signs.iter().all(|sign| wire.log().contains(sign)))
        })?;
        ensure!(!wire.log().contains("bad "), "{}", wire.log());
        let other = [&keys[..], &["-P", "udpraw", "-Q", "192.0.2.1"]].concat();
        let refused = person.run(&[&["knock", &to, "-A", "tcp/22"], &other[..]].concat())?;
        ensure!(refused.code == 2, "{}", refused.text());
        Ok(())
    });
}

#[test]
fn without_the_right_to_it_a_raw_packet_is_refused_in_words() {
    in_lab(|lab| {
        let (host, person) = two(lab)?;
        let program = harness::postern::binary("postern")?.display().to_string();
        person.node.write("keys", &format!("{}: key\n", host.v4))?;
        let to = host.v4.to_string();
        let words = [
            "setpriv",
            "--bounding-set",
            "-net_raw",
            "--inh-caps",
            "-net_raw",
            &program,
            "knock",
            &to,
            "-A",
            "tcp/22",
            "-s",
            "--key-file",
            "keys",
            "-P",
            "icmp",
        ];

        let refused = person.node.run(&words)?;

        ensure!(refused.code == 1, "{}", refused.text());
        ensure!(refused.text().contains("CAP_NET_RAW"), "{}", refused.text());
        Ok(())
    });
}

fn two(lab: &Lab) -> Result<(Node, Member)> {
    let person = Member::stranger(&lab.node("user", 20)?, "nobody");
    Ok((lab.node("host", 10)?, person))
}

fn tcpdump(node: &Node, filter: &str) -> Result<Process> {
    machine::require(&["tcpdump"])?;
    let mut command = node.command("tcpdump");
    command.args(["-i", "eth0", "-nn", "-vv", "-l", "--immediate-mode", filter]);
    let mut process = node.start("tcpdump", &mut command)?;
    process.wait_for("listening on", wait::SOON)?;
    Ok(process)
}
