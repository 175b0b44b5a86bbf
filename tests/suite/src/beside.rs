//! The same access file on two hosts, with our agent and with real fwknopd: what opens where.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::fwknop::{Fwknopd, fwknop};
use harness::postern::{Agent, Member};
use harness::{Lab, Node, Result, wait};

/// A stanza of its own, of which no other test uses the port.
const FENCE: &str = "\nSOURCE ANY\nKEY fence-passphrase\nHMAC_KEY fence-hmac\nOPEN_PORTS udp/9\n";

/// Two hosts and one user.
#[derive(Debug)]
pub struct Beside {
    /// 192.0.2.10, with our agent.
    pub ours: Node,
    /// 192.0.2.11, with fwknopd.
    pub theirs: Node,
    /// 192.0.2.20, with both clients.
    pub user: Member,
    agent: Agent,
    fwknopd: Fwknopd,
    fences: Cell<u8>,
}

// === impl Beside ===

impl Beside {
    /// Starts both servers with this access file; `conf` is more for fwknopd.conf, and `arguments` for
    /// our agent.
    ///
    /// # Errors
    ///
    /// When one of them does not come up.
    pub fn start(lab: &Lab, access: &str, conf: &str, arguments: &[&str]) -> Result<Self> {
        let (ours, theirs) = (lab.node("ours", 10)?, lab.node("theirs", 11)?);
        let access = format!("{access}{FENCE}");
        let beside = Self {
            agent: Agent::alone_with(&ours, &access, arguments)?,
            fwknopd: Fwknopd::start(&theirs, &access, conf)?,
            user: Member::stranger(&lab.node("user", 20)?, "nobody"),
            fences: Cell::new(0),
            ours,
            theirs,
        };
        beside.wait_until_judged()?;
        Ok(beside)
    }

    /// The stock client knocks at both.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn knock(&self, arguments: &[&str]) -> Result<()> {
        for host in [&self.ours, &self.theirs] {
            fwknop(&self.user.node, host.v4, arguments)?;
        }
        Ok(())
    }

    /// Waits until both have judged what was sent so far.
    ///
    /// # Errors
    ///
    /// When one does not answer.
    pub fn wait_until_judged(&self) -> Result<()> {
        let fenced = wait::until("both to open for the fence", wait::SOON, || {
            self.fences.set(self.fences.get() + 1);
            let address = Ipv4Addr::new(198, 51, 100, self.fences.get()).to_string();
            let (key, hmac) = ("fence-passphrase", "fence-hmac");
            let words = [
                "-A",
                "udp/9",
                "--key-rijndael",
                key,
                "--key-hmac",
                hmac,
                "-a",
            ];
            self.knock(&[&words[..], &[&address]].concat())?;
            let opened = format!("{address} udp/9");
            let both = wait::until("this knock", Duration::from_secs(3), || {
                Ok(self.opened_by_us()?.contains(&opened)
                    && self.opened_by_them()?.contains(&opened))
            });
            Ok(both.is_ok())
        });
        fenced.with_context(|| self.fwknopd.log())?;
        Ok(())
    }

    /// What our agent has open: `203.0.113.9 tcp/22`.
    ///
    /// # Errors
    ///
    /// When the firewall cannot be read.
    pub fn opened_by_us(&self) -> Result<BTreeSet<String>> {
        let holes = self.ours.holes()?;
        let entry = |hole: &String| {
            let element = hole.split(' ').nth(2)?;
            let (address, service) = element.split_once(',')?;
            Some(format!("{address} {}", service.replace(':', "/")))
        };
        Ok(holes.iter().filter_map(entry).collect())
    }

    /// What fwknopd has open, in the same words.
    ///
    /// # Errors
    ///
    /// When the firewall cannot be read.
    pub fn opened_by_them(&self) -> Result<BTreeSet<String>> {
        let rules = self.theirs.rules()?;
        let entry = |rule: &String| {
            let of = |flag: &str| {
                let mut words = rule.split(' ').skip_while(|word| *word != flag);
                words.nth(1)
            };
            let address = of("-s")?.strip_suffix("/32")?;
            Some(format!("{address} {}/{}", of("-p")?, of("--dport")?))
        };
        Ok(rules.iter().filter_map(entry).collect())
    }

    /// Insists that both have open what is in `wanted`, and nothing else but what fences opened.
    ///
    /// # Errors
    ///
    /// When one has not, with what differs.
    pub fn both_opened(&self, wanted: &BTreeSet<String>) -> Result<()> {
        self.wait_until_judged()?;
        let sides = [
            ("we", self.opened_by_us()?),
            ("fwknopd", self.opened_by_them()?),
        ];
        for (who, mut opened) in sides {
            opened.retain(|entry| !entry.ends_with("udp/9"));
            let missing: Vec<_> = wanted.difference(&opened).collect();
            let more: Vec<_> = opened.difference(wanted).collect();
            ensure!(
                missing.is_empty() && more.is_empty(),
                "{who} did not open {missing:?}, and opened {more:?}\n{}\n{}",
                self.agent.log(),
                self.fwknopd.log(),
            );
        }
        Ok(())
    }
}
