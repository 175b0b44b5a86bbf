//! From a request to the packet, and its fields in words.

use std::num::NonZeroU16;

use spa::{Allow, Keys, Message, MessageType, NatAccess, Request, SealError, Service};

use super::request::{Forward, KnockRequest, Outer, What};
use crate::error::{CommandError, Result};

/// From so many characters on a stock server takes a packet for one of GPG.
const GPG_LEN_MIN: usize = 400;
/// The characters that every packet begins with, and that are not sent.
const STRIPPED_LEN: usize = 10;
/// The first second that a stock server reads as a date before 1970.
const FWKNOP_END_SECS: u64 = 1 << 31;

/// The longest name to lead packets on to that a stock server reads.
const NAT_NAME_LEN_MAX: usize = 70;

/// What the world adds to a request.
#[derive(Debug)]
pub(crate) struct Circumstances {
    pub(crate) now_secs: u64,
    pub(crate) username: String,
    pub(crate) allow: Allow,
    /// The host as it was named, for NAT to the host itself.
    pub(crate) host: String,
}

/// Puts the message together; the randomness comes from the operating system.
///
/// # Errors
///
/// Exit code 2 when the request makes no sense.
pub(crate) fn message(wanted: &KnockRequest, world: &Circumstances) -> Result<Message> {
    let (request, nat_access, plain_type) = request(wanted, world)?;
    let opens = matches!(request, Request::Access { .. });
    let timed = wanted.timeout_secs > 0 && opens;
    let message = Message {
        random: random_digits()?,
        username: world.username.clone(),
        timestamp_secs: world
            .now_secs
            .checked_add_signed(wanted.offset_secs)
            .ok_or_else(|| CommandError::usage("the time offset leads before 1970"))?,
        version: Message::VERSION.to_owned(),
        message_type: plain_type.with_timeout(timed),
        request,
        nat_access,
        client_timeout_secs: if timed { wanted.timeout_secs } else { 0 },
        digest_type: wanted.digest_type,
    };
    // Whatever cannot be written is told now, before anything is asked of the network.
    message
        .encode()
        .map_err(|cause| CommandError::usage("this cannot be asked for").because(cause))?;
    Ok(message)
}

/// Seals the message in the tagged or in fwknop's form.
///
/// # Errors
///
/// Exit code 2 when the packet is too long, or the tagged form lacks an HMAC key.
pub(crate) fn seal(message: &Message, keys: &Keys, tagged: bool) -> Result<String> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(no_randomness)?;
    let sealed = if tagged {
        spa::seal_tagged(message, keys, salt)
    } else {
        spa::seal(message, keys, salt)
    };
    sealed.map_err(|cause| {
        let error = CommandError::usage("the packet cannot be sealed").because(cause);
        match cause {
            SealError::NoTagKey => error.with_hint("add an HMAC key, or --no-tagged"),
            SealError::Message(_) | SealError::Length(_) | SealError::NotOpenPgp => error,
        }
    })
}

/// Why a stock server does not read a packet.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub(crate) told: String,
    /// fwknop's client cannot read it either, and its test mode says so.
    pub(crate) is_certain: bool,
}

/// What a stock server makes of a message of this date, with this name for NAT, and a packet of this
/// length, if it does not read it: 400 characters and more it takes for GPG, and puts back what was stripped before it counts again.
pub(crate) fn doubt(message: &Message, keys: &Keys, length: usize) -> Option<Doubt> {
    let certain = |told| {
        let is_certain = true;
        Some(Doubt { told, is_certain })
    };
    if message.timestamp_secs >= FWKNOP_END_SECS {
        return certain(
            "the packet is dated after 2038-01-19, and fwknopd reads no such date".to_owned(),
        );
    }
    if let Some(nat) = &message.nat_access
        && !is_name_for_fwknopd(&nat.host)
    {
        return certain(format!(
            "fwknopd leads no packets on to `{}`: a name has labels of letters, digits and `-`, and at most \
             {NAT_NAME_LEN_MAX} characters",
            nat.host
        ));
    }
    let inner = match keys.hmac() {
        None => length,
        Some((_, digest)) => length.saturating_sub(digest.text_len()) + STRIPPED_LEN,
    };
    let long = format!("the packet has {length} characters");
    if inner >= GPG_LEN_MIN {
        return certain(format!(
            "{long}, and fwknopd takes so long a one for GPG and refuses it"
        ));
    }
    if length < GPG_LEN_MIN {
        return None;
    }
    let unless = match message.request {
        Request::Command { .. } => " unless its stanza says ENABLE_CMD_EXEC",
        Request::Access { .. } | Request::Close { .. } => "",
    };
    Some(Doubt {
        told: format!("{long}, and fwknopd takes so long a one for GPG and refuses it{unless}"),
        is_certain: false,
    })
}

/// Whether a stock server takes this for a host. Of IPv6, which it does not know, only our agents are asked.
fn is_name_for_fwknopd(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    host.contains(':') || (host.len() <= NAT_NAME_LEN_MAX && name.split('.').all(is_label))
}

/// The fields of a message, one per line, as the founding article shows them.
pub(crate) fn fields(message: &Message) -> Result<Vec<String>> {
    let plain = message
        .encode()
        .map_err(|cause| CommandError::usage("this cannot be asked for").because(cause))?;
    let digest = plain.rsplit(':').next().unwrap_or_default();
    let (action, what) = match &message.request {
        Request::Access { allow, ports } => ("access mode", access(*allow, "", ports)),
        Request::Close { allow, ports, cut } => {
            let word = if *cut { ",cut" } else { ",close" };
            ("close mode", access(*allow, word, ports))
        }
        Request::Command { allow, command } => ("command mode", format!("{allow},{command}")),
    };
    let number = message.message_type.number();
    let mut lines = vec![
        format!("random data: {}", String::from_utf8_lossy(&message.random)),
        format!("username: {}", message.username),
        format!("timestamp: {}", message.timestamp_secs),
        format!("version: {}", message.version),
        format!("action: {number} ({action})"),
        format!("access: {what}"),
    ];
    if let Some(nat) = &message.nat_access {
        lines.push(format!("nat access: {nat}"));
    }
    if message.client_timeout_secs > 0 {
        lines.push(format!("timeout: {} s", message.client_timeout_secs));
    }
    lines.push(format!("{} digest: {digest}", message.digest_type));
    Ok(lines)
}

/// A random port from 10000 to 65534, as fwknop chooses it.
pub(crate) fn random_port() -> Result<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 65_535 - FIRST;
    loop {
        let mut bytes = [0; 2];
        getrandom::fill(&mut bytes).map_err(no_randomness)?;
        let number = u16::from_be_bytes(bytes);
        if number < COUNT {
            return Ok(FIRST + number);
        }
    }
}

fn request(
    wanted: &KnockRequest,
    world: &Circumstances,
) -> Result<(Request, Option<NatAccess>, MessageType)> {
    let allow = world.allow;
    let (ports, forward) = match &wanted.what {
        What::Command(command) => {
            let command = command.clone();
            let request = Request::Command { allow, command };
            return Ok((request, None, MessageType::Command));
        }
        What::Close { ports, cut } => {
            let (ports, cut) = (ports.clone(), *cut);
            let request = Request::Close { allow, ports, cut };
            return Ok((request, None, MessageType::Access));
        }
        What::Ports { ports, forward } => (ports.clone(), forward),
    };
    let Some(forward) = forward else {
        let request = Request::Access { allow, ports };
        return Ok((request, None, MessageType::Access));
    };
    let (ports, nat) = forwarded(forward, ports, &world.host)?;
    let message_type = if forward.local {
        MessageType::LocalNatAccess
    } else {
        MessageType::NatAccess
    };
    Ok((Request::Access { allow, ports }, Some(nat), message_type))
}

/// The ports that are opened, and where they lead to.
fn forwarded(
    forward: &Forward,
    mut ports: Vec<Service>,
    host: &str,
) -> Result<(Vec<Service>, NatAccess)> {
    let Some(first) = ports.first_mut() else {
        return Err(CommandError::usage("NAT needs a port").with_hint("add -A tcp/22"));
    };
    let port = match first {
        Service::Ports(range) => range.first(),
        Service::Echo => {
            return Err(CommandError::usage(
                "icmp/echo has no port that NAT could lead on",
            ));
        }
    };
    let nat = forward
        .to
        .clone()
        .unwrap_or_else(|| super::args::Nat {
            host: host.to_owned(),
            port: None,
        })
        .with_port(port.get());
    let outer = match forward.outer {
        Outer::Same => return Ok((ports, nat)),
        Outer::Port(port) => port,
        Outer::Random => random_port()?,
    };
    let is_one = first.single().is_some();
    *first = first.at_port(NonZeroU16::new(outer).unwrap_or(port));
    if ports.len() > 1 || !is_one {
        return Err(CommandError::usage(
            "another NAT port can stand for one port only, and -A names several",
        ));
    }
    Ok((ports, nat))
}

fn access(allow: Allow, word: &str, ports: &[Service]) -> String {
    let mut text = format!("{allow}{word}");
    for port in ports {
        text.push(',');
        text.push_str(&port.to_string());
    }
    text
}

/// Sixteen decimal digits, each as likely as any other.
fn random_digits() -> Result<[u8; 16]> {
    let mut digits = [0; 16];
    for digit in &mut digits {
        *digit = loop {
            let mut byte = [0];
            getrandom::fill(&mut byte).map_err(no_randomness)?;
            let [byte] = byte;
            if byte < 250 {
                break b'0' + byte % 10;
            }
        };
    }
    Ok(digits)
}

fn no_randomness(cause: getrandom::Error) -> CommandError {
    CommandError::failed("the operating system gives no randomness", cause)
}
