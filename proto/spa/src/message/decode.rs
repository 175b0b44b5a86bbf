//! From plaintext to message, strictly: what no client would write is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::digest::DigestType;
use crate::error::Malformed;
use crate::message::{
    Allow, CLIENT_TIMEOUT_SECS_MAX, CLOSE, CUT, Decoded, Message, MessageType, NatAccess,
    PLAINTEXT_LEN_MAX, PLAINTEXT_LEN_MIN, REQUEST_LEN_MAX, Request, is_command, is_nat_host,
    is_username, is_version,
};
use crate::service::Service;
use crate::text::{self, number};

impl Message {
    /// Reads a plaintext: fields and digest, strictly. The digest is checked before any field is
    /// believed.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first field that cannot be read.
    pub fn decode(plain: &[u8]) -> Result<(Self, Decoded), Malformed> {
        message(plain)
    }
}

fn message(plain: &[u8]) -> Result<(Message, Decoded), Malformed> {
    if !(PLAINTEXT_LEN_MIN..=PLAINTEXT_LEN_MAX).contains(&plain.len()) {
        return Err(Malformed::PlaintextLength(plain.len()));
    }
    let printable = plain.iter().all(|byte| (b' '..=b'~').contains(byte));
    let plain = str::from_utf8(plain)
        .ok()
        .filter(|_| printable)
        .ok_or(Malformed::NotPrintable)?;
    let (covered, digest) = plain.rsplit_once(':').ok_or(Malformed::Fields)?;
    let digest_type = digest_type(covered, digest)?;
    fields(covered, digest_type, digest)
}

/// Finds the digest that this one is: its length names one or two.
fn digest_type(covered: &str, digest: &str) -> Result<DigestType, Malformed> {
    let mut candidates = DigestType::ALL
        .into_iter()
        .filter(|candidate| candidate.text_len() == digest.len())
        .peekable();
    if candidates.peek().is_none() {
        return Err(Malformed::DigestLength);
    }
    candidates
        .find(|candidate| candidate.text_of(covered.as_bytes()) == digest)
        .ok_or(Malformed::DigestMismatch)
}

fn fields(
    covered: &str,
    digest_type: DigestType,
    digest: &str,
) -> Result<(Message, Decoded), Malformed> {
    let mut fields = Fields(covered.split(':'));
    let random = random(fields.next()?)?;
    let username = fields.next()?;
    let timestamp_secs = timestamp(fields.next()?)?;
    let version = fields.next()?;
    if !is_version(version) {
        return Err(Malformed::Version);
    }
    let padding = Padding::of_version(version);
    let username = padding
        .decode(username)
        .filter(|name| is_username(name))
        .ok_or(Malformed::Username)?;
    let body = Body::read(&mut fields, padding)?;
    fields.end()?;

    let message = Message {
        random,
        username,
        timestamp_secs,
        version: version.to_owned(),
        message_type: body.message_type,
        request: body.request,
        nat_access: body.nat_access,
        client_timeout_secs: body.client_timeout_secs,
        digest_type,
    };
    let decoded = Decoded {
        digest: digest.to_owned(),
        message_text: body.message_text,
        nat_text: body.nat_text,
        covered_len: covered.len(),
    };
    Ok((message, decoded))
}

/// The fields that have not been read yet.
struct Fields<'a>(std::str::Split<'a, char>);

/// The fields from the message type on.
struct Body {
    message_type: MessageType,
    request: Request,
    message_text: String,
    nat_access: Option<NatAccess>,
    nat_text: Option<String>,
    client_timeout_secs: u32,
}

// === impl Fields ===

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a str, Malformed> {
        self.0.next().ok_or(Malformed::Fields)
    }

    /// How many have not been read yet.
    fn left(&self) -> usize {
        self.0.clone().count()
    }

    fn end(mut self) -> Result<(), Malformed> {
        self.0.next().map_or(Ok(()), |_| Err(Malformed::Fields))
    }
}

// === impl Body ===

impl Body {
    fn read(fields: &mut Fields<'_>, padding: Padding) -> Result<Self, Malformed> {
        let message_type = number::<u8>(fields.next()?).ok_or(Malformed::MessageType)?;
        let message_type = MessageType::try_from(message_type)?;
        let (request, message_text) = request(message_type, padding.decode(fields.next()?))?;
        let nat_text = if message_type.has_nat() {
            let text = padding.decode(fields.next()?);
            Some(text.ok_or(Malformed::NatAccess)?)
        } else {
            None
        };
        if fields.left() == usize::from(message_type.has_timeout()) + 1 {
            return Err(Malformed::ServerAuth);
        }
        let client_timeout_secs = if message_type.has_timeout() {
            client_timeout(fields.next()?)?
        } else {
            0
        };
        Ok(Self {
            message_type,
            request,
            message_text,
            nat_access: nat_text.as_deref().map(nat_access).transpose()?,
            nat_text,
            client_timeout_secs,
        })
    }
}

fn random(field: &str) -> Result<[u8; 16], Malformed> {
    field
        .as_bytes()
        .try_into()
        .ok()
        .filter(|random: &[u8; 16]| random.iter().all(u8::is_ascii_digit))
        .ok_or(Malformed::Random)
}

/// Reads seconds in 32 bits: what the stock client can write. fwknop would wrap larger ones.
fn timestamp(field: &str) -> Result<u64, Malformed> {
    number::<u32>(field)
        .map(u64::from)
        .ok_or(Malformed::Timestamp)
}

fn client_timeout(field: &str) -> Result<u32, Malformed> {
    number(field)
        .filter(|&secs| secs <= CLIENT_TIMEOUT_SECS_MAX)
        .ok_or(Malformed::ClientTimeout)
}

fn request(
    message_type: MessageType,
    text: Option<String>,
) -> Result<(Request, String), Malformed> {
    let is_command = message_type == MessageType::Command;
    let wrong = if is_command {
        Malformed::Command
    } else {
        Malformed::Access
    };
    let text = text
        .filter(|text| text.len() <= REQUEST_LEN_MAX)
        .ok_or(wrong)?;
    let (address, rest) = text.split_once(',').ok_or(wrong)?;
    let allow = allow(address)?;
    let request = if is_command {
        command(allow, rest)?
    } else {
        access(message_type, allow, rest)?
    };
    Ok((request, text))
}

/// Reads ports to open, or to close.
fn access(message_type: MessageType, allow: Allow, text: &str) -> Result<Request, Malformed> {
    let (first, rest) = text
        .split_once(',')
        .map_or((text, None), |(first, rest)| (first, Some(rest)));
    let cut = match first {
        CLOSE => false,
        CUT => true,
        _ => {
            let ports = services(text)?;
            return Ok(Request::Access { allow, ports });
        }
    };
    if message_type != MessageType::Access {
        return Err(Malformed::Access);
    }
    let ports = rest.map_or(Ok(Vec::new()), services)?;
    Ok(Request::Close { allow, ports, cut })
}

fn services(text: &str) -> Result<Vec<Service>, Malformed> {
    let services = text.split(',').map(|text| {
        let service = text.parse::<Service>().ok()?;
        // A range of one port is written as that port.
        (service.single().is_none() || !text.contains('-')).then_some(service)
    });
    services.collect::<Option<_>>().ok_or(Malformed::Access)
}

fn command(allow: Allow, command: &str) -> Result<Request, Malformed> {
    if !is_command(command) {
        return Err(Malformed::Command);
    }
    Ok(Request::Command {
        allow,
        command: command.to_owned(),
    })
}

/// Reads an address. Leading zeros are refused: fwknop takes them for octal
/// (docs/compatibility.md, W13).
fn allow(text: &str) -> Result<Allow, Malformed> {
    match text.parse().map_err(|_| Malformed::Address)? {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ok(Allow::Source),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(Malformed::Address),
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => Ok(Allow::Address(address)),
    }
}

fn nat_access(text: &str) -> Result<NatAccess, Malformed> {
    let (host, port) = text.split_once(',').ok_or(Malformed::NatAccess)?;
    if text.len() > REQUEST_LEN_MAX || !is_nat_host(host) {
        return Err(Malformed::NatAccess);
    }
    Ok(NatAccess {
        host: host.to_owned(),
        port: number(port)
            .filter(|&port| port != 0)
            .ok_or(Malformed::NatAccess)?,
    })
}

/// Whether a field may keep the padding of its base64.
#[derive(Clone, Copy)]
enum Padding {
    Never,
    /// The first clients (version 0.x and 1.x) kept it, as the founding article shows.
    Classic,
}

impl Padding {
    fn of_version(version: &str) -> Self {
        if version.starts_with("0.") || version.starts_with("1.") {
            Self::Classic
        } else {
            Self::Never
        }
    }

    fn decode(self, field: &str) -> Option<String> {
        let bytes = match self {
            Self::Classic if field.ends_with('=') => text::decode_padded(field.as_bytes()),
            Self::Classic | Self::Never => text::decode(field.as_bytes()),
        };
        String::from_utf8(bytes?).ok()
    }
}
