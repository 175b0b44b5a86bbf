//! What the owner saves while an agent runs, and what an earlier version left: with the programs
//! that administrators use.

use agent::config::{BackendChoice, FirewallConfig};
use agent::firewall::{self, BaseRules as _, Hooks};
use harness::service::Reach;
use harness::{Node, Result, in_lab};

use crate::CHAIN;
use crate::support::{config, shell};

/// A save made on a host with an agent, in a file that both nodes see.
fn save(host: &Node, choice: BackendChoice) -> Result<String> {
    shell(
        host,
        "iptables -P INPUT DROP; iptables -A INPUT -s 203.0.113.9 -j DROP",
    )
    .ok()?;
    host.within(|| {
        let config = config(choice);
        let mut backend = firewall::open(&config)?;
        backend.base_rules.lay(&["tcp/22".parse()?])?;
        Hooks::new(&config).keep();
        Ok(())
    })?;
    Ok(shell(host, "iptables-save").ok()?.stdout)
}

#[test]
fn a_save_beside_nftables_names_nothing_of_ours_but_the_line_and_is_restored_anywhere() {
    in_lab(|lab| {
        let (host, fresh) = (lab.node("host", 10)?, lab.node("fresh", 20)?);
        let saved = save(&host, BackendChoice::Nftables)?;
        let file = fresh.write("rules.v4", &saved)?;

        shell(&fresh, &format!("iptables-restore <{}", file.display())).ok()?;

        assert!(
            !saved.contains("match-set") && saved.contains("--comment postern"),
            "{saved}"
        );
        let restored = shell(&fresh, "iptables -S INPUT").ok()?.stdout;
        assert!(restored.contains("-P INPUT DROP") && restored.contains("203.0.113.9"));
        Ok(())
    });
}

#[test]
fn a_save_beside_iptables_is_restored_once_the_sets_are_made_and_hides_what_was_hidden() {
    in_lab(|lab| {
        let (host, fresh) = (lab.node("host", 10)?, lab.node("fresh", 20)?);
        let _service = fresh.serve_tcp(22)?;
        let saved = save(&host, BackendChoice::Iptables)?;
        let file = fresh.write("rules.v4", &saved)?;
        let restore = format!("iptables-restore <{}", file.display());
        // So it is without them: nothing of the file is in force.
        assert_ne!(shell(&fresh, &restore).code, 0);

        // As `postern-agent protect --sets` before the service that restores.
        fresh.within(|| Ok(firewall::make_sets(CHAIN)?))?;
        shell(&fresh, &restore).ok()?;

        let restored = shell(&fresh, "iptables -S INPUT").ok()?.stdout;
        assert!(restored.contains("-P INPUT DROP") && restored.contains("203.0.113.9"));
        shell(&fresh, "iptables -P INPUT ACCEPT").ok()?;
        assert_eq!(host.reach(fresh.v4, 22)?, Reach::Silent);
        // The agent that starts then takes it over.
        fresh.within(|| {
            let mut backend = firewall::open(&config(BackendChoice::Iptables))?;
            backend.base_rules.lay(&["tcp/22".parse()?])?;
            assert_eq!(backend.base_rules.check(), Ok(None));
            Ok(())
        })
    });
}

#[test]
fn what_an_earlier_version_laid_goes_when_ours_is_there_and_sessions_and_holes_of_others_stay() {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let _service = host.serve_tcp(22)?;
        // As version 0.1 had it, but for the kinds of rules that hide nothing.
        for (program, sets) in [("iptables", "4"), ("ip6tables", "6")] {
            let family = if sets == "4" { "inet" } else { "inet6" };
            let script = format!(
                "ipset create POSTERN_INPUT_{sets} hash:ip,port family {family} timeout 30
                 ipset create POSTERN_INPUT_R{sets} hash:ip,port family {family} timeout 30
                 {program} -N POSTERN_INPUT; {program} -N POSTERN_OUT
                 {program} -A POSTERN_INPUT -i lo -j RETURN
                 {program} -A POSTERN_INPUT -m set --match-set POSTERN_INPUT_R{sets} src,dst -j DROP
                 {program} -A POSTERN_INPUT -p tcp --dport 22 ! --syn -m conntrack --ctstate ESTABLISHED -j ACCEPT
                 {program} -A POSTERN_INPUT -p tcp --syn -m set --match-set POSTERN_INPUT_{sets} src,dst -j ACCEPT
                 {program} -A POSTERN_INPUT -p tcp --dport 22 -j DROP
                 {program} -A POSTERN_OUT -o lo -j RETURN
                 {program} -I INPUT 1 -j POSTERN_INPUT; {program} -I OUTPUT 1 -j POSTERN_OUT
                 {program} -A INPUT -p tcp --dport 25 -j DROP"
            );
            shell(&host, &script).ok()?;
        }
        shell(&host, "ipset add POSTERN_INPUT_4 192.0.2.20,tcp:22").ok()?;
        let mut session = alice.session(host.v4, 22)?;
        session.talk()?;

        host.within(|| {
            let mut backend = firewall::open(&FirewallConfig {
                backend: BackendChoice::Iptables,
                ..FirewallConfig::of_chain("POSTERN")
            })?;
            backend.base_rules.lay(&["tcp/22".parse()?])?;
            assert_eq!(backend.base_rules.check(), Ok(None));
            Ok(())
        })?;

        assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
        session.talk()?;
        for program in ["iptables", "ip6tables"] {
            let left = shell(&host, &format!("{program} -S")).ok()?.stdout;
            assert!(
                !left.contains("POSTERN") && left.contains("--dport 25"),
                "{left}"
            );
        }
        let sets = shell(&host, "ipset list -n").ok()?.stdout;
        assert!(!sets.contains("POSTERN_INPUT"), "{sets}");
        Ok(())
    });
}

#[test]
fn a_host_whose_iptables_is_the_old_one_has_the_same_chains_and_its_line() {
    in_lab(|lab| {
        let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
        let _service = host.serve_tcp(22)?;
        shell(
            &host,
            "iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -s 203.0.113.9 -j DROP",
        )
        .ok()?;

        let config = config(BackendChoice::Iptables);
        let (mut backend, mut hooks) = host.within(|| {
            let mut backend = firewall::open(&config)?;
            backend.base_rules.lay(&["tcp/22".parse()?])?;
            let mut hooks = Hooks::new(&config);
            hooks.keep();
            Ok((backend, hooks))
        })?;

        assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
        host.within(|| {
            let rule = format!("{} tcp/22", alice.v4).parse()?;
            let timeout = engine::HoleTimeout::clamped(600);
            backend.holes.open(&[engine::Hole { rule, timeout }])?;
            Ok(())
        })?;
        assert_eq!(alice.reach(host.v4, 22)?, Reach::Open);
        let listed = shell(&host, "iptables-legacy -S INPUT").ok()?.stdout;
        assert!(
            listed.trim_end().ends_with("--comment postern -j ACCEPT"),
            "{listed}"
        );
        assert_eq!(hooks.laid().len(), 1);
        shell(&host, "iptables-legacy -I INPUT 1 -s 192.0.2.20 -j DROP").ok()?;
        host.within(|| {
            hooks.keep();
            Ok(())
        })?;
        assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
        Ok(())
    });
}
