//! The message inside a packet: its fields as values.

mod decode;
mod encode;

use std::fmt;
use std::net::IpAddr;

use crate::digest::DigestType;
use crate::error::Malformed;
use crate::service::Service;

/// The shortest and the longest plaintext in bytes; fwknop's limits.
pub(crate) const PLAINTEXT_LEN_MIN: usize = 36;
pub(crate) const PLAINTEXT_LEN_MAX: usize = 1499;
/// The longest user name in bytes: 64 characters of base64.
pub(crate) const USERNAME_LEN_MAX: usize = 48;
/// The longest MESSAGE or NAT field in bytes: 256 characters of base64.
pub(crate) const REQUEST_LEN_MAX: usize = 192;
/// The longest version in characters.
pub(crate) const VERSION_LEN_MAX: usize = 8;
/// The longest timeout a client may ask for, in seconds.
pub(crate) const CLIENT_TIMEOUT_SECS_MAX: u32 = 65_536;
/// In the place of the first port: close what is open, and with it the connections. No protocol of
/// fwknop begins so, so that its server refuses both.
pub(crate) const CLOSE: &str = "close";
pub(crate) const CUT: &str = "cut";

/// What a client says in one packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Sixteen ASCII digits that make every message unique.
    pub random: [u8; 16],
    /// The user: 1 to 48 printable characters.
    pub username: String,
    /// The sender's clock in seconds since the epoch, below 2^32.
    pub timestamp_secs: u64,
    /// The version of the format: [`Message::VERSION`] for what is written today.
    pub version: String,
    /// What is asked for, and which optional fields come along.
    pub message_type: MessageType,
    /// The request itself.
    pub request: Request,
    /// Where the connection shall be forwarded to; with the NAT types.
    pub nat_access: Option<NatAccess>,
    /// For how many seconds; 0 leaves it to the server.
    pub client_timeout_secs: u32,
    /// Which digest closes the message.
    pub digest_type: DigestType,
}

/// The type of a message, numbered as on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum MessageType {
    /// Run a command.
    Command = 0,
    /// Open ports.
    Access = 1,
    /// Forward a port to another host.
    NatAccess = 2,
    /// Open ports for a time that the client names.
    AccessTimeout = 3,
    /// Forward a port to another host for a time that the client names.
    NatAccessTimeout = 4,
    /// Redirect a port of the host itself.
    LocalNatAccess = 5,
    /// Redirect a port of the host itself for a time that the client names.
    LocalNatAccessTimeout = 6,
}

/// What a message asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Open these ports.
    Access {
        /// To whom.
        allow: Allow,
        /// At least one; ranges and echo are Postern's own.
        ports: Vec<Service>,
    },
    /// Close before its time what the same user has opened with the same key. Postern's own.
    Close {
        /// To whom it is open.
        allow: Allow,
        /// What; empty means everything.
        ports: Vec<Service>,
        /// Whether the connections that began through it end, too.
        cut: bool,
    },
    /// Run this command.
    Command {
        /// Who asks.
        allow: Allow,
        /// The command line; nothing here interprets it.
        command: String,
    },
}

/// The address that a request is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Allow {
    /// Wherever the packet comes from; `0.0.0.0` or `::` on the wire.
    Source,
    /// This address, never unspecified and never an IPv4 address in IPv6 form.
    Address(IpAddr),
}

/// Where NAT leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NatAccess {
    /// An address or a host name.
    pub host: String,
    /// The port there, never 0.
    pub port: u16,
}

/// The texts of a message as they were received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// The digest at the end.
    pub digest: String,
    /// The MESSAGE field: address and ports, or address and command.
    pub message_text: String,
    /// The NAT field.
    pub nat_text: Option<String>,
    /// How many bytes of the plaintext the digest covers: all but `:` and the digest.
    pub(crate) covered_len: usize,
}

// === impl Message ===

impl Message {
    /// The version of the format that fwknop writes today.
    pub const VERSION: &'static str = "3.0.0";
}

// === impl MessageType ===

impl MessageType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Command,
        Self::Access,
        Self::NatAccess,
        Self::AccessTimeout,
        Self::NatAccessTimeout,
        Self::LocalNatAccess,
        Self::LocalNatAccessTimeout,
    ];

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Reports whether the message has a NAT field.
    #[must_use]
    pub const fn has_nat(self) -> bool {
        match self {
            Self::Command | Self::Access | Self::AccessTimeout => false,
            Self::NatAccess
            | Self::NatAccessTimeout
            | Self::LocalNatAccess
            | Self::LocalNatAccessTimeout => true,
        }
    }

    /// Reports whether the message names a timeout.
    #[must_use]
    pub const fn has_timeout(self) -> bool {
        match self {
            Self::Command | Self::Access | Self::NatAccess | Self::LocalNatAccess => false,
            Self::AccessTimeout | Self::NatAccessTimeout | Self::LocalNatAccessTimeout => true,
        }
    }

    /// Returns the type of the same request with or without a timeout of the client's. A command has
    /// none.
    #[must_use]
    pub const fn with_timeout(self, timeout: bool) -> Self {
        match (self, timeout) {
            (Self::Command, _) => Self::Command,
            (Self::Access | Self::AccessTimeout, false) => Self::Access,
            (Self::Access | Self::AccessTimeout, true) => Self::AccessTimeout,
            (Self::NatAccess | Self::NatAccessTimeout, false) => Self::NatAccess,
            (Self::NatAccess | Self::NatAccessTimeout, true) => Self::NatAccessTimeout,
            (Self::LocalNatAccess | Self::LocalNatAccessTimeout, false) => Self::LocalNatAccess,
            (Self::LocalNatAccess | Self::LocalNatAccessTimeout, true) => {
                Self::LocalNatAccessTimeout
            }
        }
    }
}

impl TryFrom<u8> for MessageType {
    type Error = Malformed;

    fn try_from(number: u8) -> Result<Self, Malformed> {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(Malformed::MessageType)
    }
}

// === impl Request ===

impl Request {
    /// Returns the address that the request is for.
    #[must_use]
    pub fn allow(&self) -> Allow {
        match self {
            Self::Access { allow, .. }
            | Self::Close { allow, .. }
            | Self::Command { allow, .. } => *allow,
        }
    }
}

// === impl NatAccess ===

impl fmt::Display for NatAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.host, self.port)
    }
}

// === impl Allow ===

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("0.0.0.0"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Reports whether a user name can be sent: fwknop's own rule, over ASCII.
fn is_username(name: &str) -> bool {
    const FORBIDDEN: &[u8] = b"\"/\\[]:;|=,+*?<>";
    (1..=USERNAME_LEN_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && !FORBIDDEN.contains(&byte))
}

/// Reports whether a version can be sent: digits and dots. fwknop looks at nothing but the length.
fn is_version(version: &str) -> bool {
    version.len() <= VERSION_LEN_MAX
        && version
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reports whether a command can be sent: one line of text. What it may do is for others to say.
fn is_command(command: &str) -> bool {
    !command.is_empty() && !command.contains(char::is_control)
}

/// Reports whether a NAT host can be sent: the characters of a host name or an address.
fn is_nat_host(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte))
}
