//! Command cycles: what a stanza runs in place of the firewall, to open and to close.
//!
//! The owner of the host writes the commands, with variables in them. What stands in for a variable is
//! an address or a number and nothing else ([`CycleValues`]), so that no message, whatever it says,
//! can bring a blank, a quotation mark or any word of a shell into a command.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use spa::Service;

use crate::problem::Problem;
use crate::timeout::TIMEOUT_MAX_SECS;

/// The longest command, in bytes, with its variables as they are written.
const COMMAND_BYTES_MAX: usize = 1024;

/// CMD_CYCLE_OPEN, CMD_CYCLE_CLOSE and CMD_CYCLE_TIMER: commands in place of the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleRule {
    /// CMD_CYCLE_OPEN: what lets in.
    pub open: CycleCommand,
    /// CMD_CYCLE_CLOSE: what ends that; `None` for `NONE`.
    pub close: Option<CycleCommand>,
    /// CMD_CYCLE_TIMER: how long before the closing command runs, in seconds, when the client names
    /// no timeout.
    pub timer_secs: Option<u32>,
}

/// A command as the owner writes it, with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleCommand(Box<str>);

/// What the variables of a command mean for one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleValues {
    /// `$IP`, `$SRC`: who is let in.
    pub address: IpAddr,
    /// `$PKT_SRC`: where the packet came from.
    pub packet_source: IpAddr,
    /// `$DST`: where the packet went to.
    pub destination: IpAddr,
    /// `$PORT`, and `$PROTO` as IP numbers it.
    pub port: CyclePort,
    /// `$CLIENT_TIMEOUT`: for how long, in seconds.
    pub timeout_secs: u32,
    /// `$TIMEOUT`: until when, in seconds since 1970 UTC, by the date of the message.
    pub until_secs: u64,
}

/// One port: what a command can be told to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CyclePort {
    port: NonZeroU16,
    protocol: u8,
}

/// What a message runs: commands whose variables are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// What was asked for: one port.
    pub port: Service,
    /// Runs at once.
    pub open: String,
    /// Runs when the time is over; `None` when nothing is to run then.
    pub close: Option<String>,
}

/// A variable of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Address,
    PacketSource,
    Destination,
    Port,
    Protocol,
    Until,
    Timeout,
}

/// The variables by name. None begins with the name of another one.
const VARIABLES: [(&str, Variable); 8] = [
    ("$CLIENT_TIMEOUT", Variable::Timeout),
    ("$DST", Variable::Destination),
    ("$IP", Variable::Address),
    ("$PKT_SRC", Variable::PacketSource),
    ("$PORT", Variable::Port),
    ("$PROTO", Variable::Protocol),
    ("$SRC", Variable::Address),
    ("$TIMEOUT", Variable::Until),
];

// === impl CycleRule ===

impl CycleRule {
    /// Fills in what a message means.
    pub(crate) fn cycle(&self, port: Service, values: &CycleValues) -> Cycle {
        Cycle {
            port,
            open: self.open.filled_in(values),
            close: self.close.as_ref().map(|close| close.filled_in(values)),
        }
    }

    /// Words of its commands that look like variables and are none.
    pub(crate) fn unknown_variables(&self) -> Vec<&str> {
        let commands = [Some(&self.open), self.close.as_ref()];
        let commands = commands.into_iter().flatten();
        commands.flat_map(CycleCommand::unknown_variables).collect()
    }
}

// === impl CycleCommand ===

impl CycleCommand {
    /// Reads a command as it stands in access.conf.
    pub(crate) fn parse(value: &str) -> Result<Self, Problem> {
        if value.len() > COMMAND_BYTES_MAX {
            let message = format!("a command has at most {COMMAND_BYTES_MAX} bytes");
            return Err(Problem::new(message));
        }
        let quotes = value.chars().fold(None, |open, c| match (open, c) {
            (Some(quote), _) if c == quote => None,
            (None, '"' | '\'') => Some(c),
            (open, _) => open,
        });
        if quotes.is_some() {
            return Err(Problem::new("a quotation mark is not closed"));
        }
        Ok(Self(value.into()))
    }

    /// The command for one message.
    #[must_use]
    pub fn filled_in(&self, values: &CycleValues) -> String {
        let (mut text, mut rest) = (String::with_capacity(self.0.len() + 64), &*self.0);
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            let (name, value) = match variable(from) {
                Some((name, variable)) => (name, values.of(variable)),
                None => ("$", "$".to_owned()),
            };
            text.push_str(before);
            text.push_str(&value);
            rest = from.get(name.len()..).unwrap_or_default();
        }
        text.push_str(rest);
        text
    }

    fn unknown_variables(&self) -> impl Iterator<Item = &str> {
        let places = self.0.match_indices('$').map(|(at, _)| at);
        places.filter_map(|at| {
            let from = self.0.get(at..)?;
            let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
            let name = from.get(1..)?;
            let end = name.find(|c| !is_name(c)).unwrap_or(name.len());
            (end > 0 && variable(from).is_none()).then(|| from.get(..=end))?
        })
    }
}

/// The variable with which a text begins.
fn variable(text: &str) -> Option<(&'static str, Variable)> {
    let mut all = VARIABLES.into_iter();
    all.find(|(name, _)| text.starts_with(name))
}

impl fmt::Display for CycleCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl CycleValues ===

impl CycleValues {
    fn of(&self, variable: Variable) -> String {
        match variable {
            Variable::Address => self.address.to_string(),
            Variable::PacketSource => self.packet_source.to_string(),
            Variable::Destination => self.destination.to_string(),
            Variable::Port => self.port.port.to_string(),
            Variable::Protocol => self.port.protocol.to_string(),
            Variable::Until => self.until_secs.to_string(),
            Variable::Timeout => self.timeout_secs.to_string(),
        }
    }
}

// === impl CyclePort ===

impl CyclePort {
    /// The one port that a service is; `None` for a range, and for what has no port.
    #[must_use]
    pub fn of(service: Service) -> Option<Self> {
        const TCP: u8 = 6;
        const UDP: u8 = 17;
        match service {
            Service::Ports(range) if range.first() == range.last() => Some(Self {
                port: range.first(),
                protocol: match range.protocol() {
                    spa::Protocol::Tcp => TCP,
                    spa::Protocol::Udp => UDP,
                },
            }),
            Service::Ports(_) | Service::Echo => None,
        }
    }
}

/// CMD_CYCLE_TIMER.
pub(crate) fn timer_secs(value: &str) -> Result<u32, Problem> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let secs: Option<u32> = digits.then(|| value.parse().ok()).flatten();
    secs.filter(|secs| (1..=TIMEOUT_MAX_SECS).contains(secs))
        .ok_or_else(|| {
            Problem::new(format!(
                "the value is not a number of seconds from 1 to {TIMEOUT_MAX_SECS}"
            ))
        })
}

/// CMD_CYCLE_CLOSE: a command, or `NONE`.
pub(crate) fn close(value: &str) -> Result<Option<CycleCommand>, Problem> {
    if value == "NONE" {
        return Ok(None);
    }
    CycleCommand::parse(value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> CycleValues {
        CycleValues {
            address: "10.1.2.3".parse().unwrap(),
            packet_source: "198.51.100.10".parse().unwrap(),
            destination: "198.51.100.1".parse().unwrap(),
            port: CyclePort::of("tcp/22".parse().unwrap()).unwrap(),
            timeout_secs: 4,
            until_secs: 1_795_425_157,
        }
    }

    #[test]
    fn every_variable_is_filled_in_as_fwknopd_does() {
        // What fwknopd 2.6.10 ran for such a packet.
        let command = CycleCommand::parse(
            "/usr/bin/touch /w/cyc_$IP_$PORT_$PROTO_$PKT_SRC_$DST_$TIMEOUT_$CLIENT_TIMEOUT $SRC",
        );

        assert_eq!(
            command.unwrap().filled_in(&values()),
            "/usr/bin/touch /w/cyc_10.1.2.3_22_6_198.51.100.10_198.51.100.1_1795425157_4 10.1.2.3"
        );
    }

    #[test]
    fn what_is_no_variable_stays_as_it_is_written_and_is_named() {
        let open = CycleCommand::parse("x $FOO $ $1 $x $IP6 a$").unwrap();
        let rule = CycleRule {
            open: open.clone(),
            close: None,
            timer_secs: None,
        };

        assert_eq!(open.filled_in(&values()), "x $FOO $ $1 $x 10.1.2.36 a$");
        assert_eq!(rule.unknown_variables(), ["$FOO"]);
    }

    #[test]
    fn no_value_brings_a_blank_or_a_quotation_mark_into_a_command() {
        let all = "$IP$SRC$PKT_SRC$DST$PORT$PROTO$TIMEOUT$CLIENT_TIMEOUT";
        let command = CycleCommand::parse(all).unwrap();
        for address in ["2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0"] {
            let address = address.parse().unwrap();
            let values = CycleValues {
                address,
                packet_source: address,
                destination: address,
                port: CyclePort::of("udp/65535".parse().unwrap()).unwrap(),
                timeout_secs: u32::MAX,
                until_secs: u64::MAX,
            };
            let text = command.filled_in(&values);
            assert!(
                text.chars()
                    .all(|c| c.is_ascii_hexdigit() || c == '.' || c == ':'),
                "{text}"
            );
        }
    }

    #[test]
    fn a_range_and_an_echo_are_no_port_for_a_command() {
        for service in ["tcp/22-23", "icmp"] {
            let Ok(service) = service.parse() else {
                continue;
            };
            assert_eq!(CyclePort::of(service), None);
        }
    }

    #[test]
    fn an_open_quotation_mark_and_a_timer_of_zero_are_refused() {
        assert!(CycleCommand::parse("sh -c 'x").is_err());
        assert!(CycleCommand::parse(&"x".repeat(1025)).is_err());
        for timer in ["0", "", "-1", "1s", "2147484"] {
            assert!(timer_secs(timer).is_err(), "{timer}");
        }
        assert_eq!(timer_secs("3600"), Ok(3600));
        assert_eq!(close("NONE"), Ok(None));
    }
}
