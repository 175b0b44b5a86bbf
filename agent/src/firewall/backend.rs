//! What every back end must do: the contract between the agent and the host's packet filter.
//!
//! A back end is a pair, because its halves run on different threads and cost a thousandfold
//! different amounts. Made together by one constructor, they may share what they need to (a socket
//! that owns a table, a queue of slower work); the agent never sees what.
//!
//! | half | thread | may take |
//! |---|---|---|
//! | [`Holes`] | the gate thread, between a commit and the next packet | microseconds |
//! | [`BaseRules`] | the thread that looks after them | milliseconds to seconds |
//!
//! To add a back end: a file or a folder beside `iptables`, a line in [`open`](super::open), and a
//! line in the conformance suite (`agent/tests/firewall/`), which says in sentences what must
//! hold. Nobody else names it.

use std::fmt;
use std::os::fd::BorrowedFd;

use engine::{Capabilities, Connection, Hole, HoleTimeout, Rule, Unsupported};
use spa::Service;

use super::FirewallError;

/// The host's packet filter as the agent uses it.
#[derive(Debug)]
pub struct Backend {
    /// For people: `iptables`, `memory`.
    pub name: &'static str,
    /// For people: why this one.
    pub why: String,
    /// Whether our bit stands in the marks of connections, too, and not in those of packets alone.
    pub marks_connections: bool,
    /// What must be there before anything can be opened.
    pub base_rules: Box<dyn BaseRules>,
    /// What is open, for whom and for how long.
    pub holes: Box<dyn Holes>,
}

/// The rules that everything else hangs on: they hide the protected ports, let holes take effect,
/// and let established sessions outlive their holes.
///
/// They belong to one agent and touch nobody else's rules. As long as this value lives, no other
/// agent can manage the same ones.
pub trait BaseRules: Send + fmt::Debug {
    /// Makes the base rules what they should be, whatever they are now, with these ports hidden and
    /// no others. What is open stays open. Doing it twice changes nothing.
    ///
    /// # Errors
    ///
    /// [`FirewallError`]; no protected port has been opened by trying.
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError>;

    /// Makes what holes need, and hides and opens nothing.
    ///
    /// # Errors
    ///
    /// When the host refuses.
    fn prepare(&mut self) -> Result<(), FirewallError>;

    /// Hides these ports from now on and no others; does nothing when that is so already.
    ///
    /// # Errors
    ///
    /// As [`Self::lay`].
    fn protect(&mut self, ports: &[Service]) -> Result<(), FirewallError> {
        if self.protected() == ports {
            return Ok(());
        }
        self.lay(ports)
    }

    /// The ports that are hidden, in the order they were given.
    fn protected(&self) -> &[Service];

    /// Compares the host with what was laid; `None` when nothing differs. Changes nothing.
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    fn check(&mut self) -> Result<Option<Drift>, FirewallError>;

    /// Compares what can be compared in microseconds, whatever else is in the host's packet filter;
    /// where that is nothing, as [`Self::check`].
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    fn glance(&mut self) -> Result<Option<Drift>, FirewallError> {
        self.check()
    }

    /// Readable when somebody (perhaps ourselves) has changed something; `None` where the host does
    /// not tell, so that it must be asked often.
    fn notices(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Takes what the host has told, and says whether any of it may concern what was laid.
    fn noticed(&mut self) -> bool {
        false
    }

    /// What is not as it should be and is left so, because another program insists on it; for people.
    fn yielded(&self) -> Option<String> {
        None
    }

    /// Lays again what was laid last.
    ///
    /// What was open may be gone with what others threw away; it is for the caller, who knows it,
    /// to open it again.
    ///
    /// # Errors
    ///
    /// As [`Self::lay`].
    fn repair(&mut self) -> Result<(), FirewallError>;

    /// The agent goes, and what is laid stays: makes of it what other programs can read, save and
    /// load again without this one. Hides and opens nothing.
    ///
    /// # Errors
    ///
    /// When the host refuses; what is laid stays as it is.
    fn leave(&mut self) -> Result<(), FirewallError> {
        Ok(())
    }

    /// Removes the base rules and every hole, and nothing else. What is not there is no error.
    ///
    /// # Errors
    ///
    /// [`FirewallError`] when the host refuses.
    fn remove(&mut self) -> Result<(), FirewallError>;
}

/// Opens and closes holes.
///
/// An implementation must have changed the host when it returns `Ok`. The dangerous error is a hole
/// without an end: no implementation may ever make one, and every hole must end by itself, whatever
/// happens to the agent.
pub trait Holes: Send + fmt::Debug {
    /// Which rules can be opened here at all.
    fn capabilities(&self) -> Capabilities;

    /// Whether such a rule can be opened here. To be asked before a grant is recorded: what this
    /// permits, [`Self::open`] does; what it refuses would fail the whole batch.
    ///
    /// # Errors
    ///
    /// [`Unsupported`] says what is missing, for the record and the one who asked.
    fn can(&self, rule: &Rule) -> Result<(), Unsupported> {
        self.capabilities().can(rule)
    }

    /// Opens every hole, for exactly its timeout from now: a rule that stands already gets the new
    /// timeout, longer or shorter. Who must not shorten says the later deadline.
    ///
    /// # Errors
    ///
    /// Some holes of the batch may be open after an error; each has its timeout.
    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError>;

    /// Takes the rules back at once, and ends these connections for good: whoever speaks in one of
    /// them, and whatever is opened afterwards, it does not go on. What is not there is no error.
    ///
    /// All other connections through the rules are held up as well, so that what has just begun
    /// can still be found and ended by another call: in UDP, and where connections cannot be ended
    /// one by one, until the rule is opened again, else for some seconds.
    ///
    /// # Errors
    ///
    /// Some holes may still be open after an error, until their timeout, and some connections may
    /// go on.
    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError>;

    /// Closes these rules, and lets what began through them go on, as at their time. It may take a
    /// second; a back end that can do it at once does.
    ///
    /// # Errors
    ///
    /// Some holes may still be open after an error, until their timeout.
    fn end(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        let shortest = |rule: &Rule| Hole {
            rule: *rule,
            timeout: HoleTimeout::clamped(1),
        };
        let holes: Vec<Hole> = rules.iter().map(shortest).collect();
        self.open(&holes)
    }

    /// What is open now, with the time left, in no particular order.
    ///
    /// # Errors
    ///
    /// When the host cannot be asked.
    fn list(&mut self) -> Result<Vec<Hole>, FirewallError>;

    /// Closes everything; established sessions live on.
    ///
    /// # Errors
    ///
    /// When the host refuses; what was open closes at its timeout.
    fn flush(&mut self) -> Result<(), FirewallError>;

    /// Whether whoever changes the packet filter answers; waits for nobody. Where that is the caller
    /// himself, he does.
    fn answers(&mut self) -> bool {
        true
    }

    /// Waits until whoever changes the packet filter has answered, but not for ever.
    ///
    /// # Errors
    ///
    /// When he does not.
    fn reach(&mut self) -> Result<(), FirewallError> {
        Ok(())
    }
}

/// How the host differs from what was laid, one finding each, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Drift(pub Vec<String>);

// === impl BaseRules, impl Holes ===

impl<T: BaseRules + ?Sized> BaseRules for Box<T> {
    fn lay(&mut self, protect: &[Service]) -> Result<(), FirewallError> {
        (**self).lay(protect)
    }

    fn prepare(&mut self) -> Result<(), FirewallError> {
        (**self).prepare()
    }

    fn protect(&mut self, ports: &[Service]) -> Result<(), FirewallError> {
        (**self).protect(ports)
    }

    fn glance(&mut self) -> Result<Option<Drift>, FirewallError> {
        (**self).glance()
    }

    fn notices(&self) -> Option<BorrowedFd<'_>> {
        (**self).notices()
    }

    fn noticed(&mut self) -> bool {
        (**self).noticed()
    }

    fn protected(&self) -> &[Service] {
        (**self).protected()
    }

    fn check(&mut self) -> Result<Option<Drift>, FirewallError> {
        (**self).check()
    }

    fn yielded(&self) -> Option<String> {
        (**self).yielded()
    }

    fn repair(&mut self) -> Result<(), FirewallError> {
        (**self).repair()
    }

    fn leave(&mut self) -> Result<(), FirewallError> {
        (**self).leave()
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        (**self).remove()
    }
}

impl<T: Holes + ?Sized> Holes for Box<T> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        (**self).open(holes)
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        (**self).close(rules, connections)
    }

    fn end(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        (**self).end(rules)
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        (**self).list()
    }

    fn answers(&mut self) -> bool {
        (**self).answers()
    }

    fn reach(&mut self) -> Result<(), FirewallError> {
        (**self).reach()
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        (**self).flush()
    }
}

// === impl Drift ===

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}
