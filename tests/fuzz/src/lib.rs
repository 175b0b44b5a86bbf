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
//! | `domain_messages` | what the agent's processes say of the packet filter | a gate, or a firewall domain, that was taken over |
//! | `capture_domain` | what the capture domain hands on | a capture domain that was taken over |
//! | `payload` | what stands behind UDP, TCP and ICMP: packets, requests, X-Forwarded-For | anybody who can send |
//! | `knocks` | knock sequences | anybody who can send |
//! | `tcp_server` | connections to the TCP server, in pieces | anybody who can send |
//! | `open_pgp` | messages of OpenPGP, and the files of a GnuPG home | who has a key; disks |
//! | `syn` | SYNs, and files of their signatures | anybody who can send |
//! | `access_conf` | access.conf and a fleet's policy | operators |
//! | `fwknopd_conf`, `agent_toml`, `controller_toml` | configurations | operators, fwknopd |
//! | `fwknoprc` | rc files of fwknop's client | users |
//! | `firewall_text` | what iptables and the kernel print | whoever names chains |
//! | `journal` | a damaged journal | disks |
//! | `kept_file` | what an earlier run or fwknopd has left | disks, backups |
//! | `host_policy` | what a controller tells a host to enforce | a controller that was taken over |
//! | `answers` | answers to the commands of `postern` | a controller that was taken over |
//! | `rpc` | the message of every RPC, up to the database | members, and whoever reaches the port |
//! | `token` | tokens | whoever pastes one |
//! | `audit` | rows and signed notes of an exported log | whoever hands it over |
//! | `export` | `postern audit verify FILE` | whoever hands it over |
//! | `event` | bodies and records of events, and what is exported of them | hosts |
#![expect(
    clippy::indexing_slicing,
    reason = "a panic is how a target says that something does not hold"
)]

mod access_conf;
mod answers;
mod audit;
mod capture_domain;
mod configuration;
mod domain_messages;
mod event;
mod export;
mod firewall_text;
mod frame;
mod gate_model;
mod host_policy;
mod journal;
mod kept_file;
mod knocks;
mod message;
mod netlink;
mod open_pgp;
mod packet;
mod payload;
mod pcap_file;
mod rc;
mod rpc;
mod scene;
mod syn;
mod tcp_server;
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
pub const TARGETS: [Target; 28] = [
    Target::new("access_conf", access_conf::check),
    Target::new("agent_toml", configuration::agent_toml),
    Target::new("answers", answers::check),
    Target::new("audit", audit::check),
    Target::new("capture_domain", capture_domain::check),
    Target::new("controller_toml", configuration::controller_toml),
    Target::new("domain_messages", domain_messages::check),
    Target::new("event", event::check),
    Target::new("export", export::check),
    Target::new("firewall_text", firewall_text::check),
    Target::new("frame", frame::check),
    Target::new("fwknopd_conf", configuration::fwknopd_conf),
    Target::new("fwknoprc", rc::check),
    Target::new("gate_model", gate_model::check),
    Target::new("host_policy", host_policy::check),
    Target::new("journal", journal::check),
    Target::new("kept_file", kept_file::check),
    Target::new("knocks", knocks::check),
    Target::new("message", message::check),
    Target::new("netlink", netlink::check),
    Target::new("open_pgp", open_pgp::check),
    Target::new("packet", packet::check),
    Target::new("payload", payload::check),
    Target::new("pcap_file", pcap_file::check),
    Target::new("rpc", rpc::check),
    Target::new("syn", syn::check),
    Target::new("tcp_server", tcp_server::check),
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
