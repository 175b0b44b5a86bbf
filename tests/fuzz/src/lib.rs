//! What must hold for whatever bytes arrive: one function for each reader of bytes that others make.
//!
//! A target takes bytes and panics when something that must hold does not: a reader that panics or
//! never ends, a text that means something else once it was written out and read again, an
//! authentic packet out of nothing. Three things call them, all through [`TARGETS`]:
//!
//! - `tests/corpus.rs`, with what is kept in `corpus/` and with random bytes, at every `make test`;
//! - `libfuzzer/`, guided by what the compiler counts: `make fuzz ARGS="packet 10000000"`;
//! - whoever has an input that broke something: a file in `corpus/TARGET/` is a test.
//!
//! | target | reader | made by |
//! |---|---|---|
//! | `frame` | frames of every link type, fragments, HTTP, up to the gate's answer | anybody who can send |
//! | `packet` | a sealed packet against keys that it is not for | anybody who can send |
//! | `message` | what stands behind the HMAC | who has a key |
//! | `gate_model` | the gate beside a plain model of it | members, replays, clocks |
//! | `pcap_file` | a capture file, in pieces | another program, disks |
//! | `netlink` | answers of the kernel | the kernel |
//! | `syn` | SYNs, and files of their signatures | anybody who can send |
//! | `access_conf` | access.conf and a fleet's policy | operators |
//! | `token` | tokens | whoever pastes one |
//! | `audit` | rows and signed notes of an exported log | whoever hands it over |
//! | `event` | bodies and records of events, and what is exported of them | hosts |
#![expect(
    clippy::indexing_slicing,
    reason = "a panic is how a target says that something does not hold"
)]

mod access_conf;
mod audit;
mod event;
mod frame;
mod gate_model;
mod message;
mod netlink;
mod packet;
mod pcap_file;
mod scene;
mod syn;
mod token;

/// One reader and what must hold for it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and the name of the folder of its corpus.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub check: fn(&[u8]),
}

/// Every target, by name.
pub const TARGETS: [Target; 11] = [
    Target::new("access_conf", access_conf::check),
    Target::new("audit", audit::check),
    Target::new("event", event::check),
    Target::new("frame", frame::check),
    Target::new("gate_model", gate_model::check),
    Target::new("message", message::check),
    Target::new("netlink", netlink::check),
    Target::new("packet", packet::check),
    Target::new("pcap_file", pcap_file::check),
    Target::new("syn", syn::check),
    Target::new("token", token::check),
];

// === impl Target ===

impl Target {
    const fn new(name: &'static str, check: fn(&[u8])) -> Self {
        Self { name, check }
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }
}
