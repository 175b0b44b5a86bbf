//! Stanzas and packets in bulk, the same for every server.

use std::fmt::Write as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};
use spa::{
    Allow, DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, Message, MessageType,
    ProtoPort, Request, Secret,
};

use crate::clock;

/// The port behind which the echo answers.
pub(crate) const ECHO: &str = "udp/7777";
pub(crate) const ECHO_PORT: u16 = 7777;

/// Which form a packet has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// fwknop's own.
    Stock,
    /// With our tag in front.
    Tagged,
}

/// A number of stanzas with keys of their own, numbered from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyring {
    pub(crate) stanzas: u32,
    /// For how long a grant stays open, in seconds.
    pub(crate) timeout_secs: u32,
    /// Tells keyrings apart, so that one's packets are junk to another.
    pub(crate) seed: u8,
    /// Groups of stanzas with an SPA port of their own; 0 when all share the host's.
    pub(crate) spa_ports: u16,
    /// Added to every stanza of every server.
    pub(crate) more: &'static str,
}

/// The SPA port of the first group.
const FIRST_SPA_PORT: u16 = 40_000;

// === impl Keyring ===

impl Keyring {
    pub(crate) const fn new(stanzas: u32, timeout_secs: u32) -> Self {
        Self {
            stanzas,
            timeout_secs,
            seed: 0,
            spa_ports: 0,
            more: "",
        }
    }

    /// The SPA port of stanza `number`.
    pub(crate) fn spa_port(self, number: u32) -> u16 {
        let group = number.checked_rem(self.spa_ports.into());
        group
            .and_then(|group| u16::try_from(group).ok())
            .map_or(harness::SPA_PORT, |group| FIRST_SPA_PORT + group)
    }

    /// The number of the stanza whose packets are sent.
    pub(crate) const fn last(self) -> u32 {
        self.stanzas.saturating_sub(1)
    }

    fn secrets(self, number: u32) -> ([u8; 32], [u8; 64]) {
        let name = [&[self.seed][..], &number.to_be_bytes()].concat();
        (Sha256::digest(&name).into(), Sha512::digest(&name).into())
    }

    /// The keys of stanza `number`.
    pub(crate) fn keys(self, number: u32) -> anyhow::Result<Keys> {
        let (encryption, hmac) = self.secrets(number);
        let secret = |bytes: &[u8]| Secret::from_base64(&STANDARD.encode(bytes));
        Ok(Keys::new(
            EncryptionKey::new(secret(&encryption)?)?,
            EncryptionMode::Cbc,
            Some((HmacKey::new(secret(&hmac)?)?, DigestType::Sha256)),
        )?)
    }

    /// The access.conf that fwknopd and our agent read; `more` is added to every stanza.
    pub(crate) fn access_conf(self, more: &str) -> String {
        let mut text = String::new();
        for number in 0..self.stanzas {
            let (encryption, hmac) = self.secrets(number);
            let _ = write!(
                text,
                "SOURCE ANY\nKEY_BASE64 {}\nHMAC_KEY_BASE64 {}\nFW_ACCESS_TIMEOUT {}\n{}{more}",
                STANDARD.encode(encryption),
                STANDARD.encode(hmac),
                self.timeout_secs,
                self.more,
            );
            if self.spa_ports > 0 {
                let _ = writeln!(text, "SPA_SERVER_PORT {}", self.spa_port(number));
            }
        }
        text
    }

    /// A fresh packet of the last stanza, asking for the echo from wherever it is sent.
    pub(crate) fn packet(self, form: Form) -> anyhow::Result<Vec<u8>> {
        self.packet_of(self.last(), form, ECHO)
    }

    /// A fresh packet of stanza `number` for `port`.
    pub(crate) fn packet_of(self, number: u32, form: Form, port: &str) -> anyhow::Result<Vec<u8>> {
        let keys = self.keys(number)?;
        let port: ProtoPort = port.parse().context("port")?;
        Packets::new(&keys, port).next(form)
    }

    /// `count` fresh packets of the last stanza, asking for `port`.
    pub(crate) fn packets(
        self,
        count: usize,
        form: Form,
        port: &str,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let keys = self.keys(self.last())?;
        let port: ProtoPort = port.parse().context("port")?;
        let packets = Packets::new(&keys, port);
        (0..count).map(|_| packets.next(form)).collect()
    }
}

struct Packets<'a> {
    keys: &'a Keys,
    port: ProtoPort,
}

// === impl Packets ===

impl<'a> Packets<'a> {
    fn new(keys: &'a Keys, port: ProtoPort) -> Self {
        Self { keys, port }
    }

    fn next(&self, form: Form) -> anyhow::Result<Vec<u8>> {
        let mut noise = [0_u8; 24];
        getrandom::fill(&mut noise).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
        let (digits, salt) = noise.split_at(16);
        let mut random = [0; 16];
        for (to, from) in random.iter_mut().zip(digits) {
            *to = b'0' + from % 10;
        }
        let message = Message {
            random,
            username: "bench".to_owned(),
            timestamp_secs: clock::wall_secs(),
            version: Message::VERSION.to_owned(),
            message_type: MessageType::try_from(1)?,
            request: Request::Access {
                allow: Allow::Source,
                ports: vec![self.port.into()],
            },
            nat_access: None,
            client_timeout_secs: 0,
            digest_type: DigestType::Sha256,
        };
        let salt = salt.try_into()?;
        Ok(match form {
            Form::Stock => spa::seal(&message, self.keys, salt)?,
            Form::Tagged => spa::seal_tagged(&message, self.keys, salt)?,
        }
        .into_bytes())
    }
}

/// Random base64 text of the length of a real packet: what a stranger throws.
pub(crate) fn junk(count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![0_u8; count * 204];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(bytes
        .chunks(204)
        .map(|chunk| {
            chunk
                .iter()
                .filter_map(|byte| ALPHABET.get(usize::from(byte % 64)).copied())
                .collect()
        })
        .collect())
}

/// Packets of exactly the right shape under keys that the server does not have: what a stranger
/// who knows the format throws.
pub(crate) fn crafted_junk(count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let strangers = Keyring {
        seed: 1,
        ..Keyring::new(1, 30)
    };
    strangers.packets(count, Form::Stock, ECHO)
}
