//! `tcpdump`, and the datagrams it caught.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Context;
use nix::sys::signal::Signal;

use crate::{Node, Process, Result, machine, wait};

/// A running `tcpdump` in one node.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// One UDP datagram as it passed the wire.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caught {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// The receiver's port.
    pub port: u16,
    /// What it carried.
    pub payload: Vec<u8>,
}

// === impl Capture ===

impl Capture {
    /// Starts catching what `filter` (in pcap's language) lets through, and waits until it does.
    ///
    /// # Errors
    ///
    /// When `tcpdump` does not come up.
    pub fn start(node: &Node, filter: &str) -> Result<Self> {
        machine::require(&["tcpdump"])?;
        let file = node.dir.join("capture.pcap");
        let mut command = node.command("tcpdump");
        command.args([
            "-i",
            "eth0",
            "-U",
            "--immediate-mode",
            "-n",
            "-Z",
            "root",
            "-w",
        ]);
        command.arg(&file).arg(filter);
        let mut process = node.start("tcpdump", &mut command)?;
        process.wait_for("listening on", wait::SOON)?;
        Ok(Self { process, file })
    }

    /// The datagrams so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn datagrams(&self) -> Result<Vec<Caught>> {
        let bytes = fs::read(&self.file).context("no capture file")?;
        Ok(frames(&bytes).filter_map(udp).collect())
    }

    /// Waits for the `count`-th datagram (from 1).
    ///
    /// # Errors
    ///
    /// When it does not come.
    pub fn nth(&self, count: usize) -> Result<Caught> {
        let what = format!("datagram {count} in the capture");
        let (caught, _) = wait::some(&what, wait::SOON, || {
            Ok(self.datagrams()?.into_iter().nth(count - 1))
        })?;
        Ok(caught)
    }

    /// The file, for programs that read pcap files.
    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    /// Ends it, so that the file is complete.
    ///
    /// # Errors
    ///
    /// When `tcpdump` does not end.
    pub fn stop(mut self) -> Result<PathBuf> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(wait::SOON)?;
        Ok(self.file)
    }
}

/// The frames of a pcap file in the byte order of this machine; a torn last one is left out.
fn frames(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    const FILE_HEADER: usize = 24;
    const FRAME_HEADER: usize = 16;

    let mut rest = file.get(FILE_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = rest.get(8..12)?.try_into().ok().map(u32::from_le_bytes)?;
        let end = FRAME_HEADER + usize::try_from(length).ok()?;
        let frame = rest.get(FRAME_HEADER..end)?;
        rest = rest.get(end..)?;
        Some(frame)
    })
}

/// The UDP datagram in an Ethernet frame, if it is one without extension headers.
fn udp(frame: &[u8]) -> Option<Caught> {
    const ETHERNET: usize = 14;
    const UDP: u8 = 17;

    let packet = frame.get(ETHERNET..)?;
    let (source, destination, protocol, datagram) = match frame.get(12..ETHERNET)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (
                IpAddr::from(Ipv4Addr::from(source)),
                IpAddr::from(Ipv4Addr::from(destination)),
                *packet.get(9)?,
                packet.get(header..)?,
            )
        }
        [0x86, 0xdd] => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (
                IpAddr::from(Ipv6Addr::from(source)),
                IpAddr::from(Ipv6Addr::from(destination)),
                *packet.get(6)?,
                packet.get(40..)?,
            )
        }
        _ => return None,
    };
    if protocol != UDP {
        return None;
    }
    let length = usize::from(u16::from_be_bytes(datagram.get(4..6)?.try_into().ok()?));
    Some(Caught {
        source,
        destination,
        port: u16::from_be_bytes(datagram.get(2..4)?.try_into().ok()?),
        payload: datagram.get(8..length)?.to_vec(),
    })
}
