//! From one back end to another: nothing is open in between, and nothing stays behind.

use agent::config::{BackendChoice, CHAIN, FirewallConfig};
use agent::firewall::{self, Backend, BaseRules as _, Holes as _};
use engine::{Hole, HoleTimeout, Rule};
use harness::service::Reach;
use harness::{Node, in_lab};
use spa::Service;

fn opened(backend: BackendChoice) -> harness::Result<Backend> {
    let config = FirewallConfig {
        backend,
        ..FirewallConfig::of_chain(CHAIN)
    };
    Ok(firewall::open(&config)?)
}

fn hidden() -> Vec<Service> {
    vec!["tcp/22".parse().unwrap()]
}

fn all(host: &Node) -> String {
    let rules = host.rules().unwrap();
    let rules = rules.iter().filter(|rule| rule.contains("POSTERN"));
    let rules = rules.cloned().collect::<Vec<_>>().join("\n");
    let others = [
        &["ipset", "list", "-n"][..],
        &["nft", "list", "tables", "inet"],
    ];
    let others = others.map(|words| host.run(words).unwrap().ok().unwrap().stdout);
    rules + &others.concat()
}

#[test]
fn when_the_back_end_changes_the_new_one_hides_before_the_others_remains_go() {
    let both = [BackendChoice::Iptables, BackendChoice::Nftables];
    for [before, after] in [both, [both[1], both[0]]] {
        in_lab(|lab| {
            let (host, alice) = (lab.node("host", 10)?, lab.node("alice", 20)?);
            let _service = host.serve_tcp(22)?;
            host.within(|| {
                let mut first = opened(before)?;
                first.base_rules.lay(&hidden())?;
                first.holes.open(&[Hole {
                    rule: Rule::accept(alice.v4.into(), hidden()[0]),
                    timeout: HoleTimeout::clamped(600),
                }])?;
                drop(first);

                let mut second = opened(after)?;
                second.base_rules.prepare()?;
                assert!(all(&host).contains("POSTERN") && all(&host).contains("inet postern"));
                second.base_rules.lay(&hidden())?;

                // The other's hole has gone with it.
                assert_eq!(alice.reach(host.v4, 22)?, Reach::Silent);
                let is_gone = match after {
                    BackendChoice::Nftables => all(&host) == "table inet postern\n",
                    BackendChoice::Auto | BackendChoice::Iptables => {
                        !all(&host).contains("table inet postern")
                    }
                };
                assert!(is_gone, "{}", all(&host));
                assert_eq!(second.base_rules.check(), Ok(None));
                Ok(())
            })
        });
    }
}

#[test]
fn removing_takes_away_what_either_back_end_laid_and_what_earlier_versions_did() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        host.within(|| {
            let before = all(&host);
            opened(BackendChoice::Iptables)?.base_rules.lay(&hidden())?;
            for command in [
                "ipset create POSTERN_INPUT_4 hash:ip,port timeout 30",
                "ipset create POSTERN_INPUT_R4 hash:ip,port timeout 30",
                "iptables -w -N POSTERN_INPUT",
                "iptables -w -A POSTERN_INPUT -m set --match-set POSTERN_INPUT_R4 src,dst -j DROP",
                "iptables -w -A POSTERN_INPUT -p tcp -m tcp --dport 22 -j DROP",
                "iptables -w -I INPUT 1 -j POSTERN_INPUT",
            ] {
                let words: Vec<_> = command.split(' ').collect();
                host.run(&words)?.ok()?;
            }

            opened(BackendChoice::Auto)?.base_rules.remove()?;

            assert_eq!(all(&host), before);
            opened(BackendChoice::Auto)?.base_rules.lay(&hidden())?;
            opened(BackendChoice::Iptables)?.base_rules.remove()?;
            assert_eq!(all(&host), before);
            Ok(())
        })
    });
}
