//! Two machines on one wire: the server under test with the echo behind a closed port, and the
//! client with sixty-five thousand addresses.

use std::cell::{Cell, OnceCell};
use std::net::Ipv4Addr;
use std::time::Duration;

use harness::service::UdpService;
use harness::{Lab, Node, Postgres};

use crate::keyring::ECHO_PORT;
use crate::probe::{Prober, Target};
use crate::relay::Relay;

/// Where every experiment takes place.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) server: Node,
    pub(crate) client: Node,
    pub(crate) target: Target,
    /// Our agent runs as one process, not as several with few powers each.
    pub(crate) one_process: bool,
    next_source: Cell<u32>,
    next_node: Cell<u8>,
    _echo: UdpService,
    /// Controllers keep their databases at a PostgreSQL server where nothing else is said, and not in files of theirs.
    pub(crate) is_over_postgres: bool,
    /// That server, from the first time that it is needed.
    postgres: OnceCell<Postgres>,
    /// How long a journey to it takes, and what makes it so long.
    journey: Duration,
    relay: OnceCell<Relay>,
    /// Goes last: with it go the namespaces.
    lab: Lab,
}

// === impl Arena ===

impl Arena {
    pub(crate) fn new(
        (postgres, journey): (bool, Duration),
        one_process: bool,
    ) -> anyhow::Result<Self> {
        let lab = Lab::new()?;
        let server = lab.node("server", 1)?;
        let client = lab.node("client", 2)?;
        let (address, gateway) = lab.second_wire(&server, &client)?;
        // Every address of these networks is the client's own, without a line for each.
        for words in [
            &["ip", "route", "add", "local", "10.96.0.0/13", "dev", "lo"][..],
            &["sysctl", "-qw", "net.ipv4.ip_local_port_range=20000 60999"],
        ] {
            client.run(words)?.ok()?;
        }
        let gateway = gateway.to_string();
        for words in [
            &["ip", "route", "add", "10.96.0.0/13", "via", &gateway][..],
            &["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0"],
            &["sysctl", "-qw", "net.ipv4.conf.eth1.rp_filter=0"],
        ] {
            server.run(words)?.ok()?;
        }
        let echo = server.serve_udp(ECHO_PORT)?;
        Ok(Self {
            server,
            client,
            target: Target {
                address,
                spa_port: harness::SPA_PORT,
                echo_port: ECHO_PORT,
            },
            one_process,
            next_source: Cell::new(0),
            next_node: Cell::new(3),
            _echo: echo,
            is_over_postgres: postgres,
            postgres: OnceCell::new(),
            journey,
            relay: OnceCell::new(),
            lab,
        })
    }

    /// A further machine, beside the two.
    pub(crate) fn another_node(&self, name: &str) -> anyhow::Result<Node> {
        let number = self.next_node.get();
        self.next_node.set(number + 1);
        self.lab.node(name, number)
    }

    /// A machine for a crew of hosts.
    pub(crate) fn crew(&self) -> anyhow::Result<Node> {
        self.another_node(&format!("players-{}", self.next_node.get()))
    }

    /// The PostgreSQL server, which is started when it is needed.
    pub(crate) fn postgres(&self) -> anyhow::Result<&Postgres> {
        if let Some(server) = self.postgres.get() {
            return Ok(server);
        }
        let server = Postgres::start()?;
        Ok(self.postgres.get_or_init(|| server))
    }

    /// A database with nothing in it at the PostgreSQL server, as controllers are told of it.
    pub(crate) fn database(&self) -> anyhow::Result<String> {
        let name = format!("d{}", self.next_node.get());
        let server = self.postgres()?;
        if self.journey.is_zero() {
            return server.database(&name);
        }
        if self.relay.get().is_none() {
            let relay = Relay::start(server.dir(), self.journey)?;
            self.relay.get_or_init(|| relay);
        }
        server.database_at(
            &name,
            self.relay.get().map_or_else(|| server.dir(), Relay::dir),
        )
    }

    /// An address that no packet came from yet.
    pub(crate) fn fresh_source(&self) -> Ipv4Addr {
        let number = self.next_source.get();
        self.next_source.set(number + 1);
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 98, 0, 1)) + number)
    }

    /// A client at an address of its own.
    pub(crate) fn prober(&self) -> anyhow::Result<Prober> {
        let (source, target) = (self.fresh_source(), self.target);
        self.client.within(|| Prober::new(source, target))
    }

    /// Many of them.
    pub(crate) fn probers(&self, count: usize) -> anyhow::Result<Vec<Prober>> {
        self.probers_to(count, self.target.spa_port)
    }

    /// Many of them, whose SPA packets go to this port.
    pub(crate) fn probers_to(&self, count: usize, spa_port: u16) -> anyhow::Result<Vec<Prober>> {
        let target = Target {
            spa_port,
            ..self.target
        };
        let sources: Vec<Ipv4Addr> = (0..count).map(|_| self.fresh_source()).collect();
        self.client.within(|| {
            sources
                .into_iter()
                .map(|source| Prober::new(source, target))
                .collect()
        })
    }

    /// Addresses that strangers send from.
    pub(crate) fn strangers(&self) -> Vec<Ipv4Addr> {
        (1..=32)
            .map(|number| Ipv4Addr::new(10, 97, 0, number))
            .collect()
    }

    /// Makes a set of addresses, and lets in whoever is in it.
    pub(crate) fn accept_from_set(&self, set: &str) -> anyhow::Result<()> {
        let let_in = format!("iptables -I INPUT -m set --match-set {set} src -j ACCEPT");
        let let_in: Vec<&str> = let_in.split(' ').collect();
        let make = ["ipset", "create", set, "hash:ip", "timeout", "30"];
        for words in [&make[..], &let_in] {
            self.server.run(words)?.ok()?;
        }
        Ok(())
    }

    /// A firewall as before any server started: everything open but the echo, and no sets.
    pub(crate) fn reset_firewall(&self) -> anyhow::Result<()> {
        for words in [
            &["iptables", "-F"][..],
            &["iptables", "-X"],
            &["ip6tables", "-F"],
            &["ip6tables", "-X"],
            &["iptables", "-t", "mangle", "-F"],
            &["iptables", "-t", "mangle", "-X"],
            &["ip6tables", "-t", "mangle", "-F"],
            &["ip6tables", "-t", "mangle", "-X"],
            &["nft", "delete", "table", "inet", "postern"],
            &["ipset", "destroy"],
            &["conntrack", "-F"],
            &[
                "iptables", "-A", "INPUT", "-p", "udp", "--dport", "7777", "-j", "DROP",
            ],
        ] {
            self.server.run(words)?;
        }
        Ok(())
    }
}
