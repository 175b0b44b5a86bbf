//! `%test`: what an operator says must hold, or must not.
//!
//! ```text
//! %test allow alice web-1 tcp/22 from 198.51.100.7
//! %test deny @contractors env=prod ANY
//! %test deny * role=db tcp/3306
//! ```
//!
//! A test speaks of policy alone: a user who is locked, or has not joined yet, is judged like any
//! other. Where it depends on labels that nobody knows here, it is not run, and says so.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use crate::host::Selector;
use crate::mistake::Place;
use crate::network::shortened;
use crate::ports::PortSet;
use crate::problem::Problem;
use crate::stanza::Usernames;

const EXAMPLE: &str = "%test allow alice web-1 tcp/22 from 198.51.100.7";

/// One line `%test`. Two are equal when they say the same, wherever they stand.
#[derive(Clone, Debug)]
pub struct PolicyTest {
    /// Where it stands.
    pub at: Place,
    /// Whether it must be permitted, or must not.
    pub expected: Expected,
    /// Who asks.
    pub who: Who,
    /// On which hosts; it must hold on all of them.
    pub hosts: TestedHosts,
    /// For what: all of it must be permitted, or none of it.
    pub ports: PortSet,
    /// Where the packet comes from; `None` is from anywhere that a stanza permits.
    pub from: Option<IpAddr>,
    /// The line without `%test`, with one blank between its words.
    text: Box<str>,
}

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Everything is permitted.
    Allow,
    /// Nothing is.
    Deny,
}

/// Who a test is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// `*`: anybody at all, also whoever holds a key of the text.
    Anybody,
    /// These users; it must hold for each of them. Never empty.
    Users(Usernames),
}

/// Which hosts a test is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestedHosts {
    /// The host of this name.
    Named(Box<str>),
    /// Every host with these labels, or every host.
    Selected(Selector),
}

/// A test whose groups are not resolved yet.
#[derive(Debug)]
pub(crate) struct TestDraft {
    pub(crate) at: Place,
    expected: Expected,
    who: Box<str>,
    hosts: TestedHosts,
    ports: PortSet,
    from: Option<IpAddr>,
    text: Box<str>,
}

// === impl PolicyTest ===

impl PolicyTest {
    /// The line without `%test`, with one blank between its words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for PolicyTest {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            at: _,
            expected,
            who,
            hosts,
            ports,
            from,
            text,
        } = self;
        *expected == other.expected
            && *who == other.who
            && *hosts == other.hosts
            && *ports == other.ports
            && *from == other.from
            && *text == other.text
    }
}

impl Eq for PolicyTest {}

impl fmt::Display for PolicyTest {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%test {}", self.text)
    }
}

// === impl TestedHosts ===

impl fmt::Display for TestedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Selected(selector) => selector.fmt(f),
        }
    }
}

// === impl TestDraft ===

impl TestDraft {
    /// Reads what follows `%test`.
    pub(crate) fn parse(value: &str, at: Place) -> Result<Self, Problem> {
        let words: Vec<&str> = value.split_whitespace().collect();
        let (words, from) = source(&words)?;
        let (expected, who, rest) = match words {
            ["allow", who, rest @ ..] => (Expected::Allow, *who, rest),
            ["deny", who, rest @ ..] => (Expected::Deny, *who, rest),
            _ => return Err(form("a test begins with allow or deny, and a user")),
        };
        if who == "*" && expected == Expected::Allow {
            let problem = Problem::new("`*` is anybody at all, and stands only behind deny");
            return Err(problem.hint("name a user or a @group"));
        }
        let (hosts, ports) = hosts_and_ports(rest)?;
        Ok(Self {
            at,
            expected,
            who: who.into(),
            hosts,
            ports,
            from,
            text: value
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .into(),
        })
    }

    /// Resolves its groups.
    pub(crate) fn finish(
        self,
        resolve: impl FnOnce(&str) -> Result<Usernames, Problem>,
    ) -> Result<PolicyTest, Problem> {
        let Self {
            at,
            expected,
            who,
            hosts,
            ports,
            from,
            text,
        } = self;
        let who = match &*who {
            "*" => Who::Anybody,
            list => Who::Users(resolve(list)?),
        };
        Ok(PolicyTest {
            at,
            expected,
            who,
            hosts,
            ports,
            from,
            text,
        })
    }
}

/// Cuts `from ADDRESS` off the end.
fn source<'w, 't>(words: &'w [&'t str]) -> Result<(&'w [&'t str], Option<IpAddr>), Problem> {
    let [before @ .., "from", address] = words else {
        if words.last() == Some(&"from") {
            return Err(form("no address stands behind `from`"));
        }
        return Ok((words, None));
    };
    let address: IpAddr = address.parse().map_err(|_| {
        Problem::new(format!("`{}` is not an address", shortened(address)))
            .hint("one address, such as 198.51.100.7, not a network")
    })?;
    Ok((before, Some(address.to_canonical())))
}

/// A name or labels, and ports behind them.
fn hosts_and_ports(words: &[&str]) -> Result<(TestedHosts, PortSet), Problem> {
    let is_host = |word: &&&str| word.contains('=') || !word.contains('/');
    let hosts = match words {
        // The second ANY is that of the ports.
        [_, last] if last.eq_ignore_ascii_case("ANY") => 1,
        _ => words.iter().take_while(is_host).count(),
    };
    let hosts = match words.last() {
        Some(last) if hosts == words.len() && last.eq_ignore_ascii_case("ANY") => {
            hosts.saturating_sub(1)
        }
        Some(_) | None => hosts,
    };
    let (hosts, ports) = words.split_at(hosts);
    if ports.is_empty() {
        return Err(form("no port is named"));
    }
    let ports = match ports {
        [any] if any.eq_ignore_ascii_case("ANY") => PortSet::everything(),
        ports => {
            let parsed = PortSet::parse(&ports.join(" "));
            parsed.map_err(|error| Problem::new(error.to_string()))?
        }
    };
    let hosts = match hosts {
        [] => return Err(form("no host is named")),
        [name] if !name.contains('=') && !name.eq_ignore_ascii_case("ANY") => {
            TestedHosts::Named((*name).into())
        }
        words => {
            let selector = Selector::parse(&words.join(" "));
            let selector = selector.map_err(|error| Problem::new(error.to_string()))?;
            match selector.only_name() {
                Some(name) => TestedHosts::Named(name.into()),
                None => TestedHosts::Selected(selector),
            }
        }
    };
    Ok((hosts, ports))
}

fn form(what: &str) -> Problem {
    Problem::new(what).hint(format!("write it like `{EXAMPLE}`"))
}
