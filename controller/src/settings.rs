//! What a person may set: `controller.toml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const POLICY_VALID: &str = "7d";
const CERTIFICATE_LIFE: &str = "24h";

/// The controller's settings, all valid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The fleet's name, in every certificate.
    pub fleet: String,
    /// Where members reach the controller, `host:port`.
    pub address: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long hosts grant without a word from the controller; `None` for ever.
    pub policy_valid: Option<Duration>,
    /// How long a member's certificate is good for.
    pub certificate_life: Duration,
}

/// What is wrong with the settings, every mistake at once.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct InvalidSettings(pub Vec<String>);

/// The file, before anything is known of its values.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    fleet: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    #[serde(default = "policy_valid")]
    policy_valid: String,
    #[serde(default = "certificate_life")]
    certificate_life: String,
}

// === impl Settings ===

impl Settings {
    /// The text of a new file.
    pub(crate) fn text(fleet: &str, address: &str) -> Result<String, InvalidSettings> {
        let raw = RawSettings {
            fleet: fleet.to_owned(),
            address: address.to_owned(),
            listen: None,
            policy_valid: policy_valid(),
            certificate_life: certificate_life(),
        };
        let text =
            toml::to_string(&raw).map_err(|error| InvalidSettings(vec![error.to_string()]))?;
        Self::parse(&text)?;
        Ok(text)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// [`InvalidSettings`] with every mistake.
    pub fn parse(text: &str) -> Result<Self, InvalidSettings> {
        let raw: RawSettings =
            toml::from_str(text).map_err(|error| InvalidSettings(vec![error.to_string()]))?;
        let mut mistakes = Vec::new();
        if !is_name(&raw.fleet) {
            mistakes.push(format!("fleet: `{}` is not a name", raw.fleet));
        }
        let port = port_of(&raw.address);
        if port.is_none() {
            mistakes.push(format!("address: `{}` is not host:port", raw.address));
        }
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.unwrap_or(0)));
        let listen = match raw.listen.as_deref().map(SocketAddr::from_str) {
            None => everywhere,
            Some(Ok(listen)) => listen,
            Some(Err(_)) => {
                mistakes.push("listen: not an address and a port".to_owned());
                everywhere
            }
        };
        let policy_valid = match raw.policy_valid.as_str() {
            "off" => None,
            text => Some(duration("policy_valid", text, &mut mistakes)),
        };
        let certificate_life = duration("certificate_life", &raw.certificate_life, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(InvalidSettings(mistakes));
        }
        Ok(Self {
            fleet: raw.fleet,
            address: raw.address,
            listen,
            policy_valid,
            certificate_life,
        })
    }
}

/// Whether a fleet or a member can have this name: letters, digits and `. _ -`, beginning with a
/// letter or digit, at most 48.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=48).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    (!host.is_empty() && !host.contains(char::is_whitespace) && port != 0).then_some(port)
}

fn duration(name: &str, text: &str, mistakes: &mut Vec<String>) -> Duration {
    match humantime::parse_duration(text) {
        Ok(duration) if duration >= Duration::from_secs(60) => duration,
        Ok(_) => {
            mistakes.push(format!("{name}: less than a minute"));
            Duration::ZERO
        }
        Err(error) => {
            mistakes.push(format!("{name}: {error}"));
            Duration::ZERO
        }
    }
}

fn policy_valid() -> String {
    POLICY_VALID.to_owned()
}

fn certificate_life() -> String {
    CERTIFICATE_LIFE.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_reads_back() {
        let text = Settings::text("prod", "controller.example:7443").unwrap();

        let settings = Settings::parse(&text).unwrap();

        assert_eq!(settings.listen.port(), 7443);
        assert_eq!(settings.policy_valid, Some(Duration::from_secs(604_800)));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let text = "fleet = 'a b'\naddress = 'x'\npolicy_valid = 'soon'\nlisten = '1'";

        let InvalidSettings(mistakes) = Settings::parse(text).unwrap_err();

        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let text = "fleet = 'a'\naddress = 'x:1'\npolicy_valdi = '7d'";

        assert!(Settings::parse(text).is_err());
    }
}
