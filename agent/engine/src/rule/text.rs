//! Rules as text: what the log and `postern-agent status` print, and how the journal keeps them.
//!
//! ```text
//! 192.0.2.7 tcp/22
//! 192.0.2.0/24 tcp/8000-8010
//! 192.0.2.7 tcp/40022 to 10.0.0.5 port 22 seen-as masquerade
//! 192.0.2.7 tcp/22 to 10.0.0.5 untranslated
//! 192.0.2.7 tcp/40022 to here port 22
//! 192.0.2.7 any to anywhere seen-as 10.0.0.1
//! ```

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Destination, Forward, Rule, SeenSource};

/// A text that is no rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a rule of the packet filter")]
pub struct InvalidRule;

const ANY: &str = "any";
const TO: &str = "to";
const PORT: &str = "port";
const HERE: &str = "here";
const ANYWHERE: &str = "anywhere";
const UNTRANSLATED: &str = "untranslated";
const SEEN_AS: &str = "seen-as";
const MASQUERADE: &str = "masquerade";

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { from, to } => write!(f, "{} {to}", Source(*from)),
            Self::Forward(forward) => forward.fmt(f),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            asked,
            to,
            source,
        } = self;
        write!(f, "{} ", Source(*from))?;
        match asked {
            Some(asked) => asked.fmt(f)?,
            None => f.write_str(ANY)?,
        }
        write!(f, " {TO} {to}")?;
        match source {
            SeenSource::Own => Ok(()),
            SeenSource::Address(address) => write!(f, " {SEEN_AS} {address}"),
            SeenSource::Masquerade => write!(f, " {SEEN_AS} {MASQUERADE}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Translated {
                address,
                port: None,
            } => address.fmt(f),
            Self::Translated {
                address,
                port: Some(port),
            } => write!(f, "{address} {PORT} {port}"),
            Self::Untranslated { address } => write!(f, "{address} {UNTRANSLATED}"),
            Self::Here { port } => write!(f, "{HERE} {PORT} {port}"),
            Self::Anywhere => f.write_str(ANYWHERE),
        }
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(InvalidRule);
        let from = network(word()?)?;
        let asked = match word()? {
            ANY => None,
            service => Some(service.parse().map_err(|_| InvalidRule)?),
        };
        let mut words = words.peekable();
        match (words.next(), asked) {
            (None, Some(to)) => return Ok(Self::Accept { from, to }),
            (Some(TO), _) => {}
            (Some(_) | None, _) => return Err(InvalidRule),
        }
        let place = words.next();
        let mut port = None;
        if words.next_if_eq(&PORT).is_some() {
            port = Some(parsed(words.next())?);
        }
        let is_translated = words.next_if_eq(&UNTRANSLATED).is_none();
        let to = match (place, port, is_translated) {
            (Some(ANYWHERE), None, true) => Destination::Anywhere,
            (Some(HERE), Some(port), true) => Destination::Here { port },
            (place, port, true) => Destination::Translated {
                address: parsed(place)?,
                port,
            },
            (place, None, false) => Destination::Untranslated {
                address: parsed(place)?,
            },
            (_, Some(_), false) => return Err(InvalidRule),
        };
        let mut forward = Forward {
            from,
            asked,
            to,
            source: SeenSource::Own,
        };
        if words.next_if_eq(&SEEN_AS).is_some() {
            forward.source = match words.next() {
                Some(MASQUERADE) => SeenSource::Masquerade,
                other => SeenSource::Address(parsed(other)?),
            };
        }
        match words.next() {
            None => Ok(Self::Forward(forward)),
            Some(_) => Err(InvalidRule),
        }
    }
}

fn parsed<T: FromStr>(word: Option<&str>) -> Result<T, InvalidRule> {
    word.and_then(|word| word.parse().ok()).ok_or(InvalidRule)
}

/// An address alone is the network of it alone.
fn network(text: &str) -> Result<IpNet, InvalidRule> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => text.parse().map_err(|_| InvalidRule),
    }
}

/// Where packets come from, as people write it.
struct Source(IpNet);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_text_reading_it_ends_and_a_rule_is_printed_as_it_was_read(
            text in "(192\\.0\\.2\\.7|2001:db8::/32) (any|tcp/22|udp/1-9|icmp/echo)\
                ( to (10\\.0\\.0\\.5|::1|here|anywhere)( port [0-9]{1,2})?( untranslated)?\
                ( seen-as (masquerade|10\\.0\\.0\\.1))?)?|[ -~]{0,30}",
        ) {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse(), Ok(rule));
            }
        }
    }

    #[test]
    fn rules_are_printed_as_people_write_them() {
        for text in [
            "192.0.2.7 tcp/22",
            "2001:db8::/48 tcp/8000-8010",
            "192.0.2.7 icmp/echo",
            "192.0.2.7 tcp/40022 to 10.0.0.5 port 22 seen-as masquerade",
            "192.0.2.7 any to 10.0.0.5 untranslated seen-as 10.0.0.1",
            "192.0.2.7 tcp/40022 to here port 22",
            "192.0.2.7 any to anywhere seen-as masquerade",
        ] {
            assert_eq!(
                text.parse::<Rule>().map(|rule| rule.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "192.0.2.7",
            "192.0.2.7 any",
            "192.0.2.7 tcp/22 to",
            "192.0.2.7 tcp/22 x",
            "192.0.2.7 tcp/22 to here",
            "192.0.2.7 tcp/22 to anywhere port 22",
            "192.0.2.7 tcp/22 to 10.0.0.5 port 22 untranslated",
        ] {
            assert_eq!(text.parse::<Rule>(), Err(InvalidRule));
        }
    }
}
