//! A gateway between two networks.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use harness::postern::{Agent, Member};
use harness::service::{TcpService, UdpService};
use harness::{Lab, Node, Result, wait};

/// The keys of every stanza here.
pub(crate) const KEYS: &str = "KEY nat-passphrase\nHMAC_KEY nat-hmac-passphrase\n";
/// What the stock client needs for them.
pub(crate) const STOCK: &[&str] = &[
    "--key-rijndael",
    "nat-passphrase",
    "--key-hmac",
    "nat-hmac-passphrase",
];
/// Where the inner host stands.
pub(crate) const INNER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 30);
/// For how long a port may be silent before it counts as closed.
const PATIENCE: Duration = Duration::from_millis(600);

/// The machines, and what listens on them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) gateway: Node,
    pub(crate) user: Node,
    pub(crate) stranger: Node,
    /// Behind the gateway only.
    pub(crate) inner: Node,
    pub(crate) inner_v4: Ipv4Addr,
    /// The gateway's address on the inner network.
    pub(crate) inside_v4: Ipv4Addr,
    pub(crate) inner_ssh: TcpService,
    _services: (Vec<TcpService>, Vec<UdpService>),
}

// === impl World ===

impl World {
    /// The gateway forwards, drops what it forwards unless somebody lets it pass, and hides its own
    /// port 22.
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let gateway = lab.node("gateway", 10)?;
        let inner = lab.node("inner", 30)?;
        let (inside_v4, inner_v4) = lab.second_wire(&gateway, &inner)?;
        let user = lab.node("user", 20)?;
        let stranger = lab.node("stranger", 66)?;
        let gateway_v4 = gateway.v4.to_string();
        let inside = inside_v4.to_string();
        for (node, words) in [
            (&gateway, "sysctl -qw net.ipv4.ip_forward=1"),
            (&gateway, "sysctl -qw net.ipv6.conf.all.forwarding=1"),
            (&gateway, "ip addr add fd00:1::10/64 dev eth1 nodad"),
            (&gateway, "iptables -P FORWARD DROP"),
            (&gateway, "ip6tables -P FORWARD DROP"),
            (&inner, "ip link del eth0"),
            (&inner, "ip addr add fd00:1::1e/64 dev eth1 nodad"),
            (&inner, "ip -6 route add default via fd00:1::10"),
            (&inner, &format!("ip route add default via {inside}")),
            (
                &user,
                &format!("ip route add 198.51.100.0/24 via {gateway_v4}"),
            ),
            (&user, "ip -6 route add fd00:1::/64 via 2001:db8::a"),
            (
                &stranger,
                &format!("ip route add 198.51.100.0/24 via {gateway_v4}"),
            ),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            node.run(&words)?.ok()?;
        }
        let inner_ssh = inner.serve_tcp(22)?;
        let mut tcp = Vec::new();
        for port in [80, 2222] {
            tcp.push(inner.serve_tcp(port)?);
        }
        tcp.push(gateway.serve_tcp(22)?);
        tcp.push(gateway.serve_tcp(8080)?);
        let udp = vec![inner.serve_udp(53)?];
        Ok(Self {
            gateway,
            user,
            stranger,
            inner,
            inner_v4,
            inside_v4,
            inner_ssh,
            _services: (tcp, udp),
        })
    }

    /// What comes back through connections is let pass, as a gateway's administrator has it for
    /// fwknopd; and its own port 22 is closed.
    pub(crate) fn as_for_fwknopd(&self) -> Result<()> {
        for rule in [
            "iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "iptables -A INPUT -p tcp --dport 22 -m conntrack --ctstate NEW -j DROP",
        ] {
            let words: Vec<&str> = rule.split(' ').collect();
            self.gateway.run(&words)?.ok()?;
        }
        Ok(())
    }

    /// Our agent, which leads on.
    pub(crate) fn agent(&self, stanza: &str, config: &str) -> Result<Agent> {
        let config =
            format!("nat_forward = true\nnat_local = true\nbackend = \"nftables\"\n{config}");
        self.agent_with(stanza, &config)
    }

    /// Our agent, as its configuration says.
    pub(crate) fn agent_with(&self, stanza: &str, config: &str) -> Result<Agent> {
        let file = self.gateway.write("agent.toml", config)?;
        let access = format!("PROTECT tcp/22\n\nSOURCE ANY\n{KEYS}{stanza}\n");
        Agent::alone_with(
            &self.gateway,
            &access,
            &["--config", &file.display().to_string()],
        )
    }

    /// Our client on the user's machine.
    pub(crate) fn knock(&self, host: impl Into<IpAddr>, ports: &str, more: &[&str]) -> Result<()> {
        let host = host.into().to_string();
        let rc = format!(
            "[lab]\nSPA_SERVER {host}\nKEY nat-passphrase\nHMAC_KEY nat-hmac-passphrase\nUSE_HMAC Y\n"
        );
        self.user.write(".fwknoprc", &rc)?;
        let person = Member::stranger(&self.user, "nobody");
        let words: Vec<&str> = ["-n", "lab"].iter().chain(more).copied().collect();
        person.knock(&host, ports, &words)?;
        Ok(())
    }

    /// Who answers a node at these places: `22=inner`.
    pub(crate) fn seen(&self, from: &Node, places: &[(IpAddr, u16)]) -> Result<BTreeSet<String>> {
        let look = |(address, port): &(IpAddr, u16)| -> Result<Option<String>> {
            let inner = *address == IpAddr::from(self.inner_v4);
            let whose = if inner { "inner:" } else { "" };
            let who = who(from, (*address, *port).into())?;
            Ok(who.map(|who| format!("{whose}{port}={who}")))
        };
        // At once: most of them are silent.
        thread::scope(|scope| {
            let looks: Vec<_> = places
                .iter()
                .map(|at| scope.spawn(move || look(at)))
                .collect();
            let seen = looks
                .into_iter()
                .map(|look| look.join().map_err(|_| anyhow!("a panic"))?);
            seen.filter_map(Result::transpose).collect()
        })
    }

    /// Waits until a node is answered by this one.
    pub(crate) fn until_answered(
        &self,
        from: &Node,
        at: SocketAddr,
        by: Option<&str>,
    ) -> Result<()> {
        let what = format!("{at} to be answered by {by:?}");
        wait::until(&what, wait::SOON, || Ok(who(from, at)?.as_deref() == by))?;
        Ok(())
    }

    /// Our table, as `nft` shows it.
    pub(crate) fn table(&self) -> Result<String> {
        Ok(self.gateway.run(&["nft", "list", "ruleset"])?.ok()?.stdout)
    }
}

/// The name of the node that answers at this place; `None` when nobody does.
pub(crate) fn who(from: &Node, at: SocketAddr) -> Result<Option<String>> {
    from.within(|| {
        let Ok(stream) = TcpStream::connect_timeout(&at, PATIENCE) else {
            return Ok(None);
        };
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut banner = String::new();
        BufReader::new(stream).read_line(&mut banner)?;
        let name = banner.trim().rsplit('_').next().unwrap_or_default();
        Ok(Some(name.to_owned()))
    })
}
