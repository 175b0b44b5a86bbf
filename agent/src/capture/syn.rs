//! A second look at where packets come from, for SYNs and for the packets of knock sequences: only while a
//! stanza in force asks for it.
//!
//! Interfaces and capture files are opened once more, with a filter of their own, so that the filter
//! for SPA packets stays as narrow as it is and costs no more. A socket sees neither.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gate::LinkType;
use nix::poll::PollFd;
use serde::{Deserialize, Serialize};

use super::{Arrival, Capture, CaptureConfig, CaptureError, CaptureSource, Filter, open};
use crate::network::Links;

/// A SYN and nothing else beside it, of those four flags that p0f goes by. Where pcap-filter(7) does not look
/// behind extension headers, signatures do not either.
const SYNS: &str = "(tcp[13] & 0x17 = 2) or (ip6[6] = 6 and ip6[53] & 0x17 = 2)";
/// What a knock sequence is made of: empty datagrams and SYNs to the upper half of the ports.
const KNOCKS: &str = "(udp[4:2] = 8 and udp[2:2] >= 0x8000) \
    or (ip6[6] = 17 and ip6[44:2] = 8 and ip6[42:2] >= 0x8000) \
    or (tcp[13] & 0x17 = 2 and tcp[2:2] >= 0x8000) \
    or (ip6[6] = 6 and ip6[53] & 0x17 = 2 and ip6[42:2] >= 0x8000)";
/// Of each interface. A SYN is short: some thousands.
const BUFFER_BYTES: u32 = 1 << 20;
/// Taken at once. Keeping one costs less than a tenth of what judging a packet costs.
const BATCH_MAX: usize = 2048;

/// Where no source shows any.
const NO_SUCH_SOURCE: &str =
    "neither sockets nor NFLOG show SYNs and knocks: capture on an interface";

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wanted {
    /// SYNs.
    pub syns: bool,
    /// The packets of knock sequences.
    pub knocks: bool,
}

/// What shows the SYNs, wherever it looks from.
pub trait Syns: Send + fmt::Debug {
    /// Looks for this from now on, or for nothing any more.
    fn follow(&mut self, wanted: Wanted);

    /// Why SYNs are not seen though they should be.
    fn faults(&self) -> Vec<String>;

    /// Hands on what has arrived; says what has just gone down.
    fn next_batch(&mut self, steady: Duration, each: &mut dyn FnMut(Arrival<'_>));

    /// Adds what is readable when something may have arrived.
    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>);

    /// After this time there may be something to do though the descriptors are silent.
    fn retry_in(&self, steady: Duration) -> Option<Duration>;

    /// Interfaces have come, gone or changed.
    fn links_changed(&mut self, links: &Links);
}

/// What shows the SYNs, where it can be had.
#[derive(Debug, Default)]
pub struct SynCaptures {
    /// Everything that could show some.
    configs: Vec<CaptureConfig>,
    open: Vec<Box<dyn Capture>>,
    /// Why some of it cannot.
    faults: Vec<String>,
    wanted: Wanted,
}

// === impl SynCaptures ===

impl SynCaptures {
    /// Prepares for the sources that are captured on; opens nothing yet.
    #[must_use]
    pub fn of(captures: &[CaptureConfig]) -> Self {
        let can = |source: &CaptureSource| match source {
            CaptureSource::Interface(_) | CaptureSource::File { .. } => true,
            CaptureSource::Nflog(_) | CaptureSource::Socket(_) | CaptureSource::TcpServer(_) => {
                false
            }
        };
        let configs = captures.iter().filter(|config| can(&config.source));
        let configs = configs.map(|config| CaptureConfig {
            buffer_bytes: BUFFER_BYTES,
            // How far it has read is for this second look to know alone.
            bookmark: config.bookmark.with_added_extension("syns"),
            ..config.clone()
        });
        Self {
            configs: configs.collect(),
            ..Self::default()
        }
    }
}

impl Syns for SynCaptures {
    fn follow(&mut self, wanted: Wanted) {
        if std::mem::replace(&mut self.wanted, wanted) == wanted {
            return;
        }
        self.open.clear();
        self.faults.clear();
        let Some(filter) = wanted.filter() else {
            return;
        };
        for config in &self.configs {
            let config = CaptureConfig {
                filter: Filter::Own(filter.clone()),
                ..config.clone()
            };
            match open(&config) {
                Ok(capture) => self.open.push(capture),
                Err(cause) => self.faults.push(program::one_line(&cause).to_string()),
            }
        }
        if self.configs.is_empty() {
            self.faults.push(NO_SUCH_SOURCE.to_owned());
        }
        for fault in &self.faults {
            tracing::error!(fault, "neither SYNs nor knock sequences are seen there");
        }
    }

    fn faults(&self) -> Vec<String> {
        let down = self.open.iter().filter_map(|capture| {
            let why = capture.down()?;
            Some(format!("{}: {why}", capture.name()))
        });
        self.faults.iter().cloned().chain(down).collect()
    }

    fn next_batch(&mut self, steady: Duration, each: &mut dyn FnMut(Arrival<'_>)) {
        for capture in &mut self.open {
            if let Err(cause) = capture.next_batch(BATCH_MAX, steady, each) {
                let error = program::one_line(&cause);
                tracing::error!(%error, "neither SYNs nor knock sequences are seen there any more; it is tried again");
            }
        }
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        for capture in &self.open {
            capture.poll_fds(fds);
        }
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        let retries = self
            .open
            .iter()
            .filter_map(|capture| capture.retry_in(steady));
        retries.min()
    }

    fn links_changed(&mut self, links: &Links) {
        for capture in &mut self.open {
            capture.links_changed(links);
        }
    }
}

// === impl Wanted ===

impl Wanted {
    fn filter(self) -> Option<String> {
        let parts = [(self.syns, SYNS), (self.knocks, KNOCKS)];
        let parts = parts.into_iter().filter(|(is_wanted, _)| *is_wanted);
        let filter: Vec<&str> = parts.map(|(_, part)| part).collect();
        (!filter.is_empty()).then(|| filter.join(" or "))
    }
}

/// Hands on every frame of a capture file that holds a SYN.
///
/// # Errors
///
/// [`CaptureError`] when it cannot be read, or this agent was built without libpcap.
pub fn each_syn(path: &Path, each: &mut dyn FnMut(LinkType, &[u8])) -> Result<(), CaptureError> {
    let mut file = open(&CaptureConfig {
        source: CaptureSource::File {
            path: path.to_owned(),
            follow: false,
        },
        filter: Filter::Own(SYNS.to_owned()),
        buffer_bytes: BUFFER_BYTES,
        promiscuous: false,
        any_direction: false,
        bookmark: PathBuf::new(),
    })?;
    let mut take = |arrival: Arrival<'_>| match arrival {
        Arrival::Frame(link, frame) | Arrival::Seen(link, frame) => each(link, frame),
        Arrival::Datagram(_) => {}
    };
    while file.next_batch(BATCH_MAX, Duration::ZERO, &mut take)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const WANTED: Wanted = Wanted {
        syns: true,
        knocks: false,
    };

    fn config(source: CaptureSource) -> CaptureConfig {
        CaptureConfig {
            source,
            filter: Filter::for_port(62_201),
            buffer_bytes: 1 << 20,
            promiscuous: false,
            any_direction: false,
            bookmark: PathBuf::new(),
        }
    }

    #[test]
    fn a_socket_shows_no_syn_and_that_is_said_once_somebody_asks() {
        let socket: SocketAddr = "127.0.0.1:62201".parse().unwrap();
        let mut syns = SynCaptures::of(&[config(CaptureSource::Socket(socket))]);
        assert!(syns.faults().is_empty());

        syns.follow(WANTED);

        assert_eq!(syns.faults(), [NO_SUCH_SOURCE]);
        syns.follow(Wanted::default());
        assert!(syns.faults().is_empty());
    }

    #[cfg(feature = "pcap")]
    #[test]
    fn of_a_capture_file_the_syns_are_handed_on_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pcap");
        // A raw packet with a flag byte each: SYN, SYN+ACK, SYN with ECE and CWR, RST.
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0, 0, 4, 0, 101, 0, 0, 0]);
        for flags in [0x02, 0x12, 0xc2, 0x04] {
            let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1];
            packet.extend([192, 0, 2, 2, 0x9c, 0x40, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0]);
            packet.extend([0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
            bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0]);
            bytes.extend(packet);
        }
        std::fs::write(&path, bytes).unwrap();
        let file = CaptureSource::File {
            path,
            follow: false,
        };
        let mut syns = SynCaptures::of(&[config(file)]);
        let mut seen = Vec::new();

        syns.next_batch(Duration::ZERO, &mut |_| panic!("nobody asked"));
        syns.follow(WANTED);
        syns.next_batch(Duration::ZERO, &mut |arrival| {
            if let Arrival::Frame(_, frame) = arrival {
                seen.push(frame[33]);
            }
        });

        assert_eq!(seen, [0x02, 0xc2]);
    }
}
