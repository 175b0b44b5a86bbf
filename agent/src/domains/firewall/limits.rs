//! What the firewall domain refuses, whatever the gate says. Pure.
//!
//! The gate reads what strangers send; here it counts as taken over. It may open holes, which is its
//! work, and each of them ends by itself. Beyond that:
//!
//! | it asks | so |
//! |---|---|
//! | for a hole without an end | there is no way to say it: [`HoleTimeout`](engine::HoleTimeout) has bounds when it is read |
//! | for more holes at once than the configuration's grants can have | refused |
//! | for a rule that the packet filter cannot hold | refused |
//! | to lead packets on, where the configuration does not | refused |
//! | to close a rule that it did not open | nothing happens: nothing of others is held up |
//! | to cut connections to what was neither opened nor hidden | refused |
//! | to hide less | done and said, in the log of this process; what the configuration hides stays hidden |

use std::time::Duration;

use engine::{Capabilities, Connection, Destination, Forward, Hole, Rule, Unsupported};
use hashbrown::{HashMap, HashSet};
use policy::{NatSettings, PortSet};
use spa::Service;

use super::message::Request;

/// Beside what is to be hidden of all ports one by one, nothing is left to be said.
const PORTS_MAX: usize = 131_072;
/// How long a hole that has ended is still known: what closes it may be under way.
const GRACE: Duration = Duration::from_secs(60);
/// Holes of a grant, one with another; and of a single one.
const HOLES_OF_GRANT: usize = 4;
const HOLES_MIN: usize = 4_096;
/// Holes that are remembered before any are forgotten.
const TIDY_MIN: usize = 1_024;

/// What the host's configuration and its packet filter permit.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// What the packet filter can hold.
    pub(crate) capabilities: Capabilities,
    /// Where packets may be led.
    pub(crate) nat: NatSettings,
    /// Grants that may be open at once.
    pub(crate) grants_max: usize,
    /// What the configuration hides.
    pub(crate) protect: Vec<Service>,
}

/// Looks at every request before it is carried out.
#[derive(Debug)]
pub(crate) struct Checks {
    limits: Limits,
    /// When the holes end that were opened or found, in steady time; those that have ended recently
    /// are among them.
    holes: HashMap<Rule, Duration>,
    /// How many may be remembered before those that have ended are forgotten.
    tidy_at: usize,
    /// Rules that the journal remembered.
    remembered: HashSet<Rule>,
    /// What was ever opened or hidden, and whether that is everything.
    concerned: PortSet,
    concerns_all: bool,
    /// What is hidden, or is to be.
    hidden: PortSet,
    has_begun: bool,
    has_started: bool,
}

/// What is to be hidden.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ToHide {
    pub(crate) ports: Vec<Service>,
    /// What was hidden until now, and is not to be any more.
    pub(crate) fewer: PortSet,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Denied {
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("{0} leads packets on, which the configuration of this host does not permit")]
    Leads(Rule),
    #[error("more than {0} holes would be open at once")]
    TooMany(usize),
    #[error("the connection {0} came through nothing that was opened or hidden here")]
    Connection(Connection),
    #[error("`{0}` was said at the wrong time")]
    OutOfOrder(&'static str),
}

// === impl Limits ===

impl Limits {
    fn holes_max(&self) -> usize {
        let of_grants = self.grants_max.saturating_mul(HOLES_OF_GRANT);
        of_grants.saturating_add(HOLES_MIN)
    }

    fn permits(&self, rule: &Rule) -> Result<(), Denied> {
        self.capabilities.can(rule)?;
        let may = match rule {
            Rule::Accept { .. } => true,
            Rule::Forward(Forward { to, .. }) => match to {
                Destination::Here { .. } => self.nat.local,
                Destination::Translated { address, .. } if address.is_loopback() => self.nat.local,
                Destination::Translated { .. } | Destination::Anywhere => self.nat.forward,
                Destination::Untranslated { .. } => self.nat.forward || self.nat.destination_rule,
            },
        };
        may.then_some(()).ok_or(Denied::Leads(*rule))
    }
}

// === impl Checks ===

impl Checks {
    /// `hidden` is what is hidden already.
    pub(crate) fn new(limits: Limits, hidden: &[Service]) -> Self {
        let hidden: PortSet = hidden.iter().copied().collect();
        Self {
            limits,
            holes: HashMap::new(),
            tidy_at: TIDY_MIN,
            remembered: HashSet::new(),
            concerned: hidden.clone(),
            concerns_all: false,
            hidden,
            has_begun: false,
            has_started: false,
        }
    }

    /// These are open, by the word of the packet filter: also what an earlier run opened.
    pub(crate) fn found(&mut self, open: &[Hole], now: Duration) {
        self.enter(open, now);
    }

    /// Whether this may be done now. Takes out of it what must not be touched.
    ///
    /// # Errors
    ///
    /// [`Denied`]; none of it is to be done.
    pub(crate) fn check(&mut self, request: &mut Request<'_>, now: Duration) -> Result<(), Denied> {
        let name = request.name();
        let in_order = |is: bool| is.then_some(()).ok_or(Denied::OutOfOrder(name));
        match request {
            Request::Begin(rules) => {
                in_order(!self.has_begun && !self.has_started)?;
                self.has_begun = true;
                self.concern(rules.iter());
                self.remembered = rules.iter().copied().collect();
                Ok(())
            }
            Request::Start => {
                in_order(!self.has_started)?;
                self.has_started = true;
                Ok(())
            }
            Request::Open(holes) => self.open(holes, now),
            Request::Close(rules, connections) => {
                self.may_cut(connections)?;
                rules.to_mut().retain(|rule| self.knows(rule));
                Ok(())
            }
            Request::End(rules) => {
                rules.to_mut().retain(|rule| self.knows(rule));
                Ok(())
            }
            Request::List | Request::Flush | Request::Beat => Ok(()),
        }
    }

    /// The holes of these rules are closed, or are in a moment: they make room.
    pub(crate) fn closed(&mut self, rules: &[Rule], now: Duration) {
        for rule in rules {
            if let Some(until) = self.holes.get_mut(rule) {
                *until = now.min(*until);
            }
        }
    }

    /// All are closed.
    pub(crate) fn flushed(&mut self, now: Duration) {
        for until in self.holes.values_mut() {
            *until = now.min(*until);
        }
    }

    /// What is to be hidden when the gate asks for this.
    pub(crate) fn protect(&mut self, asked: &[Service]) -> ToHide {
        let own = self.limits.protect.iter().copied();
        let target: PortSet = asked.iter().copied().chain(own).collect();
        let mut ports: Vec<Service> = if asked.len() > PORTS_MAX {
            target.iter().collect()
        } else {
            asked.to_vec()
        };
        let before = ports.len();
        for own in &self.limits.protect {
            if !ports.contains(own) {
                ports.push(*own);
            }
        }
        if ports.len() > before {
            ports.sort_unstable();
        }
        let fewer = self.hidden.without(&target);
        let concerned = self.concerned.iter().chain(target.iter());
        self.concerned = concerned.collect();
        self.hidden = target;
        ToHide { ports, fewer }
    }

    /// All of it or nothing.
    fn open(&mut self, holes: &[Hole], now: Duration) -> Result<(), Denied> {
        for hole in holes {
            if !self.is_shorter(hole, now) {
                self.limits.permits(&hole.rule)?;
            }
        }
        self.make_room(holes, now)?;
        self.enter(holes, now);
        Ok(())
    }

    /// Whether it is open for at least as long already: what was permitted once may always end sooner.
    fn is_shorter(&self, hole: &Hole, now: Duration) -> bool {
        let until = self.holes.get(&hole.rule);
        until.is_some_and(|until| *until >= ends(hole, now))
    }

    fn make_room(&mut self, holes: &[Hole], now: Duration) -> Result<(), Denied> {
        let max = self.limits.holes_max();
        let is_new = |hole: &&Hole| !self.holes.contains_key(&hole.rule);
        let new: HashSet<Rule> = holes.iter().filter(is_new).map(|hole| hole.rule).collect();
        if self.holes.len() + new.len() > max {
            self.holes.retain(|_, until| *until > now);
            if self.holes.len() + new.len() > max {
                return Err(Denied::TooMany(max));
            }
        } else if self.holes.len() >= self.tidy_at {
            self.holes.retain(|_, until| *until + GRACE > now);
            self.tidy_at = (self.holes.len() * 2).max(TIDY_MIN);
        }
        Ok(())
    }

    fn enter(&mut self, holes: &[Hole], now: Duration) {
        self.concern(holes.iter().map(|hole| &hole.rule));
        for hole in holes {
            self.holes.insert(hole.rule, ends(hole, now));
        }
    }

    fn concern<'r, R: Iterator<Item = &'r Rule>>(&mut self, rules: R) {
        let mut new = Vec::new();
        for rule in rules {
            match rule.asked() {
                None => self.concerns_all = true,
                Some(asked) if self.concerned.contains(asked) => {}
                Some(asked) => new.push(asked),
            }
        }
        if !new.is_empty() {
            let all = self.concerned.iter().chain(new);
            self.concerned = all.collect();
        }
    }

    fn knows(&self, rule: &Rule) -> bool {
        self.holes.contains_key(rule) || self.remembered.contains(rule)
    }

    fn may_cut(&self, connections: &[Connection]) -> Result<(), Denied> {
        let is_ours = |connection: &Connection| {
            let asked = connection.asked();
            self.concerns_all || asked.is_some_and(|asked| self.concerned.contains(asked))
        };
        match connections.iter().find(|connection| !is_ours(connection)) {
            None => Ok(()),
            Some(other) => Err(Denied::Connection(*other)),
        }
    }
}

fn ends(hole: &Hole, now: Duration) -> Duration {
    now + Duration::from_secs(hole.timeout.secs().into())
}

#[cfg(test)]
mod tests;
