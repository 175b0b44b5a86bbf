//! The namespaces of one test, made together and swept away together.
//!
//! A lab is called `pt<pid>x<number>`; every namespace begins with that name and everything on disk
//! is in one directory of that name. So whatever is left when a test program was killed can be told
//! from the labs of the living, and the next one to start sweeps it away.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::shell::run;
use crate::{Node, Result, machine, wait};

static NUMBERS: AtomicUsize = AtomicUsize::new(0);
static ALIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Set when a signal ends the program: what fails from then on fails because its lab is being taken
/// away.
static ENDING: AtomicBool = AtomicBool::new(false);
static START: Once = Once::new();

/// A bridge and the nodes on it.
///
/// Goes, with everything in it, when the value is dropped, also by a panic, and when the program
/// receives SIGINT, SIGTERM or SIGHUP.
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: PathBuf,
}

/// Runs `story` in a lab of its own; when it fails, prints every log of every process and panics
/// with the reason.
///
/// # Panics
///
/// When `story` fails: this is what a test calls.
#[expect(
    clippy::print_stderr,
    reason = "the logs of a failed test are for a person"
)]
pub fn in_lab(story: impl FnOnce(&Lab) -> Result<()>) {
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(error) => panic!("no lab: {error:#}"),
    };
    if let Err(error) = story(&lab) {
        eprintln!("{}", lab.logs());
        drop(lab);
        panic!("{error:#}");
    }
}

// === impl Lab ===

impl Lab {
    /// An empty network.
    ///
    /// # Errors
    ///
    /// When not root, when the kernel refuses namespaces, or a needed program is missing.
    pub fn new() -> Result<Self> {
        START.call_once(|| {
            sweep(Whose::Dead);
            clean_on_signals();
        });
        machine::require_root()?;
        machine::require(&["ip", "iptables", "ip6tables", "ipset", "nft"])?;

        let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
        let name = format!("pt{}x{number}", std::process::id());
        alive(|alive| alive.push(name.clone()));
        let lab = Self {
            dir: labs_dir().join(&name),
            name,
        };
        fs::create_dir_all(&lab.dir).context("cannot make the lab's directory")?;
        let switch = lab.namespace("sw");
        run(Command::new("ip").args(["netns", "add", &switch]))?
            .ok()
            .context(
                "cannot make a network namespace: is this a container without CAP_SYS_ADMIN?",
            )?;
        batch(
            &switch,
            "link set lo up\n\
             link add br0 type bridge mcast_snooping 0\n\
             link set br0 up\n",
        )?;
        Ok(lab)
    }

    /// A new machine on the bridge, at 192.0.2.`number` and 2001:db8::`number`.
    ///
    /// # Errors
    ///
    /// When the name or the number is taken.
    pub fn node(&self, name: &str, number: u8) -> Result<Node> {
        stand_still_if_ending();
        let node = Node {
            name: name.to_owned(),
            namespace: self.namespace(name),
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)),
            dir: self.dir.join(name),
        };
        fs::create_dir(&node.dir).with_context(|| format!("a second node {name}"))?;
        run(Command::new("ip").args(["netns", "add", &node.namespace]))?.ok()?;
        self.attach(&node, "eth0", "br0", number)?;
        batch(
            &node.namespace,
            &format!(
                "link set lo up\n\
                 addr add {}/24 dev eth0\n\
                 addr add {}/64 dev eth0 nodad\n",
                node.v4, node.v6
            ),
        )?;
        Ok(node)
    }

    /// A second interface `eth1` of a node, at 198.51.100.`number`, on a wire to `peer`'s `eth1`.
    ///
    /// # Errors
    ///
    /// When one of them has an `eth1` already.
    pub fn second_wire(&self, node: &Node, peer: &Node) -> Result<(Ipv4Addr, Ipv4Addr)> {
        let mut link = String::from("link add eth1 type veth peer name eth1 netns ");
        let _ = writeln!(link, "{}", peer.namespace);
        let [.., ours] = node.v4.octets();
        let [.., theirs] = peer.v4.octets();
        let (ours, theirs) = (
            Ipv4Addr::new(198, 51, 100, ours),
            Ipv4Addr::new(198, 51, 100, theirs),
        );
        batch(
            &node.namespace,
            &format!("{link}addr add {ours}/24 dev eth1\nlink set eth1 up\n"),
        )?;
        batch(
            &peer.namespace,
            &format!("addr add {theirs}/24 dev eth1\nlink set eth1 up\n"),
        )?;
        Ok((ours, theirs))
    }

    /// Mounts a file system of `bytes` bytes below the node's directory, gone with the lab.
    ///
    /// # Errors
    ///
    /// When it cannot be mounted.
    pub fn small_disk(&self, node: &Node, name: &str, bytes: usize) -> Result<PathBuf> {
        let path = node.dir.join(name);
        fs::create_dir_all(&path)?;
        let options = format!("size={bytes},mode=700");
        nix::mount::mount(
            Some("tmpfs"),
            &path,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(options.as_str()),
        )
        .context("cannot mount a small disk")?;
        Ok(path)
    }

    /// What its namespaces and its directory are called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the lab keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every process log of the lab, under headings.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for node in entries(&self.dir) {
            let mut logs = entries(&node);
            logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
            for log in logs {
                let said = fs::read(&log).unwrap_or_default();
                let shown = log.strip_prefix(&self.dir).unwrap_or(&log);
                let _ = writeln!(
                    text,
                    "===== {}\n{}",
                    shown.display(),
                    String::from_utf8_lossy(&said)
                );
            }
        }
        text
    }

    fn namespace(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    fn attach(&self, node: &Node, interface: &str, bridge: &str, number: u8) -> Result<()> {
        let port = format!("p{number}");
        batch(
            &self.namespace("sw"),
            &format!(
                "link add {port} type veth peer name {interface} netns {}\n\
                 link set {port} master {bridge}\n\
                 link set {port} up\n",
                node.namespace
            ),
        )?;
        batch(&node.namespace, &format!("link set {interface} up\n"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        stand_still_if_ending();
        remove(&self.name);
        alive(|alive| alive.retain(|name| *name != self.name));
    }
}

/// Which labs a sweep takes away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// Those whose program no longer runs.
    Dead,
    /// All there are, on the whole machine.
    Anyones,
}

/// Takes away labs that a killed program left, and says how many.
pub fn sweep(whose: Whose) -> usize {
    let mut found: Vec<String> = entries(Path::new("/run/netns"))
        .into_iter()
        .chain(entries(&labs_dir()))
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let lab = name.split('-').next()?;
            owner(lab).map(|_| lab.to_owned())
        })
        .filter(|lab| {
            whose == Whose::Anyones
                || owner(lab).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        })
        .collect();
    found.sort();
    found.dedup();
    for lab in &found {
        remove(lab);
    }
    found.len()
}

/// The process id in a lab's name; `None` for names that are no lab's.
fn owner(lab: &str) -> Option<u32> {
    let (pid, number) = lab.strip_prefix("pt")?.split_once('x')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

fn labs_dir() -> PathBuf {
    PathBuf::from("/tmp/postern-labs")
}

fn alive(change: impl FnOnce(&mut Vec<String>)) {
    change(&mut ALIVE.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Ends every process in the lab's namespaces and removes these, its mounts and its files.
///
/// Only names are needed, so it works for a lab of a dead program too. Failures are passed over:
/// there may be nothing left to remove.
fn remove(lab: &str) {
    let ours = format!("{lab}-");
    let namespaces: Vec<String> = entries(Path::new("/run/netns"))
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.starts_with(&ours))
        .collect();
    for namespace in &namespaces {
        end_processes(namespace);
    }
    for namespace in &namespaces {
        let _ = run(Command::new("ip").args(["netns", "del", namespace]));
    }
    let dir = labs_dir().join(lab);
    unmount_below(&dir);
    let _ = fs::remove_dir_all(&dir);
    let _ = fs::remove_dir(labs_dir());
}

fn end_processes(namespace: &str) {
    let _ = wait::until("the processes to end", Duration::from_secs(5), || {
        let pids = run(Command::new("ip").args(["netns", "pids", namespace]))?.stdout;
        let ours = std::process::id().to_string();
        let mut left = pids.lines().filter(|pid| *pid != ours).peekable();
        let none = left.peek().is_none();
        for pid in left.filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        Ok(none)
    });
}

fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(point).starts_with(dir) {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Keeps a thread from making or removing more while the thread that took a signal cleans up and
/// ends the program.
fn stand_still_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

fn clean_on_signals() {
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else {
        return;
    };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            ENDING.store(true, Ordering::SeqCst);
            let mut left = Vec::new();
            alive(|alive| left = alive.clone());
            // Twice: the other threads stand still at their next step, but one may be in the middle
            // of one.
            for lab in &left {
                remove(lab);
            }
            thread::sleep(Duration::from_millis(300));
            for lab in &left {
                remove(lab);
            }
            std::process::exit(128 + signal);
        }
    });
}

/// Runs several `ip` commands inside a namespace with one process.
fn batch(namespace: &str, commands: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-n", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `ip`: is iproute2 installed?")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    crate::shell::ran(format!("ip -n {namespace} -batch:\n{commands}"), &output).ok()?;
    Ok(())
}
