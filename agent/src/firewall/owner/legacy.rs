//! The rules of the old iptables, which netlink does not show: as `iptables-legacy-save` prints them.
//! Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use super::decode::changes_nothing;
use super::matches::{Asks, Match, STATUS_DNAT, STATUS_SNAT};
use super::packet::{TCP, UDP};
use super::read::Ours;
use super::ruleset::{Aside, Base, Chain, Hook, Keeping, Rule, Step, Table, TableFamily, Verdict};

/// Which option is read, and of which match.
#[derive(Debug)]
struct Line<'t> {
    words: std::iter::Peekable<std::vec::IntoIter<&'t str>>,
    module: &'t str,
    is_inverted: bool,
    steps: Vec<Step>,
}

/// Reads a whole save. Chains of ours are left empty.
pub(super) fn tables(text: &str, family: TableFamily, ours: &Ours) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table {
                family,
                name: name.to_owned(),
                is_owned: false,
                is_legacy: true,
                chains: HashMap::new(),
                sets: HashMap::new(),
            });
            continue;
        }
        let Some(table) = tables.last_mut() else {
            continue;
        };
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next());
            let chain = Chain {
                base: base(&table.name, name, policy == Some("DROP")),
                devices: Vec::new(),
                rules: Vec::new(),
            };
            table.chains.insert(name.to_owned(), chain);
        } else if let Some(appended) = line.strip_prefix("-A ") {
            let (chain, rest) = appended.split_once(' ').unwrap_or((appended, ""));
            if ours.chains.iter().any(|own| own == chain) {
                continue;
            }
            if let Some(chain) = table.chains.get_mut(chain) {
                chain.rules.push(Rule {
                    handle: 0,
                    is_ours: false,
                    steps: Line::steps(rest),
                    text: Some(line.to_owned()),
                });
            }
        }
    }
    tables
}

/// Where the base chains of iptables hang (linux/netfilter_ipv4.h).
fn base(table: &str, chain: &str, drops: bool) -> Option<Base> {
    let hook = match chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "FORWARD" => Hook::Forward,
        "OUTPUT" => Hook::Output,
        _ => return None,
    };
    let priority = match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" if hook == Hook::Prerouting => -100,
        "nat" => return None,
        "security" => 50,
        _ => 0,
    };
    Some(Base {
        hook,
        priority,
        is_nat: table == "nat",
        drops,
    })
}

// === impl Line ===

impl<'t> Line<'t> {
    fn steps(text: &'t str) -> Vec<Step> {
        let mut line = Self {
            words: split(text).into_iter().peekable(),
            module: "",
            is_inverted: false,
            steps: Vec::new(),
        };
        while let Some(word) = line.words.next() {
            if word == "!" {
                line.is_inverted = true;
                continue;
            }
            if let "-j" | "--jump" | "-g" | "--goto" = word {
                let target = line.words.next().unwrap_or_default();
                let step = line.target(target, word.contains('g'));
                line.steps.push(step);
                break;
            }
            line.option(word);
            line.is_inverted = false;
        }
        line.steps
    }

    fn option(&mut self, word: &'t str) {
        if let "-m" | "--match" = word {
            self.module = self.words.next().unwrap_or_default();
            let is_known = [
                "tcp",
                "udp",
                "icmp",
                "icmp6",
                "conntrack",
                "state",
                "mark",
                "connmark",
                "multiport",
                "comment",
                "addrtype",
                "set",
                "iprange",
            ];
            if !is_known.contains(&self.module) {
                self.steps.push(Step::Unknown(self.module.to_owned()));
            }
            return;
        }
        let mut value = String::new();
        // Whatever follows belongs to it, up to the next option.
        let mut count = 0;
        while let Some(next) = self
            .words
            .next_if(|next| !is_option(next) || word == "--comment" && count == 0)
        {
            if count > 0 {
                value.push(' ');
            }
            value.push_str(next);
            count += 1;
        }
        if word == "--comment" {
            return;
        }
        let asks = self.asks(word, &value);
        let asks = asks.unwrap_or_else(|| Asks::Unknown(word.to_owned()));
        let asked = Match::inverted(asks, self.is_inverted);
        self.steps.push(Step::Match(asked));
    }

    fn asks(&self, option: &str, value: &str) -> Option<Asks> {
        Some(match option {
            "-s" => network(value).map(|(address, len)| Asks::Source(address, len))?,
            "-d" => network(value).map(|(address, len)| Asks::Destination(address, len))?,
            "-i" => Asks::InInterface(value.to_owned()),
            "-o" => Asks::OutInterface(value.to_owned()),
            "-p" => protocol(value)?,
            "--dport" | "--dports" => Asks::DestinationPorts(ports(value)?),
            "--sport" | "--sports" => Asks::SourcePorts(ports(value)?),
            "--ports" => Asks::EitherPorts(ports(value)?),
            "--tcp-flags" => {
                let (mask, set) = value.split_once(' ')?;
                Asks::TcpFlags(flags(mask)?, flags(set)?)
            }
            "--syn" => Asks::TcpFlags(flags("FIN,SYN,RST,ACK")?, flags("SYN")?),
            "--icmp-type" | "--icmpv6-type" => {
                let (kind, code) = value.split_once('/').unwrap_or((value, ""));
                Asks::IcmpType(kind.parse().ok()?, code.parse().ok())
            }
            "--ctstate" | "--state" => states(value)?,
            "--ctstatus" => status(value)?,
            "--ctdir" if value == "ORIGINAL" => Asks::IsOriginal,
            "--ctorigdstport" => {
                let [(first, last)] = *ports(value)?.as_slice() else {
                    return None;
                };
                Asks::AskedPorts(first, last)
            }
            "--mark" => {
                let (value, mask) = value.split_once('/').unwrap_or((value, "0xffffffff"));
                let (value, mask) = (number(value)?, number(mask)?);
                if self.module == "connmark" {
                    Asks::ConnMark { value, mask }
                } else {
                    Asks::Mark { value, mask }
                }
            }
            "--dst-type" => Asks::DestinationType(types(value)?),
            "--src-type" => Asks::SourceType(types(value)?),
            "--match-set" => match value.split_once(' ')? {
                (name, side @ ("src" | "dst")) => Asks::InSet {
                    set: name.to_owned(),
                    is_source: side == "src",
                    members: None,
                },
                _ => return None,
            },
            "--src-range" => {
                let (first, last) = value.split_once('-')?;
                Asks::SourceRange(bytes(first)?, bytes(last)?)
            }
            "--dst-range" => {
                let (first, last) = value.split_once('-')?;
                Asks::DestinationRange(bytes(first)?, bytes(last)?)
            }
            _ => return None,
        })
    }

    fn target(&mut self, target: &str, is_goto: bool) -> Step {
        let options: Vec<&str> = self.words.by_ref().collect();
        let option = |name: &str| {
            let at = options.iter().position(|option| *option == name)?;
            options.get(at + 1).copied()
        };
        let aside =
            |found: Option<Aside>| found.map_or_else(|| Step::Pass(target.to_owned()), Step::Aside);
        match target {
            "ACCEPT" => Step::Verdict(Verdict::Accept),
            "DROP" => Step::Verdict(Verdict::Drop),
            "REJECT" => Step::Verdict(Verdict::Reject),
            "RETURN" => Step::Verdict(Verdict::Return),
            "QUEUE" | "NFQUEUE" => Step::Verdict(Verdict::Queue),
            "MARK" => {
                let set = option("--set-xmark").and_then(|value| {
                    let (value, mask) = value.split_once('/')?;
                    Some((number(value)?, number(mask)?))
                });
                match set {
                    Some((value, mask)) => Step::ChangeMark { value, mask },
                    None => Step::UnknownVerdict(target.to_owned()),
                }
            }
            "CONNMARK" => aside(keeping(&options).map(Aside::Keep)),
            "NOTRACK" => Step::Aside(Aside::Untracked),
            "CT" => aside(tracking(&options)),
            "DNAT" => match option("--to-destination").and_then(destination) {
                Some((address, port)) => Step::LeadTo { address, port },
                None => Step::UnknownVerdict(target.to_owned()),
            },
            "REDIRECT" => Step::LeadTo {
                address: None,
                port: option("--to-ports").and_then(|port| port.parse().ok()),
            },
            _ if changes_nothing(target) => Step::Pass(target.to_owned()),
            "TPROXY" | "SYNPROXY" => Step::UnknownVerdict(target.to_owned()),
            chain if is_goto => Step::Verdict(Verdict::Goto(chain.to_owned())),
            chain => Step::Verdict(Verdict::Jump(chain.to_owned())),
        }
    }
}

/// What CONNMARK does, as `iptables-save` says it: a mask that it does not name is the whole mark.
fn keeping(options: &[&str]) -> Option<Keeping> {
    let at = |name: &str| options.iter().position(|option| *option == name);
    let value = |name: &str| options.get(at(name)? + 1).copied();
    if let Some(set) = value("--set-xmark") {
        let (value, mask) = set.split_once('/')?;
        return Some(Keeping::Set(number(value)? | number(mask)?));
    }
    let mask = |name: &str| value(name).and_then(number).unwrap_or(u32::MAX);
    let bits = mask("--nfmask") | mask("--ctmask");
    let is_save = at("--save-mark").map(|_| Keeping::Save(bits));
    is_save.or_else(|| at("--restore-mark").map(|_| Keeping::Restore(bits)))
}

/// What CT tells connection tracking.
fn tracking(options: &[&str]) -> Option<Aside> {
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match *word {
            "--notrack" => return Some(Aside::Untracked),
            "--zone" => return words.next().map(|zone| Aside::Zone(zone.parse().ok())),
            "--zone-orig" | "--zone-reply" => return Some(Aside::Zone(None)),
            _ => {}
        }
    }
    None
}

/// Words, those in quotes as one.
fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// An address as the kernel's `union nf_inet_addr` has it.
fn bytes(value: &str) -> Option<[u8; 16]> {
    Some(match value.parse().ok()? {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
    })
}

fn is_option(word: &str) -> bool {
    word == "!" || word.starts_with('-') && word.len() > 1
}

fn network(value: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = value.split_once('/').unwrap_or((value, "128"));
    Some((address.parse().ok()?, len.parse().ok()?))
}

fn protocol(value: &str) -> Option<Asks> {
    Some(Asks::Protocol(match value {
        "all" | "0" => return Some(Asks::Anything),
        "tcp" => TCP,
        "udp" => UDP,
        "icmp" => 1,
        "ipv6-icmp" | "icmpv6" => 58,
        other => other.parse().unwrap_or(u8::MAX),
    }))
}

fn ports(value: &str) -> Option<Vec<(u16, u16)>> {
    let one = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    value.split(',').map(one).collect()
}

fn flags(value: &str) -> Option<u8> {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let bit = |name: &str| match name {
        "NONE" => Some(0),
        "ALL" => Some(0x3f),
        name => names
            .iter()
            .position(|known| *known == name)
            .map(|at| 1 << at),
    };
    value
        .split(',')
        .try_fold(0, |all, name| Some(all | bit(name)?))
}

fn states(value: &str) -> Option<Asks> {
    let bit = |name: &str| {
        Some(match name {
            "INVALID" => 1,
            "ESTABLISHED" => 2,
            "RELATED" => 4,
            "NEW" => 8,
            "UNTRACKED" => 64,
            _ => return None,
        })
    };
    if let Some(status) = status(value) {
        return Some(status);
    }
    let states = value
        .split(',')
        .try_fold(0, |all, name| Some(all | bit(name)?));
    states.map(Asks::States)
}

fn status(value: &str) -> Option<Asks> {
    match value {
        "DNAT" => Some(Asks::Status(STATUS_DNAT)),
        "SNAT" => Some(Asks::Status(STATUS_SNAT)),
        _ => None,
    }
}

fn number(value: &str) -> Option<u32> {
    match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

/// Types of addresses as bits (linux/rtnetlink.h).
fn types(value: &str) -> Option<u16> {
    let names = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
    ];
    let bit = |name: &str| {
        names
            .iter()
            .position(|known| *known == name)
            .map(|at| 1 << at)
    };
    value
        .split(',')
        .try_fold(0, |all, name| Some(all | bit(name)?))
}

fn destination(value: &str) -> Option<(Option<IpAddr>, Option<u16>)> {
    if let Ok(address) = value.parse::<IpAddr>() {
        return Some((Some(address), None));
    }
    if let Ok(both) = value.parse::<std::net::SocketAddr>() {
        return Some((Some(both.ip()), Some(both.port())));
    }
    let port = value.strip_prefix(':')?.parse().ok()?;
    Some((None, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_save_is_what_it_asks_and_what_becomes_of_it() {
        let steps = Line::steps(
            "-s 192.0.2.0/24 ! -i docker0 -p tcp -m conntrack --ctstate NEW,RELATED -m multiport \
             --dports 22,8000:8010 -m comment --comment \"-j ACCEPT\" -j REJECT --reject-with \
             tcp-reset",
        );

        let is = |asks| Step::Match(Match::of(asks));
        let expected = [
            is(Asks::Source("192.0.2.0".parse().unwrap(), 24)),
            Step::Match(Match::inverted(
                Asks::InInterface("docker0".to_owned()),
                true,
            )),
            is(Asks::Protocol(6)),
            is(Asks::States(12)),
            is(Asks::DestinationPorts(vec![(22, 22), (8000, 8010)])),
            Step::Verdict(Verdict::Reject),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_is_not_understood_cannot_be_told() {
        let steps = Line::steps("-m recent --rcheck --name x -j f2b-sshd");
        let unknown = |name: &str| Asks::Unknown(name.to_owned());
        let expected = [
            Step::Unknown("recent".to_owned()),
            Step::Match(Match::of(unknown("--rcheck"))),
            Step::Match(Match::of(unknown("--name"))),
            Step::Verdict(Verdict::Jump("f2b-sshd".to_owned())),
        ];
        assert_eq!(steps, expected);
    }
}
