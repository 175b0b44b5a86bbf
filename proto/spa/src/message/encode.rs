//! From message to plaintext, as fwknop's client writes it.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::error::InvalidMessage;
use crate::message::{
    Allow, CLIENT_TIMEOUT_SECS_MAX, CLOSE, CUT, Message, MessageType, NatAccess, REQUEST_LEN_MAX,
    Request, is_command, is_nat_host, is_username, is_version,
};
use crate::service::Service;
use crate::text;

impl Message {
    /// Writes the plaintext: the fields, `:`, and their digest.
    ///
    /// # Errors
    ///
    /// [`InvalidMessage`] names the first field that cannot be written.
    pub fn encode(&self) -> Result<String, InvalidMessage> {
        message(self)
    }
}

fn message(message: &Message) -> Result<String, InvalidMessage> {
    // Named in full, so that a field added to the message cannot be forgotten here.
    let Message {
        random,
        username,
        timestamp_secs,
        version,
        message_type,
        request,
        nat_access,
        client_timeout_secs,
        digest_type,
    } = message;

    let mut plain = self::random(random)?.to_owned();
    if !is_username(username) {
        return Err(InvalidMessage::Username);
    }
    push_encoded(&mut plain, username);
    let timestamp_secs = u32::try_from(*timestamp_secs).map_err(|_| InvalidMessage::Timestamp)?;
    push(&mut plain, &timestamp_secs.to_string());
    if !is_version(version) {
        return Err(InvalidMessage::Version);
    }
    push(&mut plain, version);
    push(&mut plain, &message_type.number().to_string());
    push_encoded(&mut plain, &request_text(*message_type, request)?);
    if let Some(nat_text) = nat_text(*message_type, nat_access.as_ref())? {
        push_encoded(&mut plain, &nat_text);
    }
    if let Some(secs) = client_timeout(*message_type, *client_timeout_secs)? {
        push(&mut plain, &secs.to_string());
    }
    let digest = digest_type.text_of(plain.as_bytes());
    push(&mut plain, &digest);
    Ok(plain)
}

fn random(random: &[u8; 16]) -> Result<&str, InvalidMessage> {
    str::from_utf8(random)
        .ok()
        .filter(|_| random.iter().all(u8::is_ascii_digit))
        .ok_or(InvalidMessage::Random)
}

fn request_text(message_type: MessageType, request: &Request) -> Result<String, InvalidMessage> {
    let text = match (request, message_type) {
        (Request::Command { allow, command }, MessageType::Command) => {
            if !is_command(command) {
                return Err(InvalidMessage::Command);
            }
            format!("{},{command}", allowed(allow)?)
        }
        (Request::Close { allow, ports, cut }, MessageType::Access) => {
            let word = if *cut { CUT } else { CLOSE };
            listed(format!("{},{word}", allowed(allow)?), ports)
        }
        (Request::Command { .. } | Request::Close { .. }, _)
        | (Request::Access { .. }, MessageType::Command) => {
            return Err(InvalidMessage::Request);
        }
        (Request::Access { ports, .. }, _) if ports.is_empty() => {
            return Err(InvalidMessage::NoPorts);
        }
        (Request::Access { allow, ports }, _) => listed(allowed(allow)?.to_string(), ports),
    };
    limited(text)
}

fn listed(mut text: String, ports: &[Service]) -> String {
    for port in ports {
        // Writing to a String cannot fail.
        let _ = write!(text, ",{port}");
    }
    text
}

/// Lets only addresses pass that are read back as what they are.
fn allowed(allow: &Allow) -> Result<&Allow, InvalidMessage> {
    match allow {
        Allow::Address(address) if address.is_unspecified() => Err(InvalidMessage::Address),
        Allow::Address(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            Err(InvalidMessage::Address)
        }
        Allow::Source | Allow::Address(_) => Ok(allow),
    }
}

fn nat_text(
    message_type: MessageType,
    nat_access: Option<&NatAccess>,
) -> Result<Option<String>, InvalidMessage> {
    match (message_type.has_nat(), nat_access) {
        (false, None) => Ok(None),
        (true, Some(nat)) if nat.port != 0 && is_nat_host(&nat.host) => {
            limited(nat.to_string()).map(Some)
        }
        (true, _) | (false, Some(_)) => Err(InvalidMessage::NatAccess),
    }
}

fn client_timeout(message_type: MessageType, secs: u32) -> Result<Option<u32>, InvalidMessage> {
    match (message_type.has_timeout(), secs) {
        (false, 0) => Ok(None),
        (true, 1..=CLIENT_TIMEOUT_SECS_MAX) => Ok(Some(secs)),
        (true | false, _) => Err(InvalidMessage::ClientTimeout),
    }
}

fn limited(text: String) -> Result<String, InvalidMessage> {
    if text.len() > REQUEST_LEN_MAX {
        return Err(InvalidMessage::RequestTooLong(text.len()));
    }
    Ok(text)
}

fn push(plain: &mut String, field: &str) {
    plain.push(':');
    plain.push_str(field);
}

fn push_encoded(plain: &mut String, field: &str) {
    plain.push(':');
    text::encode_onto(field.as_bytes(), plain);
}
