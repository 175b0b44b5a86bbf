//! The smallest program that opens a hole: it waits for a datagram, and has the kernel add its sender to a set. With a
//! file it syncs one block of that before, as everyone must whose grants are to outlive a loss of power.
//!
//! It asks for no key and forgets nothing because it remembers nothing. What it takes is what this machine and its disk
//! take, so what a server takes is judged beside it, in the same run. It is this program once more, on the server's side.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use harness::wait;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::arena::Arena;
use crate::servers::Running;

/// Of the file, bytes.
pub(crate) const SYNCED: usize = 4_096;
/// What it says when it listens.
const READY: &str = "the floor listens";
/// Its set.
const SET: &str = "floor";
/// How long a hole is open, seconds: longer than it is measured.
const OPEN_SECS: u32 = 30;

/// Starts it on a clean firewall, and waits until it listens.
pub(crate) fn start(arena: &Arena, syncs: bool) -> anyhow::Result<Running> {
    arena.reset_firewall()?;
    let node = &arena.server;
    arena.accept_from_set(SET)?;
    let mut command = node.command(std::env::current_exe()?);
    command
        .arg("--floor")
        .arg(arena.target.spa_port.to_string());
    if syncs {
        command.arg("--floor-syncs").arg(node.dir.join("floor"));
    }
    let mut process = node.start("floor", &mut command)?;
    process.wait_for(READY, wait::SOON)?;
    Ok(Running { process })
}

/// Is that program, until it is killed.
#[expect(clippy::print_stderr, reason = "who started it waits for these words")]
pub(crate) fn serve(port: u16, synced: Option<&Path>) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let file = synced.map(File::create).transpose()?;
    let kernel = Kernel::open()?;
    eprintln!("{READY}");
    let mut datagram = [0; 2_048];
    loop {
        let (_, SocketAddr::V4(sender)) = socket.recv_from(&mut datagram)? else {
            bail!("a datagram of another family");
        };
        if let Some(file) = &file {
            file.write_all_at(&[7; SYNCED], 0)?;
            file.sync_data()?;
        }
        kernel.open_for(*sender.ip())?;
    }
}

/// Who keeps the set, through netlink.
struct Kernel(OwnedFd);

// === impl Kernel ===

impl Kernel {
    fn open() -> anyhow::Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let kind = (
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
        );
        Ok(Self(socket(kind.0, kind.1, kind.2, protocol)?))
    }

    fn open_for(&self, sender: Ipv4Addr) -> anyhow::Result<()> {
        let fd = self.0.as_raw_fd();
        send(fd, &addition(sender), MsgFlags::empty())?;
        let mut answer = [0; 256];
        let length = recv(fd, &mut answer, MsgFlags::empty())?;
        // Behind the header of an answer is its errno, negative.
        let errno = answer.get(16..20).filter(|_| length >= 20);
        let errno = errno.context("the kernel's answer is too short")?;
        anyhow::ensure!(errno == [0; 4], "the kernel refuses: {errno:?}");
        Ok(())
    }
}

/// The message that adds an address to the set (linux/netlink.h, linux/netfilter/ipset/ip_set.h).
fn addition(sender: Ipv4Addr) -> Vec<u8> {
    /// `NFNL_SUBSYS_IPSET`, `IPSET_CMD_ADD`.
    const TYPE: u16 = 6 << 8 | 9;
    /// `NLM_F_REQUEST`, `NLM_F_ACK`.
    const FLAGS: u16 = 1 | 4;
    const NESTED: u16 = 0x8000;
    const BIG_ENDIAN: u16 = 0x4000;
    let address = attribute(1 | BIG_ENDIAN, &sender.octets());
    let data = [
        attribute(1 | NESTED, &address),
        attribute(6 | BIG_ENDIAN, &OPEN_SECS.to_be_bytes()),
    ];
    let attributes = [
        attribute(1, &[6]),
        attribute(2, format!("{SET}\0").as_bytes()),
        attribute(7 | NESTED, &data.concat()),
    ];
    // Of family AF_INET, version 0, for no resource.
    let body = [vec![2, 0, 0, 0], attributes.concat()].concat();
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(TYPE.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    // Sequence and port: nobody looks at them here.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// An attribute, filled up to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(0);
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}
