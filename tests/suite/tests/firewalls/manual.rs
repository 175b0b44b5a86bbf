//! What `docs/firewalls.md` tells people to type is what the tests type.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use harness::{in_lab, postern};
use suite::page::commands;

use crate::iptables::IPTABLES;
use crate::place::{BackEnd, Place};

/// Our own commands on the page.
const OURS: &[&str] = &[
    "postern-agent status",
    "postern-agent status --json",
    "postern-agent flush",
];

#[test]
fn every_command_of_the_page_about_firewalls_is_run_by_a_test_as_it_stands_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../../docs/firewalls.md")).unwrap();
    let mut tests = String::new();
    for file in fs::read_dir(here.join("tests/firewalls")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        // As the shell gets it.
        tests.push_str(&text.replace("\\\n", "").replace("\\\"", "\""));
        tests.push('\n');
    }
    let mut seen = 0;
    for line in commands(&page) {
        let is_run = OURS.contains(&line) || tests.contains(line);
        assert!(is_run, "no test runs `{line}`");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_commands_of_the_page_show_what_the_agent_does_and_take_it_away() {
    in_lab(|lab| {
        let place = Place::new(lab, &IPTABLES)?;
        let mut agent = place.agent(BackEnd::Nftables, &[])?;
        let program = postern::binary("postern-agent")?.display().to_string();
        let state = agent.state.display().to_string();
        let status = ["status", "--state", &state];
        let shown = place
            .host
            .run(&[&[&*program], &status[..]].concat())?
            .ok()?;
        for wanted in ["nftables", "hidden     tcp/22", "iptables"] {
            ensure!(shown.stdout.contains(wanted), "{wanted}:\n{}", shown.stdout);
        }
        let json = ["status", "--json", "--state", &state];
        place.host.run(&[&[&*program], &json[..]].concat())?.ok()?;
        agent.stop()?;
        agent.flush()?.ok()?;
        let rules = place.host.rules()?.join("\n");
        ensure!(!rules.contains("20000000"), "{rules}");
        let tables = place.owner.run("nft list tables")?.ok()?.stdout;
        ensure!(!tables.contains("postern"), "{tables}");
        Ok(())
    });
}
