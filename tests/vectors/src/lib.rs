//! Golden vectors: packets of Debian's fwknop 2.6.10, and what its fwknopd did with each.
//!
//! `README.md` beside this crate says what every field means and how the files were made. Tests of
//! the packet, the gate, the client and the suite read them here, so that there is one reader and
//! one place where they lie. The files are compiled in: a test needs no path.
#![expect(
    clippy::missing_panics_doc,
    reason = "for tests only: a vector that cannot be read ends the test"
)]

pub mod gnupg;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The text of `valid.json`, for a test that reads other fields than [`Valid`] has.
pub const VALID_JSON: &str = include_str!("../valid.json");

/// The text of `invalid.json`, for a test that reads other fields than [`Invalid`] has.
pub const INVALID_JSON: &str = include_str!("../invalid.json");

const TRANSPORT_JSON: &str = include_str!("../transport.json");

/// A packet that the real client made.
#[derive(Debug, Deserialize)]
pub struct Valid {
    /// Names the vector in the files and in the lists of exceptions of the tests.
    pub name: String,
    /// How the client was called, its own name first.
    pub args: Vec<String>,
    /// Variables of the client's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What was written to the client's standard input.
    pub stdin: Option<String>,
    /// The text of the rc file that `args` names.
    pub rc_file: Option<String>,
    /// Other files that `args` names, by path.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The passphrase, where it was given as text.
    pub key: Option<String>,
    /// The encryption key, where it was given in base64.
    pub key_base64: Option<String>,
    /// The HMAC key, where it was given as text.
    pub hmac_key: Option<String>,
    /// The HMAC key, where it was given in base64.
    pub hmac_key_base64: Option<String>,
    /// The hash function of the HMAC; none: the packet has no HMAC.
    pub hmac_type: Option<String>,
    /// The mode of the cipher, as `ENCRYPTION_MODE` of access.conf names it.
    pub encryption_mode: String,
    /// `rijndael` or `gpg`.
    pub encryption_type: String,
    /// The hash function of the digest inside.
    pub digest_type: String,
    /// The text on the wire, HMAC included.
    pub packet: String,
    /// The salt of the packet, in hexadecimal; none for GPG.
    pub salt_hex: Option<String>,
    /// What is encrypted.
    pub plaintext: Option<String>,
    /// The fields inside.
    pub expected: Expected,
    /// The stanzas that the real server had.
    pub access_conf: String,
    /// Whether the real server let the packet in.
    pub fwknopd_accepts: bool,
    /// The rules that the real server left in its chains, as `iptables -S` prints them.
    pub fwknopd_rules: Vec<String>,
}

/// The fields of a packet as the real client printed them.
#[derive(Debug, Deserialize)]
pub struct Expected {
    /// Sixteen decimal digits.
    pub random: String,
    /// The name of the user.
    pub username: String,
    /// The date of the message, seconds since the epoch.
    pub timestamp: u64,
    /// The version of the protocol.
    pub version: String,
    /// 0 to 6.
    pub message_type: u8,
    /// The request: address and ports, or address and command.
    pub message: String,
    /// The NAT field: host and port.
    pub nat_access: Option<String>,
    /// The lifetime that the client asks for, seconds; 0: none.
    pub client_timeout: u32,
    /// The digest inside, in base64 without padding.
    pub digest: String,
}

/// A packet that was changed, or a case of policy, replay or age, with what the real server did.
#[derive(Debug, Deserialize)]
pub struct Invalid {
    /// Names the vector in the file and in the lists of exceptions of the tests.
    pub name: String,
    /// What is asked of us: `rejected`, `control`, `lenient` or `bypass` (README.md).
    pub category: String,
    /// The check at which the real server refused, or would have had to.
    pub stage: String,
    /// The stanzas that the real server had.
    pub access_conf: String,
    /// What its fwknopd.conf said beyond the defaults, `VARIABLE value` separated by semicolons.
    pub fwknopd_conf_extra: String,
    /// A packet that the server was sent first, in the same run.
    pub sent_before: Option<String>,
    /// The server's clock, seconds since the epoch, where the case is about age.
    pub server_clock: Option<u64>,
    /// The address that the packet came from, where it is not the usual one.
    pub source_ip: Option<String>,
    /// The rules that the real server left; none: not written down.
    pub fwknopd_rules: Option<Vec<String>>,
    packet: Option<String>,
    packet_hex: Option<String>,
}

/// IP packets of one call of the real client, captured on the server's side of a veth pair.
#[derive(Debug, Deserialize)]
pub struct Transported {
    /// Names the vector.
    pub name: String,
    /// The passphrase.
    pub key: String,
    /// The HMAC key, for SHA-256.
    pub hmac_key: String,
    /// What was on the wire; the first carries the SPA packet.
    pub frames: Vec<Frame>,
    /// Whether the real server let the packet in.
    pub fwknopd_accepts: bool,
}

/// One IP packet and what a reader that is not ours saw in it.
#[derive(Debug, Deserialize)]
pub struct Frame {
    /// The source address.
    pub src: String,
    /// The destination address.
    pub dst: String,
    /// The number of the transport protocol: 1 ICMP, 6 TCP, 17 UDP.
    pub protocol: u8,
    /// The source port; none for ICMP.
    pub sport: Option<u16>,
    /// The destination port; none for ICMP.
    pub dport: Option<u16>,
    /// What the transport carried.
    pub payload: String,
    /// The whole packet from the IP header on, in hexadecimal.
    pub ip_packet_hex: String,
}

/// Every packet of the real client.
pub fn valid() -> Vec<Valid> {
    read(VALID_JSON)
}

/// Those of [`valid`] that GnuPG made: eleven.
///
/// # Panics
///
/// When the file is not what it was, which is a mistake of this repository.
#[must_use]
pub fn of_gnupg() -> Vec<Valid> {
    let mut vectors = valid();
    vectors.retain(|vector| vector.encryption_type == "gpg");
    assert_eq!(vectors.len(), 11);
    vectors
}

/// Every changed packet and every case of policy, replay and age.
pub fn invalid() -> Vec<Invalid> {
    read(INVALID_JSON)
}

/// Every captured call of the real client.
pub fn transported() -> Vec<Transported> {
    read(TRANSPORT_JSON)
}

fn read<T: DeserializeOwned>(json: &str) -> Vec<T> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("a golden vector: {error}"))
}

// === impl Invalid ===

impl Invalid {
    /// The bytes on the wire, which some mutations made no text.
    pub fn packet(&self) -> Vec<u8> {
        match (&self.packet_hex, &self.packet) {
            (Some(packet), _) => {
                hex::decode(packet).unwrap_or_else(|error| panic!("{}: {error}", self.name))
            }
            (None, Some(packet)) => packet.clone().into_bytes(),
            (None, None) => panic!("{}: no packet", self.name),
        }
    }
}
