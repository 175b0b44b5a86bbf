//! A host with an owner, a user and a stranger, and an agent.

use std::net::IpAddr;

use anyhow::ensure;
use harness::fwknop::fwknop;
use harness::postern::{Agent, Member};
use harness::service::{Reach, Session, TcpService};
use harness::{Lab, Node, Owner, Result};

use crate::world::World;

/// For how long a hole stands, in seconds.
pub(crate) const HOLE_SECS: u64 = 3;

/// Which part of the packet filter the agent uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BackEnd {
    Iptables,
}

/// A host whose firewall has an owner, and its neighbours.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) host: Node,
    pub(crate) user: Node,
    pub(crate) stranger: Node,
    pub(crate) owner: Owner,
    _service: TcpService,
}

/// This back end alone.
pub(crate) const IPTABLES: &[BackEnd] = &[BackEnd::Iptables];

// === impl BackEnd ===

impl BackEnd {
    /// As `--backend` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
        }
    }
}

// === impl Place ===

impl Place {
    /// A host with this firewall, and no agent yet.
    pub(crate) fn new(lab: &Lab, world: &World) -> Result<Self> {
        let host = lab.node("host", 10)?;
        let place = Self {
            _service: host.serve_tcp(22)?,
            owner: Owner::of(&host)?,
            user: lab.node("user", 20)?,
            stranger: lab.node("stranger", 66)?,
            host,
        };
        place.owner.shell(world.lay)?;
        Ok(place)
    }

    /// Starts an agent that hides TCP 22.
    pub(crate) fn agent(&self, back_end: BackEnd, hooks: &[&str]) -> Result<Agent> {
        let mut more = vec!["--backend", back_end.name()];
        for hook in hooks {
            more.extend(["--hook", hook]);
        }
        Agent::alone_with(&self.host, &access(), &more)
    }

    /// The owner does something, perhaps about the user's IPv4 address.
    pub(crate) fn owner_does(&self, lines: &str) -> Result<()> {
        let who = self.user.v4;
        self.owner.shell(&format!("WHO={who}\n{lines}"))?;
        Ok(())
    }

    /// The host's addresses.
    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        [self.host.v4.into(), self.host.v6.into()]
    }

    /// The user knocks for TCP 22: with the stock client over IPv4, with ours over IPv6.
    pub(crate) fn knock(&self) -> Result<()> {
        self.knock_v4()?;
        self.knock_v6()
    }

    /// As [`Self::knock`], over IPv4 only.
    pub(crate) fn knock_v4(&self) -> Result<()> {
        let own = self.user.v4.to_string();
        let words = ["-A", "tcp/22", "-a", &own, "--key-rijndael", KEY];
        fwknop(&self.user, self.host.v4, &[&words[..], HMAC].concat())?;
        Ok(())
    }

    /// As [`Self::knock`], over IPv6 only.
    pub(crate) fn knock_v6(&self) -> Result<()> {
        let host = self.host.v6.to_string();
        let rc = format!(
            "[lab]\nSPA_SERVER {host}\nKEY {KEY}\nHMAC_KEY worlds-hmac-passphrase\nUSE_HMAC Y\n"
        );
        self.user.write(".fwknoprc", &rc)?;
        let person = Member::stranger(&self.user, "nobody");
        let own = self.user.v6.to_string();
        // Whether it opened is what the tests look at.
        person.run(&["knock", &host, "-A", "tcp/22", "-n", "lab", "-a", &own])?;
        Ok(())
    }

    /// Insists on how TCP 22 looks from a node over both families.
    pub(crate) fn sees(&self, from: &Node, wanted: Reach) -> Result<()> {
        let look = |address: IpAddr| -> Result<()> {
            let seen = from.reach(address, 22)?;
            ensure!(
                seen == wanted,
                "tcp/22 at {address} looks {seen:?} to {}, not {wanted:?}",
                from.name
            );
            Ok(())
        };
        for seen in both(self.addresses().map(|address| move || look(address))) {
            seen?;
        }
        Ok(())
    }

    /// A session over each family.
    pub(crate) fn sessions(&self) -> Result<Vec<Session>> {
        let open = |address| self.user.session(address, 22);
        self.addresses().into_iter().map(open).collect()
    }
}

/// Does two things at the same time.
pub(crate) fn both<T: Send, W: FnOnce() -> Result<T> + Send>(works: [W; 2]) -> [Result<T>; 2] {
    std::thread::scope(|scope| {
        let threads = works.map(|work| scope.spawn(work));
        threads.map(|thread| {
            let done = thread.join();
            done.unwrap_or_else(|_| Err(anyhow::anyhow!("a panic")))
        })
    })
}

const KEY: &str = "worlds-passphrase";
const HMAC: &[&str] = &["--key-hmac", "worlds-hmac-passphrase"];

/// One stanza, which the user has the keys of.
pub(crate) fn access() -> String {
    format!(
        "PROTECT tcp/22\n\nSOURCE ANY\nKEY {KEY}\nHMAC_KEY worlds-hmac-passphrase\n\
         OPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT {HOLE_SECS}\n"
    )
}

/// The same, and nobody's.
pub(crate) fn without_the_user() -> String {
    access().replace(KEY, "other-passphrase")
}
