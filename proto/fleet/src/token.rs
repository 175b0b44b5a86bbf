//! The one-time token that makes a stranger a member.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;

use crate::Role;

const PREFIX: &str = "postern1.";

/// An invitation: it carries all that the first, already verified, TLS handshake needs.
///
/// Its text form is `postern1.` and URL-safe base64. The secret is a secret: `Debug` hides it, and
/// the controller stores only a hash of it.
#[derive(Clone, Eq, PartialEq)]
pub struct Token {
    pub role: Role,
    pub secret: [u8; 32],
    /// Seconds since the Unix epoch.
    pub expires_at_secs: u64,
    /// Where the controller listens, `host:port`.
    pub address: String,
    /// SHA-256 of the CA certificate's DER.
    pub ca_fingerprint: [u8; 32],
    /// Empty when the joiner proposes its own name.
    pub name: String,
    /// For hosts: what policy selects them by.
    pub labels: BTreeMap<String, String>,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidToken {
    #[error("a token begins with `postern1.`")]
    Prefix,
    #[error("the token is cut off or altered")]
    Damaged,
}

/// The serialized form, kept apart from the contract because only this crate reads it.
#[derive(Clone, PartialEq, prost::Message)]
struct Body {
    #[prost(enumeration = "crate::wire::Role", tag = "1")]
    role: i32,
    #[prost(bytes = "vec", tag = "2")]
    secret: Vec<u8>,
    #[prost(uint64, tag = "3")]
    expires_at_secs: u64,
    #[prost(string, tag = "4")]
    address: String,
    #[prost(bytes = "vec", tag = "5")]
    ca_fingerprint: Vec<u8>,
    #[prost(string, tag = "6")]
    name: String,
    #[prost(btree_map = "string, string", tag = "7")]
    labels: BTreeMap<String, String>,
}

// === impl Token ===

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = Body {
            role: crate::wire::Role::from(self.role).into(),
            secret: self.secret.to_vec(),
            expires_at_secs: self.expires_at_secs,
            address: self.address.clone(),
            ca_fingerprint: self.ca_fingerprint.to_vec(),
            name: self.name.clone(),
            labels: self.labels.clone(),
        };
        write!(
            f,
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode(body.encode_to_vec())
        )
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let body = text
            // Editors of Windows begin a file with a mark of the order of bytes.
            .trim_start_matches('\u{feff}')
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(InvalidToken::Prefix)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| InvalidToken::Damaged)?;
        let Body {
            role,
            secret,
            expires_at_secs,
            address,
            ca_fingerprint,
            name,
            labels,
        } = Body::decode(bytes.as_slice()).map_err(|_| InvalidToken::Damaged)?;

        Ok(Self {
            role: Role::try_from(role).map_err(|_| InvalidToken::Damaged)?,
            secret: secret.try_into().map_err(|_| InvalidToken::Damaged)?,
            expires_at_secs,
            address,
            ca_fingerprint: ca_fingerprint
                .try_into()
                .map_err(|_| InvalidToken::Damaged)?,
            name,
            labels,
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("role", &self.role)
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            role: Role::Host,
            secret: [7; 32],
            expires_at_secs: 1_795_430_000,
            address: "192.0.2.1:7443".to_owned(),
            ca_fingerprint: [9; 32],
            name: "web-1".to_owned(),
            labels: BTreeMap::from([("role".to_owned(), "web".to_owned())]),
        }
    }

    #[test]
    fn a_token_survives_being_written_and_read() {
        let text = token().to_string();

        assert_eq!(text.parse(), Ok(token()));
    }

    #[test]
    fn a_token_in_a_file_of_windows_is_the_same_token() {
        let text = format!("\u{feff}{}\r\n", token());

        assert_eq!(text.parse(), Ok(token()));
    }

    #[test]
    fn a_token_that_was_cut_off_is_refused() {
        let text = token().to_string();
        let cut = &text[..text.len() - 30];

        assert_eq!(cut.parse::<Token>(), Err(InvalidToken::Damaged));
        assert_eq!("hello".parse::<Token>(), Err(InvalidToken::Prefix));
    }

    #[test]
    fn a_token_hides_its_secret_from_debug() {
        assert!(!format!("{:?}", token()).contains('7'.to_string().repeat(2).as_str()));
    }
}
