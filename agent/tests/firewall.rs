//! The firewall against the real kernel, checked with the programs that administrators use.
//!
//! Every test runs in a network namespace of its own that no other program can see and that ends
//! with the test's thread. Needs root; without it each test says so and passes.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;

use agent::firewall::{Firewall as _, Groundwork, GroundworkOptions, IpsetFirewall};
use engine::{Hole, HoleTimeout, Rule};

const CHAIN: &str = "PT_TEST";

#[test]
fn ipset_prints_what_netlink_added() {
    let Some(mut host) = Host::new(&[]) else {
        return;
    };
    let holes = [
        hole("192.0.2.7", "tcp/22", 30),
        hole("192.0.2.7", "udp/53", 2_147_483),
        hole("2001:db8::7", "tcp/22", 60),
    ];

    host.holes.open(&holes).unwrap();

    let expected = [
        "add PT_TEST_4 192.0.2.7,tcp:22 timeout 30",
        "add PT_TEST_4 192.0.2.7,udp:53 timeout 2147483",
        "add PT_TEST_6 2001:db8::7,tcp:22 timeout 60",
    ];
    assert_eq!(elements(), expected.map(str::to_owned).into());
}

#[test]
fn two_thousand_holes_open_in_one_batch_and_are_listed_again() {
    let Some(mut host) = Host::new(&[]) else {
        return;
    };
    let holes: Vec<Hole> = (0..2_000_u32)
        .map(|n| {
            let v4 = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            let v6 = IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes());
            let address = if n % 3 == 0 { v6 } else { v4 };
            Hole {
                rule: rule(&address.to_string(), "tcp/22"),
                timeout: HoleTimeout::clamped(600),
            }
        })
        .collect();

    host.holes.open(&holes).unwrap();

    assert_eq!(elements().len(), 2_000);
    let listed: BTreeSet<Rule> = host.holes.list().unwrap().iter().map(|h| h.rule).collect();
    assert_eq!(listed, holes.iter().map(|h| h.rule).collect());
}

#[test]
fn opening_again_sets_the_new_timeout() {
    let Some(mut host) = Host::new(&[]) else {
        return;
    };
    host.holes.open(&[hole("192.0.2.7", "tcp/22", 30)]).unwrap();

    host.holes.open(&[hole("192.0.2.7", "tcp/22", 90)]).unwrap();

    let expected = ["add PT_TEST_4 192.0.2.7,tcp:22 timeout 90".to_owned()];
    assert_eq!(elements(), expected.into());
}

#[test]
fn closing_bars_the_door_until_it_is_opened_again() {
    let Some(mut host) = Host::new(&[]) else {
        return;
    };
    host.holes.open(&[hole("192.0.2.7", "tcp/22", 30)]).unwrap();

    host.holes.close(&[rule("192.0.2.7", "tcp/22")]).unwrap();

    let barred = ["add PT_TEST_R4 192.0.2.7,tcp:22 timeout 432000".to_owned()];
    assert_eq!(elements(), barred.into());
    host.holes.open(&[hole("192.0.2.7", "tcp/22", 30)]).unwrap();
    let open = ["add PT_TEST_4 192.0.2.7,tcp:22 timeout 30".to_owned()];
    assert_eq!(elements(), open.into());
}

#[test]
fn flushing_and_closing_what_is_not_open_are_no_errors() {
    let Some(mut host) = Host::new(&[]) else {
        return;
    };

    host.holes.close(&[rule("2001:db8::1", "udp/1")]).unwrap();
    host.holes.flush().unwrap();
    host.holes.open(&[]).unwrap();

    assert_eq!(host.holes.list(), Ok(vec![]));
}

#[test]
fn the_chain_is_first_and_installing_twice_changes_nothing() {
    let Some(mut host) = Host::new(&["tcp/22"]) else {
        return;
    };
    let before = rules();

    host.ground.install().unwrap();

    assert_eq!(rules(), before);
    let expected = "\
-N PT_TEST
-A PT_TEST -m set --match-set PT_TEST_R4 src,dst -j DROP
-A PT_TEST -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PT_TEST -m set --match-set PT_TEST_4 src,dst -j ACCEPT
-A PT_TEST ! -i lo -p tcp -m tcp --dport 22 -j DROP
";
    assert_eq!(output("iptables", &["-w", "-S", CHAIN]), expected);
    let v6 = output("ip6tables", &["-w", "-S", CHAIN]);
    assert!(v6.contains("--match-set PT_TEST_6 src,dst -j ACCEPT"));
    assert_eq!(host.ground.check(), Ok(None));
}

#[test]
fn other_peoples_rules_stay_when_ours_come_and_go() {
    let Some(mut host) = Host::new(&["tcp/22"]) else {
        return;
    };
    run(
        "iptables",
        &["-w", "-A", "INPUT", "-s", "198.51.100.1", "-j", "DROP"],
    );
    run("iptables", &["-w", "-N", "THEIRS"]);

    host.ground.install().unwrap();
    host.ground.uninstall().unwrap();

    let expected = "\
-P INPUT ACCEPT
-P FORWARD ACCEPT
-P OUTPUT ACCEPT
-N THEIRS
-A INPUT -s 198.51.100.1/32 -j DROP
";
    assert_eq!(output("iptables", &["-w", "-S"]), expected);
    assert_eq!(output("ipset", &["list", "-n"]), "");
    host.ground.uninstall().unwrap();
}

#[test]
fn drift_is_found_named_and_repaired() {
    let Some(mut host) = Host::new(&["tcp/22"]) else {
        return;
    };
    let good = rules();
    let breakages: [(&[&str], &str); 5] = [
        (&["-w", "-F", "INPUT"], "INPUT does not lead to PT_TEST"),
        (&["-w", "-F", CHAIN], "the rules of PT_TEST were changed"),
        (
            &["-w", "-I", "INPUT", "1", "-j", "ACCEPT"],
            "PT_TEST is only rule 2 of INPUT",
        ),
        (
            &["-w", "-A", "INPUT", "-j", CHAIN],
            "INPUT leads to PT_TEST 2 times",
        ),
        (
            &["-w", "-D", CHAIN, "1"],
            "the rules of PT_TEST were changed",
        ),
    ];

    for (breakage, finding) in breakages {
        run("iptables", breakage);

        let drift = host.ground.check().unwrap().unwrap().to_string();

        assert!(drift.contains(finding), "{drift}");
        host.ground.install().unwrap();
        assert_eq!(host.ground.check(), Ok(None));
        run(
            "sh",
            &["-c", "iptables -w -D INPUT -j ACCEPT 2>/dev/null; true"],
        );
        assert_eq!(rules(), good);
    }
}

#[test]
fn a_whole_table_thrown_away_is_found_and_repaired() {
    let Some(mut host) = Host::new(&["tcp/22"]) else {
        return;
    };
    let good = rules();
    run("iptables", &["-w", "-F"]);
    run("iptables", &["-w", "-X"]);
    run("ip6tables", &["-w", "-F"]);
    run("ip6tables", &["-w", "-X"]);
    run("ipset", &["destroy"]);

    let drift = host.ground.check().unwrap().unwrap().to_string();
    host.ground.install().unwrap();

    assert!(drift.contains("a kernel set is missing"), "{drift}");
    assert!(drift.contains("IPv6: chain PT_TEST is gone"), "{drift}");
    assert_eq!(rules(), good);
    assert_eq!(host.ground.check(), Ok(None));
}

#[test]
fn a_port_is_protected_and_unprotected_without_touching_what_is_open() {
    let Some(mut host) = Host::new(&[]) else {
        return;
    };
    host.holes.open(&[hole("192.0.2.7", "tcp/22", 30)]).unwrap();

    host.ground
        .protect(vec!["tcp/443".parse().unwrap()])
        .unwrap();

    assert!(rules().contains("-A PT_TEST ! -i lo -p tcp -m tcp --dport 443 -j DROP"));
    assert_eq!(elements().len(), 1);
    host.ground.protect(vec![]).unwrap();
    assert!(!rules().contains("443"));
}

/// A network namespace with our chain in it.
struct Host {
    ground: Groundwork,
    holes: IpsetFirewall,
}

impl Host {
    fn new(protect: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root for a network namespace");
            return None;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let options = GroundworkOptions {
            chain: CHAIN.to_owned(),
            protect: protect.iter().map(|p| p.parse().unwrap()).collect(),
        };
        let mut ground = Groundwork::survey(options).unwrap();
        ground.install().unwrap();
        let holes = IpsetFirewall::connect(ground.names().clone()).unwrap();
        Some(Self { ground, holes })
    }
}

fn rule(address: &str, port: &str) -> Rule {
    Rule::Accept {
        address: address.parse().unwrap(),
        port: port.parse().unwrap(),
    }
}

fn hole(address: &str, port: &str, secs: u32) -> Hole {
    Hole {
        rule: rule(address, port),
        timeout: HoleTimeout::clamped(secs),
    }
}

/// What `ipset save` prints about elements. It may already have counted a second down.
fn elements() -> BTreeSet<String> {
    let text = output("ipset", &["save"]);
    let adds = text.lines().filter(|line| line.starts_with("add "));
    adds.map(one_second_back).collect()
}

fn one_second_back(line: &str) -> String {
    let (head, secs) = line.rsplit_once(' ').unwrap();
    let secs: u32 = secs.parse().unwrap();
    // The kernel rounds the time left down, so a fresh element shows one second less.
    let round = [30, 60, 90, 600, 432_000, 2_147_483];
    let secs = if round.contains(&(secs + 1)) {
        secs + 1
    } else {
        secs
    };
    format!("{head} {secs}")
}

fn rules() -> String {
    output("iptables", &["-w", "-S"]) + &output("ip6tables", &["-w", "-S"])
}

fn run(program: &str, arguments: &[&str]) {
    output(program, arguments);
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
