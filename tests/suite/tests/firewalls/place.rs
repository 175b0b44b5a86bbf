//! A host with an owner, a user and a stranger, and an agent.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::ensure;
use harness::fwknop::fwknop;
use harness::postern::{Agent, Member};
use harness::service::{Reach, Session, TcpService};
use harness::{Lab, Node, Owner, Result, wait};

use crate::world::{Service, World};

/// For how long a hole stands, in seconds.
pub(crate) const HOLE_SECS: u64 = 3;

/// Which part of the packet filter the agent uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BackEnd {
    Nftables,
    Iptables,
}

/// A host whose firewall has an owner, and its neighbours.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) host: Node,
    pub(crate) user: Node,
    pub(crate) stranger: Node,
    pub(crate) owner: Owner,
    _services: Vec<TcpService>,
}

/// Every back end.
pub(crate) const BOTH: &[BackEnd] = &[BackEnd::Nftables, BackEnd::Iptables];

// === impl BackEnd ===

impl BackEnd {
    /// As `--backend` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

// === impl Place ===

impl Place {
    /// A host with this firewall, and no agent yet.
    pub(crate) fn new(lab: &Lab, world: &World) -> Result<Self> {
        let host = lab.node("host", 10)?;
        let services = match world.service {
            Service::Own => vec![host.serve_tcp(22)?],
            Service::Container => vec![container(lab, &host)?],
        };
        let place = Self {
            _services: services,
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

    /// Insists that TCP 22 opens to the user within moments.
    pub(crate) fn opens(&self) -> Result<()> {
        let limit = Duration::from_secs(2);
        wait::until("tcp/22 to open", limit, || {
            Ok(self.sees(&self.user, Reach::Open).is_ok())
        })?;
        Ok(())
    }

    /// As [`Self::opens`], over IPv4 only.
    pub(crate) fn opens_v4(&self) -> Result<()> {
        let limit = Duration::from_secs(2);
        wait::until("tcp/22 to open", limit, || {
            Ok(self.user.reach(self.host.v4, 22)? == Reach::Open)
        })?;
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

/// A container with a listener on TCP 80, at 172.17.0.2 and fd00:d0c::2 on a bridge of the host.
fn container(lab: &Lab, host: &Node) -> Result<TcpService> {
    const ON_THE_HOST: &str = "ip link add docker0 type bridge mcast_snooping 0
        ip address flush dev eth1
        ip link set eth1 master docker0
        ip link set docker0 up
        ip address add 172.17.0.1/16 dev docker0
        ip address add fd00:d0c::1/64 dev docker0 nodad
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    const INSIDE: &str = "ip link set eth0 down
        ip address flush dev eth1
        ip address add 172.17.0.2/16 dev eth1
        ip address add fd00:d0c::2/64 dev eth1 nodad
        ip route add default via 172.17.0.1
        ip -6 route add default via fd00:d0c::1";
    let container = lab.node("container", 40)?;
    lab.second_wire(host, &container)?;
    host.run(&["sh", "-ec", ON_THE_HOST])?.ok()?;
    container.run(&["sh", "-ec", INSIDE])?.ok()?;
    container.serve_tcp(80)
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
