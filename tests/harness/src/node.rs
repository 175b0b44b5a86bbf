//! One machine of a lab: run programs in it, open sockets in it, read its firewall.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::service::{Reach, Session, TcpService, UdpService, reach_tcp, reach_udp};
use crate::shell::{Ran, run};
use crate::{Process, Result};

/// Numbers log files, so that no two processes of a test program share one.
static LOGS: AtomicUsize = AtomicUsize::new(0);

/// A network namespace with an interface `eth0` and an address of each family.
///
/// Only names: the [`Lab`](crate::Lab) that made it takes it down.
#[derive(Clone, Debug)]
pub struct Node {
    /// What people call it, for example `web-1`.
    pub name: String,
    /// The namespace, as `ip netns list` shows it.
    pub namespace: String,
    /// The IPv4 address of `eth0`.
    pub v4: Ipv4Addr,
    /// The IPv6 address of `eth0`.
    pub v6: Ipv6Addr,
    /// A directory of its own, gone with the lab.
    pub dir: PathBuf,
}

// === impl Node ===

impl Node {
    /// A command that will run in this node.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program)
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            // What belongs to a boot goes with the lab: nodes are machines on one kernel, and what
            // they leave in /run stays.
            .env("POSTERN_AGENT_WITNESS_DIR", self.dir.with_file_name("run"))
            .env_remove("XDG_CONFIG_HOME");
        command
    }

    /// Runs a program in this node to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn run(&self, words: &[&str]) -> Result<Ran> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        run(self.command(program).args(arguments))
    }

    /// Starts a program that runs beside the test; its log is called `name`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        let number = LOGS.fetch_add(1, Ordering::SeqCst);
        Process::start(command, &self.dir.join(format!("{name}-{number}.log")))
    }

    /// Calls `work` on a thread that lives in this node's network, so that the sockets it makes
    /// belong to the node.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, and what `work` returns.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = Path::new("/run/netns").join(&self.namespace);
        let namespace =
            File::open(&path).with_context(|| format!("no namespace {}", path.display()))?;
        thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a panic in the namespace of {}", self.name))?
        })
    }

    /// A file in the node's directory.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;

        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }
}

/// Its services, and other nodes' as seen from here.
impl Node {
    /// Listens on a TCP port with a greeting and an echo, on both families.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn serve_tcp(&self, port: u16) -> Result<TcpService> {
        let listener = self.within(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?))?;
        Ok(TcpService::new(listener, &self.name))
    }

    /// Listens on a UDP port with an echo, on both families.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn serve_udp(&self, port: u16) -> Result<UdpService> {
        let socket = self.within(|| Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?))?;
        Ok(UdpService::new(socket))
    }

    /// How a TCP port looks from here.
    ///
    /// # Errors
    ///
    /// For anything that is neither an answer nor silence, such as no route.
    pub fn reach(&self, address: impl Into<IpAddr>, port: u16) -> Result<Reach> {
        let address = SocketAddr::new(address.into(), port);
        self.within(|| reach_tcp(address))
    }

    /// How a UDP port with an echo behind it looks from here.
    ///
    /// # Errors
    ///
    /// For anything that is neither an answer nor silence, such as no route.
    pub fn reach_udp(&self, address: impl Into<IpAddr>, port: u16) -> Result<Reach> {
        let address = SocketAddr::new(address.into(), port);
        self.within(|| reach_udp(&any_socket(address)?, address))
    }

    /// Opens a connection to a [`TcpService`] and holds it.
    ///
    /// # Errors
    ///
    /// When the port does not answer.
    pub fn session(&self, address: impl Into<IpAddr>, port: u16) -> Result<Session> {
        let address = SocketAddr::new(address.into(), port);
        self.within(|| Session::open(address))
    }

    /// Sends one datagram from here.
    ///
    /// # Errors
    ///
    /// When the kernel does not take it.
    pub fn send(&self, address: impl Into<IpAddr>, port: u16, payload: &[u8]) -> Result<()> {
        let address = SocketAddr::new(address.into(), port);
        self.within(|| {
            any_socket(address)?.send_to(payload, address)?;
            Ok(())
        })
    }
}

/// Its firewall, as the kernel tells it.
impl Node {
    /// Everything `iptables-save` and `ip6tables-save` print, without counters and comments.
    ///
    /// # Errors
    ///
    /// When the programs fail.
    pub fn rules(&self) -> Result<Vec<String>> {
        let mut rules = Vec::new();
        for program in ["iptables-save", "ip6tables-save"] {
            let saved = self.run(&[program])?.ok()?;
            rules.extend(
                saved
                    .stdout
                    .lines()
                    .filter(|line| !line.starts_with('#') && *line != "COMMIT")
                    .map(str::to_owned),
            );
        }
        Ok(rules)
    }

    /// Every hole, of whichever back end: the elements of kernel sets, as `ipset save` prints them
    /// (`add SET ELEMENT timeout N`).
    ///
    /// Our agent's sets of what was revoked are matched by a rule that drops, so they hold none.
    ///
    /// # Errors
    ///
    /// When `ipset` or `nft` fails.
    pub fn holes(&self) -> Result<Vec<String>> {
        let saved = self.run(&["ipset", "save"])?.ok()?;
        let is_hole = |line: &&str| {
            let mut words = line.split(' ');
            words.next() == Some("add")
                && words
                    .next()
                    .is_some_and(|set| !set.ends_with("_B4") && !set.ends_with("_B6"))
        };
        let of_ipset = saved.stdout.lines().filter(is_hole).map(str::to_owned);
        let tables = self.run(&["nft", "list", "tables"])?.ok()?;
        if !tables.stdout.lines().any(|table| table == OUR_TABLE) {
            return Ok(of_ipset.collect());
        }
        let listed = self
            .run(&["nft", "list", "table", "inet", "postern"])?
            .ok()?;
        Ok(of_ipset.chain(elements(&listed.stdout)).collect())
    }
}

/// The table of our agent's back end for nftables.
const OUR_TABLE: &str = "table inet postern";

/// The elements of sets of holes in what nft lists of our table, as ipset would print them.
fn elements(listed: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut set = "";
    for line in listed.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("set ") {
            set = name.split(' ').next().unwrap_or_default();
        }
        let line = line.strip_prefix("elements = {").unwrap_or(line);
        let is_open = set.starts_with("open") || set.starts_with("wide");
        for element in line.trim_end_matches('}').split(',').filter(|_| is_open) {
            let Some((key, left)) = element.split_once(" expires ") else {
                continue;
            };
            let key = key.split(" timeout ").next().unwrap_or_default().trim();
            if let [address, protocol, port] = key.split(" . ").collect::<Vec<_>>()[..] {
                let secs = seconds(left.trim());
                found.push(format!(
                    "add {set} {address},{protocol}:{port} timeout {secs}"
                ));
            }
        }
    }
    found
}

/// Whole seconds of a time as nft prints it: `1d2h3m4s5ms`.
fn seconds(time: &str) -> u64 {
    let (mut secs, mut number) = (0, 0);
    let mut letters = time.chars().peekable();
    while let Some(letter) = letters.next() {
        let unit = match letter {
            'd' => 86_400,
            'h' => 3_600,
            'm' if letters.peek() == Some(&'s') => break,
            'm' => 60,
            's' => 1,
            digit => {
                number = 10 * number + u64::from(digit.to_digit(10).unwrap_or_default());
                continue;
            }
        };
        secs += unit * number;
        number = 0;
    }
    secs
}

fn any_socket(towards: SocketAddr) -> Result<UdpSocket> {
    let from: IpAddr = if towards.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    Ok(UdpSocket::bind((from, 0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_lists_is_shown_as_ipset_would_print_it() {
        let listed = "\
table inet postern { # progname postern-agent
\tset open4 {
\t\ttype ipv4_addr . inet_proto . inet_service
\t\telements = { 192.0.2.7 . tcp . 22 timeout 1m expires 59s996ms,
\t\t\t     192.0.2.8 . udp . 53 expires 1d2h3m4s }
\t}
\tset barred4 {
\t\telements = { 192.0.2.9 . tcp . 22 timeout 5s expires 4s996ms }
\t}
";
        let expected = [
            "add open4 192.0.2.7,tcp:22 timeout 59",
            "add open4 192.0.2.8,udp:53 timeout 93784",
        ];
        assert_eq!(elements(listed), expected);
    }
}
