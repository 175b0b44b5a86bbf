//! The table as nft prints it, and what becomes of it when others were here, in the kernel.

use std::time::Duration;

use engine::{Hole, HoleTimeout};
use harness::{Node, in_lab};
use spa::Service;

use super::*;
use crate::firewall::Backend;

const CHAIN_NAME: &str = "PT_TEST";

fn config() -> FirewallConfig {
    FirewallConfig::of_chain(CHAIN_NAME)
}

fn ports(texts: &[&str]) -> Vec<Service> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn hole(rule: &str, secs: u32) -> Hole {
    Hole {
        rule: rule.parse().unwrap(),
        timeout: HoleTimeout::clamped(secs),
    }
}

/// Calls `story` in the network of a host of its own.
fn on_host(story: impl FnOnce(&Node) + Send) {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        host.within(|| {
            story(&host);
            Ok(())
        })
    });
}

fn run(host: &Node, words: &[&str]) -> String {
    host.run(words).and_then(|ran| ran.ok()).unwrap().stdout
}

fn listed(host: &Node) -> String {
    let text = run(host, &["nft", "-s", "list", "table", "inet", "pt_test"]);
    let (head, rest) = text.split_once('\n').unwrap();
    // Behind it nft names who owns the table.
    format!("{}\n{rest}", head.split(" #").next().unwrap())
}

/// What nft has listed, without the times of what is in the sets.
fn without_times(listed: &str) -> String {
    let line = |line: &str| match line.split_once(" timeout ") {
        Some((element, time)) if line.contains("elements = ") => {
            format!(
                "{element}{}",
                time.trim_start_matches(char::is_alphanumeric)
            )
        }
        Some(_) | None => line.to_owned(),
    };
    listed.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn nft_prints_what_was_laid() {
    on_host(|host| {
        let mut firewall = open(&config(), "a test".to_owned()).unwrap();
        let hidden = [
            "tcp/22",
            "udp/53",
            "tcp/8000-8010",
            "icmp/echo",
            "tcp/8005-8020",
        ];

        firewall.base_rules.lay(&ports(&hidden)).unwrap();

        insta::assert_snapshot!(listed(host));
    });
}

#[test]
fn nft_prints_what_is_open_and_what_is_barred() {
    on_host(|host| {
        let mut firewall = laid(&["tcp/22"]);
        let holes = [
            hole("192.0.2.7 tcp/22", 60),
            hole("192.0.2.7 icmp/echo", 60),
            hole("192.0.2.0/24 tcp/20-30", 60),
            hole("192.0.2.7 tcp/1-22", 60),
            hole("2001:db8::/48 icmp/echo", 60),
            hole("2001:db8::7 udp/53", 2_147_483),
        ];

        firewall.holes.open(&holes).unwrap();
        firewall.holes.open(&holes).unwrap();

        let expected = [
            "192.0.2.7 . icmp . 2048 timeout 1m",
            "192.0.2.7 . tcp . 22 timeout 1m",
            "192.0.2.0/24 . tcp . 20-30 timeout 1m",
            "192.0.2.7 . tcp . 1-22 timeout 1m",
            "2001:db8::7 . udp . 53 timeout 24d20h31m23s",
            "2001:db8::/48 . ipv6-icmp . 32768-33023 timeout 1m",
        ];
        assert_eq!(elements(host), sorted(&expected));
        let mut open = firewall.holes.list().unwrap();
        open.sort_by_key(|hole| hole.rule);
        let mut opened = holes.to_vec();
        opened.sort_by_key(|hole| hole.rule);
        for (open, opened) in open.iter().zip(opened) {
            assert_eq!(open.rule, opened.rule);
            let passed = opened.timeout.duration() - open.timeout.duration();
            assert!(passed < Duration::from_secs(5), "{passed:?}");
        }
        let rules = holes.map(|hole| hole.rule);
        firewall.holes.close(&rules, &[]).unwrap();
        let barred = [
            "192.0.2.7 . icmp . 2048 timeout 5d",
            "192.0.2.7 . tcp . 22 timeout 5s",
            "192.0.2.0/24 . tcp . 20-30 timeout 5s",
            "192.0.2.7 . tcp . 1-22 timeout 5s",
            "2001:db8::7 . udp . 53 timeout 5d",
            "2001:db8::/48 . ipv6-icmp . 32768-33023 timeout 5d",
        ];
        assert_eq!(elements(host), sorted(&barred));
        firewall.holes.open(&holes).unwrap();
        assert_eq!(elements(host), sorted(&expected));
        firewall.holes.flush().unwrap();
        assert_eq!(elements(host), Vec::<String>::new());
    });
}

#[test]
fn a_hole_that_is_opened_again_for_the_same_time_begins_anew() {
    for open in [open, open_unowned] {
        on_host(|_| {
            let mut firewall = open(&config(), "a test".to_owned()).unwrap();
            firewall.base_rules.lay(&ports(&["tcp/22"])).unwrap();
            let holes = [hole("192.0.2.7 tcp/22", 3), hole("192.0.2.0/24 tcp/22", 3)];
            firewall.holes.open(&holes).unwrap();

            std::thread::sleep(Duration::from_millis(2_000));
            firewall.holes.open(&holes).unwrap();

            let left = firewall.holes.list().unwrap();
            assert_eq!(left.len(), 2);
            assert!(left.iter().all(|hole| hole.timeout.secs() == 3), "{left:?}");
        });
    }
}

#[test]
fn a_kernel_that_knows_both_flags_gives_us_the_table_alone_and_keeps_it_when_we_go() {
    on_host(|host| {
        let firewall = laid(&["tcp/22"]);

        run(host, &["nft", "flush", "ruleset"]);
        let deleted = host
            .run(&["nft", "delete", "table", "inet", "pt_test"])
            .unwrap();

        assert!(deleted.ok().is_err());
        let while_owned = listed(host);
        drop(firewall);
        assert_eq!(
            listed(host).replacen("flags ", "flags owner", 1),
            while_owned
        );
        let mut next = open(&config(), "a test".to_owned()).unwrap();
        next.base_rules.lay(&ports(&["tcp/22"])).unwrap();
        assert_eq!(listed(host), while_owned);
        next.base_rules.remove().unwrap();
        assert_eq!(run(host, &["nft", "list", "ruleset"]), "");
    });
}

#[test]
fn a_table_that_somebody_else_made_of_what_was_ours_is_made_anew_and_what_is_open_stays() {
    on_host(|host| {
        let mut before = open_unowned(&config(), "a test".to_owned()).unwrap();
        before.base_rules.lay(&ports(&["tcp/22"])).unwrap();
        let holes = [
            hole("192.0.2.7 tcp/22", 600),
            hole("192.0.2.0/24 tcp/22", 600),
        ];
        before.holes.open(&holes).unwrap();
        drop(before);

        let mut firewall = laid(&["tcp/22"]);

        assert!(listed(host).contains("flags owner"));
        let open = firewall.holes.list().unwrap();
        assert_eq!(open.len(), 2);
        assert!(
            holes
                .iter()
                .all(|hole| open.iter().any(|it| it.rule == hole.rule))
        );
        assert_eq!(firewall.base_rules.check(), Ok(None));
    });
}

#[test]
fn what_stays_when_the_agent_stops_is_saved_and_loaded_by_this_nft_and_taken_over_by_the_next() {
    on_host(|host| {
        let mut firewall = laid(&["tcp/22"]);
        let holes = [
            hole("192.0.2.7 tcp/22", 600),
            hole("192.0.2.0/24 tcp/22", 600),
        ];
        firewall.holes.open(&holes).unwrap();
        // Whatever is laid again has what is left of its time.
        let listed = |host| without_times(&listed(host));
        let owned = listed(host);

        firewall.base_rules.leave().unwrap();
        drop(firewall);

        assert_eq!(listed(host).replacen('{', "{\n\tflags owner\n", 1), owned);
        let saved = host
            .write("saved", &run(host, &["nft", "list", "ruleset"]))
            .unwrap();
        run(host, &["nft", "flush", "ruleset"]);
        run(host, &["nft", "-f", saved.to_str().unwrap()]);
        let mut next = laid(&["tcp/22"]);
        assert_eq!(listed(host), owned);
        assert_eq!(next.holes.list().unwrap().len(), 2);
        assert_eq!(next.base_rules.check(), Ok(None));
    });
}

#[test]
fn without_an_owner_what_others_do_is_told_found_and_repaired() {
    on_host(|host| {
        let mut firewall = open_unowned(&config(), "a test".to_owned()).unwrap();
        firewall.base_rules.lay(&ports(&["tcp/22"])).unwrap();
        let good = listed(host);
        firewall
            .holes
            .open(&[hole("192.0.2.7 tcp/22", 600)])
            .unwrap();
        run(host, &["nft", "add", "table", "inet", "theirs"]);
        assert!(
            !firewall.base_rules.noticed(),
            "neither our holes nor what is not ours"
        );
        let breakages = [
            (&["nft", "flush", "ruleset"][..], "is gone"),
            (&["nft", "delete", "table", "inet", "pt_test"], "is gone"),
            (
                &["nft", "flush", "chain", "inet", "pt_test", "begins"],
                "the rules of",
            ),
            (
                &["nft", "add", "rule", "inet", "pt_test", "opens", "accept"],
                "the rules of",
            ),
            (
                &["nft", "flush", "set", "inet", "pt_test", "protected"],
                "the hidden ports of",
            ),
            (
                &[
                    "nft",
                    "add",
                    "table",
                    "inet",
                    "pt_test",
                    "{ flags dormant; }",
                ],
                "the flags of",
            ),
        ];
        for (breakage, finding) in breakages {
            run(host, breakage);

            assert!(firewall.base_rules.noticed(), "{breakage:?}");
            let drift = firewall.base_rules.check().unwrap().unwrap().to_string();
            assert!(drift.contains(finding), "{drift}");
            firewall.base_rules.repair().unwrap();
            assert_eq!(firewall.base_rules.check(), Ok(None));
            firewall.holes.flush().unwrap();
            assert_eq!(listed(host), good);
            assert!(!firewall.base_rules.noticed());
        }
    });
}

/// The back end of this kernel, with these ports hidden.
fn laid(hidden: &[&str]) -> Backend {
    let mut firewall = open(&config(), "a test".to_owned()).unwrap();
    firewall.base_rules.lay(&ports(hidden)).unwrap();
    firewall
}

/// All elements but the hidden ports, sorted.
fn elements(host: &Node) -> Vec<String> {
    let text = run(host, &["nft", "-s", "list", "table", "inet", "pt_test"]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let sets = words.split("elements = { ").skip(1);
    let inside = sets.filter_map(|set| set.split(" }").next());
    let each = inside
        .flat_map(|set| set.split(", "))
        .filter(|it| it.contains("timeout"));
    sorted(&each.collect::<Vec<_>>())
}

fn sorted(texts: &[&str]) -> Vec<String> {
    let mut sorted: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    sorted.sort();
    sorted
}
