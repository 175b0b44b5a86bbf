//! One agent alone with an access.conf, a user and a stranger.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use harness::fwknop::fwknop;
use harness::postern::Agent;
use harness::service::{Reach, TcpService};
use harness::{Lab, Node, Result, SPA_PORT, wait};

/// The passphrases of [`STANZA`].
pub const KEY: &str = "suite-passphrase";

/// The stanza that most tests use.
pub const STANZA: &str = "\
SOURCE ANY
KEY suite-passphrase
HMAC_KEY suite-hmac-passphrase
OPEN_PORTS tcp/22
FW_ACCESS_TIMEOUT 30
";

/// What the stock client needs for [`STANZA`].
pub const STOCK_ARGS: &[&str] = &["--key-rijndael", KEY, "--key-hmac", "suite-hmac-passphrase"];

/// The HMAC half of [`STOCK_ARGS`].
pub const HMAC_ARGS: &[&str] = &["--key-hmac", "suite-hmac-passphrase"];

/// A stanza of its own for [`Alone::wait_until_judged`]; no test uses its port.
const FENCE_STANZA: &str = "
SOURCE ANY
KEY fence-passphrase
HMAC_KEY fence-hmac-passphrase
OPEN_PORTS udp/9
FW_ACCESS_TIMEOUT 60
";

const FENCE_ARGS: &[&str] = &[
    "-A",
    "udp/9",
    "--key-rijndael",
    "fence-passphrase",
    "--key-hmac",
    "fence-hmac-passphrase",
    "-a",
];

/// An agent on `host`, with a listener behind its hidden port 22.
#[derive(Debug)]
pub struct Alone {
    /// 192.0.2.10.
    pub host: Node,
    /// 192.0.2.20.
    pub user: Node,
    /// 192.0.2.66.
    pub stranger: Node,
    /// The agent on `host`.
    pub agent: Agent,
    /// What listens on port 22.
    pub ssh: TcpService,
    fences: Cell<u8>,
}

// === impl Alone ===

impl Alone {
    /// Starts the agent with this access.conf, port 22 protected.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(lab: &Lab, access: &str) -> Result<Self> {
        Self::start_with(lab, access, &[])
    }

    /// As [`Alone::start`], with further arguments for the agent.
    ///
    /// # Errors
    ///
    /// As [`Alone::start`].
    pub fn start_with(lab: &Lab, access: &str, more: &[&str]) -> Result<Self> {
        let host = lab.node("host", 10)?;
        let ssh = host.serve_tcp(22)?;
        let agent = Agent::alone_with(&host, &Self::access(access), more)?;
        Ok(Self {
            user: lab.node("user", 20)?,
            stranger: lab.node("stranger", 66)?,
            host,
            agent,
            ssh,
            fences: Cell::new(0),
        })
    }

    /// `access` with port 22 protected in front and the fence behind.
    pub fn access(access: &str) -> String {
        format!("PROTECT tcp/22\n\n{access}{FENCE_STANZA}")
    }

    /// The stock client of `user` knocks.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn knock(&self, arguments: &[&str]) -> Result<()> {
        fwknop(&self.user, self.host.v4, arguments)?;
        Ok(())
    }

    /// The stock client of `user` knocks with the keys of [`STANZA`] for tcp/22 and its own
    /// address.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn knock_as_told(&self) -> Result<()> {
        let address = self.user.v4.to_string();
        let mut words = vec!["-A", "tcp/22", "-a", &address];
        words.extend(STOCK_ARGS);
        self.knock(&words)
    }

    /// Sends the agent a payload from a node.
    ///
    /// # Errors
    ///
    /// When the kernel does not take it.
    pub fn send(&self, from: &Node, payload: &[u8]) -> Result<()> {
        from.send(self.host.v4, SPA_PORT, payload)
    }

    /// Waits until everything sent so far has been judged.
    ///
    /// Knocks again when that is refused: in the second in which an agent starts after a loss it
    /// trusts no packet.
    ///
    /// # Errors
    ///
    /// When the agent does not answer with its own hole.
    pub fn wait_until_judged(&self) -> Result<()> {
        wait::until("the agent to open for the fence", wait::SOON, || {
            self.fences.set(self.fences.get() + 1);
            let address = Ipv4Addr::new(198, 51, 100, self.fences.get());
            let text = address.to_string();
            let mut words = FENCE_ARGS.to_vec();
            words.push(&text);
            self.knock(&words)?;
            let opened = wait::until("this knock", Duration::from_secs(2), || {
                self.agent.has_hole(address, "udp:9")
            });
            Ok(opened.is_ok())
        })?;
        Ok(())
    }

    /// The holes that are there, without those of [`Alone::wait_until_judged`].
    ///
    /// # Errors
    ///
    /// When `ipset` fails.
    pub fn holes(&self) -> Result<Vec<String>> {
        let mut holes = self.host.holes()?;
        holes.retain(|hole| !hole.contains("udp:9"));
        Ok(holes)
    }

    /// Insists that what was sent so far has opened nothing.
    ///
    /// # Errors
    ///
    /// When something is open.
    pub fn nothing_opened(&self) -> Result<()> {
        self.wait_until_judged()?;
        let holes = self.holes()?;
        anyhow::ensure!(holes.is_empty(), "open: {holes:?}");
        Ok(())
    }

    /// Insists on how port 22 looks from the user's machine, at `address`.
    ///
    /// # Errors
    ///
    /// When it looks otherwise.
    pub fn user_sees(&self, address: impl Into<IpAddr>, wanted: Reach) -> Result<()> {
        let address = address.into();
        let seen = self.user.reach(address, 22)?;
        anyhow::ensure!(seen == wanted, "{address} looks {seen:?}, not {wanted:?}");
        Ok(())
    }
}
