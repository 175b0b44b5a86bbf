//! Where back ends are tried: a lab with a real kernel, and the memory that plays one.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use agent::config::{BackendChoice, FirewallConfig};
use agent::domains::firewall::through_channel;
use agent::firewall::memory::MemoryFirewall;
use agent::firewall::{self, Backend, FirewallError};
use engine::Connection;
use harness::service::{Reach, TcpService, UdpService};
use harness::{Lab, Node, in_lab, wait};
use spa::{ProtoPort, Protocol};

use crate::conformance::{Family, Session, Who, World};

/// What is tried.
type Sentence = fn(&dyn World);
/// What opens a back end.
type Open = fn(&FirewallConfig) -> Result<Backend, FirewallError>;
/// From whom it is reached.
type Reached = fn(Backend) -> Result<Backend, FirewallError>;

/// Tries a sentence with the memory back end.
pub(crate) fn in_memory(sentence: Sentence) {
    sentence(&MemoryWorld::new(Ok));
}

/// The same, as another process asks for it.
pub(crate) fn in_memory_through_channel(sentence: Sentence) {
    sentence(&MemoryWorld::new(through_channel));
}

/// Tries a sentence on a host of a lab, with the back end that this configuration names.
pub(crate) fn in_kernel(config: &FirewallConfig, sentence: Sentence) {
    in_kernel_by(config, firewall::open, sentence);
}

/// The same, as another process asks for it.
pub(crate) fn in_kernel_through_channel(config: &FirewallConfig, sentence: Sentence) {
    let open: Open = |config| firewall::open(config).and_then(through_channel);
    in_kernel_by(config, open, sentence);
}

/// The same with nftables as on a kernel where a table has no owner.
pub(crate) fn in_older_kernel(config: &FirewallConfig, sentence: Sentence) {
    in_kernel_by(config, firewall::open_nftables_without_owner, sentence);
}

fn in_kernel_by(config: &FirewallConfig, open: Open, sentence: Sentence) {
    in_lab(|lab| {
        let world = KernelWorld::new(lab, config, open)?;
        // What the back end runs and opens belongs to the network of the thread.
        world.host.within(|| {
            sentence(&world);
            Ok(())
        })
    });
}

/// With the number of the next client's port, and how the back end is reached.
struct MemoryWorld(MemoryFirewall, AtomicU16, Reached);

struct MemorySession<'w> {
    host: &'w MemoryFirewall,
    from: IpAddr,
    port: ProtoPort,
    connection: Connection,
}

struct KernelSession<'w> {
    service: &'w TcpService,
    session: harness::service::Session,
    protocol: Protocol,
}

/// A host with services, and two neighbours on the same wire.
struct KernelWorld {
    config: FirewallConfig,
    open: Open,
    host: Node,
    alice: Node,
    mallory: Node,
    services: ([TcpService; 2], UdpService),
}

// === impl MemoryWorld ===

impl MemoryWorld {
    fn new(reached: Reached) -> Self {
        let host = MemoryFirewall::default();
        Self(host, AtomicU16::new(40_000), reached)
    }
}

impl World for MemoryWorld {
    fn open(&self) -> Backend {
        self.2(self.0.backend()).unwrap()
    }

    fn address(&self, who: Who, family: Family) -> IpAddr {
        match (who, family) {
            (Who::Alice, Family::V4) => [192, 0, 2, 20].into(),
            (Who::Mallory, Family::V4) => [192, 0, 2, 30].into(),
            (Who::Alice, Family::V6) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 20].into(),
            (Who::Mallory, Family::V6) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 30].into(),
        }
    }

    fn lets_in(&self, from: IpAddr, port: ProtoPort) -> bool {
        self.0.lets_in(from, port)
    }

    fn session(&self, from: IpAddr, port: ProtoPort) -> Box<dyn Session + '_> {
        assert!(self.0.lets_in(from, port));
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        Box::new(MemorySession {
            host: &self.0,
            from,
            port,
            connection: Connection::direct(
                port.protocol,
                SocketAddr::new(from, number),
                SocketAddr::new([192, 0, 2, 10].into(), port.port.get()),
            ),
        })
    }

    fn pass(&self, secs: u32) {
        self.0.let_pass(secs);
    }

    fn flush_by_another(&self) {
        self.0.forget();
    }

    fn is_owned(&self) -> bool {
        false
    }

    fn addition_of_another(&self) {}

    fn all(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl Session for MemorySession<'_> {
    fn connection(&self) -> Connection {
        self.connection
    }

    fn goes_on(&mut self) -> bool {
        self.host.lets_talk(self.from, self.port) && !self.host.cut().contains(&self.connection)
    }

    fn host_speaks(&mut self) -> bool {
        self.goes_on()
    }
}

impl Session for KernelSession<'_> {
    fn connection(&self) -> Connection {
        let (client, server) = (self.session.client(), self.session.server());
        Connection::direct(self.protocol, client, server)
    }

    fn goes_on(&mut self) -> bool {
        !self.session.is_dead(Duration::from_secs(1)).unwrap()
    }

    fn host_speaks(&mut self) -> bool {
        let said = self.service.say_to(self.session.client());
        said && self.session.hears(Duration::from_secs(1)).unwrap()
    }
}

// === impl KernelWorld ===

impl KernelWorld {
    fn new(lab: &Lab, config: &FirewallConfig, open: Open) -> harness::Result<Self> {
        let host = lab.node("host", 10)?;
        let services = (
            [host.serve_tcp(22)?, host.serve_tcp(80)?],
            host.serve_udp(53)?,
        );
        Ok(Self {
            config: config.clone(),
            open,
            alice: lab.node("alice", 20)?,
            mallory: lab.node("mallory", 30)?,
            host,
            services,
        })
    }

    /// The neighbour with this address, and the host's address that it would use.
    fn ways(&self, from: IpAddr) -> (&Node, IpAddr) {
        let is_of = |node: &&Node| IpAddr::from(node.v4) == from || IpAddr::from(node.v6) == from;
        let node = [&self.alice, &self.mallory].into_iter().find(is_of);
        let host = match from {
            IpAddr::V4(_) => self.host.v4.into(),
            IpAddr::V6(_) => self.host.v6.into(),
        };
        (node.unwrap(), host)
    }

    fn run(&self, words: &[&str]) -> String {
        self.host
            .run(words)
            .and_then(|ran| ran.ok())
            .unwrap()
            .stdout
    }
}

impl World for KernelWorld {
    fn open(&self) -> Backend {
        (self.open)(&self.config).unwrap()
    }

    fn address(&self, who: Who, family: Family) -> IpAddr {
        let node = match who {
            Who::Alice => &self.alice,
            Who::Mallory => &self.mallory,
        };
        match family {
            Family::V4 => node.v4.into(),
            Family::V6 => node.v6.into(),
        }
    }

    fn lets_in(&self, from: IpAddr, port: ProtoPort) -> bool {
        let (node, host) = self.ways(from);
        let number = port.port.get();
        let seen = match port.protocol {
            Protocol::Tcp => node.reach(host, number),
            Protocol::Udp => node.reach_udp(host, number),
        };
        seen.unwrap() == Reach::Open
    }

    fn session(&self, from: IpAddr, port: ProtoPort) -> Box<dyn Session + '_> {
        let (node, host) = self.ways(from);
        let mut session = node.session(host, port.port.get()).unwrap();
        session.talk().unwrap();
        Box::new(KernelSession {
            service: &self.services.0[0],
            session,
            protocol: port.protocol,
        })
    }

    fn pass(&self, secs: u32) {
        // A little more than promised: the kernel counts in ticks of some milliseconds.
        let span = Duration::from_secs(secs.into()) + Duration::from_millis(100);
        wait::until_instant(wait::now() + span);
    }

    fn is_owned(&self) -> bool {
        let is_older =
            std::ptr::fn_addr_eq(self.open, firewall::open_nftables_without_owner as Open);
        self.config.backend == BackendChoice::Nftables && !is_older
    }

    fn flush_by_another(&self) {
        if self.config.backend == BackendChoice::Nftables {
            self.run(&["nft", "flush", "ruleset"]);
        }
        for program in ["iptables", "ip6tables"] {
            for table in ["filter", "mangle"] {
                self.run(&[program, "-w", "-t", table, "-F"]);
                self.run(&[program, "-w", "-t", table, "-X"]);
            }
        }
        self.run(&["ipset", "destroy"]);
    }

    fn addition_of_another(&self) {
        self.run(&["ipset", "create", "THEIRS_4", "hash:ip", "timeout", "600"]);
        for program in ["iptables", "ip6tables"] {
            self.run(&[program, "-w", "-N", "THEIRS"]);
            self.run(&[program, "-w", "-A", "INPUT", "-j", "THEIRS"]);
            self.run(&[
                program, "-w", "-A", "INPUT", "-p", "tcp", "--dport", "25", "-j", "DROP",
            ]);
        }
    }

    fn all(&self) -> String {
        let rules = self.host.rules().unwrap();
        // Counters of packets are not part of what is there, nor are base chains that accept: they
        // come with the first look at a table.
        let rules = rules
            .iter()
            .map(|line| match line.split_once(" [") {
                Some((chain, _)) if line.starts_with(':') => chain,
                Some(_) | None => line,
            })
            .filter(|line| !line.starts_with('*') && !line.ends_with(" ACCEPT"));
        let rules = rules.collect::<Vec<_>>().join("\n") + &self.run(&["ipset", "list", "-n"]);
        match self.config.backend {
            // Those of iptables, with all that they have counted.
            BackendChoice::Auto | BackendChoice::Iptables => rules,
            BackendChoice::Nftables => {
                let table = ["nft", "-s", "list", "tables"];
                let ours = ["nft", "-s", "list", "table", "inet", "pt_test"];
                let ours = self.host.run(&ours).unwrap().stdout;
                rules + &self.run(&table) + &ours
            }
        }
    }
}
