//! What the gate and the firewall domain say to each other: everything that can be asked for, by name.
//!
//! There are two channels, so that nobody who opens waits behind a long list of connections.
//!
//! | channel | gate → firewall | firewall → gate |
//! |---|---|---|
//! | of requests | [`Asked`]: one at a time, and each for so long | [`Hello`] first, then an [`Answered`] each |
//! | of notices | [`Wish`]: not answered | [`Notice`](crate::firewall::Notice) |
//!
//! No message names a program, a file, a table or a chain, and none has a rule that stands for ever:
//! there is no way to say it.

use std::borrow::Cow;
use std::time::Duration;

use engine::{Capabilities, Connection, Hole, Rule};
use serde::{Deserialize, Serialize};
use spa::Service;

use crate::firewall::FirewallError;

/// The first message of the firewall domain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Hello {
    /// Which back end opens.
    pub(crate) backend: String,
    /// Why that one.
    pub(crate) why: String,
    /// What it can hold.
    pub(crate) capabilities: Capabilities,
    /// What is hidden already; `None` when nothing was laid yet.
    pub(crate) hidden: Option<Vec<Service>>,
    /// How often systemd wants to hear that all is well.
    pub(crate) watchdog: Option<Duration>,
}

/// A request with its number, by which its answer is known.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Asked<'a> {
    pub(crate) number: u64,
    /// Until when it counts, by [`clock::since_boot`](crate::clock::since_boot): who asks has given it up
    /// then.
    pub(crate) until: Duration,
    pub(crate) request: Request<'a>,
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Request<'a> {
    /// Once, before anything else: make what holes need, and say which connections there are through
    /// these rules, which the journal remembers.
    Begin(Cow<'a, [Rule]>),
    /// Once: keep, read and follow what is to be kept, read and followed, and tell of it.
    Start,
    Open(Cow<'a, [Hole]>),
    Close(Cow<'a, [Rule]>, Cow<'a, [Connection]>),
    End(Cow<'a, [Rule]>),
    List,
    Flush,
    /// Whether requests are carried out.
    Beat,
}

/// What came of the request with this number.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Answered {
    pub(crate) number: u64,
    pub(crate) result: Result<Done, FirewallError>,
}

/// What a request gives.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Done {
    Nothing,
    Connections(Vec<Connection>),
    Holes(Vec<Hole>),
}

/// What is not answered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Wish<'a> {
    /// Hide these ports and no others, and those of the configuration.
    Protect(Cow<'a, [Service]>),
    /// Say which of these do not exist any more.
    LookAt(Cow<'a, [Connection]>),
    /// The agent runs.
    Announce,
    /// The agent can let people in.
    Ready,
    /// The gate is well: systemd may hear it.
    Alive,
}

impl Request<'_> {
    /// For how long it is waited for: what is opened for somebody soon or not at all, what is done
    /// once at the start while other programs use the packet filter too for longer.
    pub(crate) const fn limit(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Begin(_) | Self::Start => 60,
            Self::Open(_) | Self::End(_) | Self::Beat => 5,
            Self::Close(..) | Self::List | Self::Flush => 10,
        })
    }

    /// For people.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Begin(_) => "begin",
            Self::Start => "start",
            Self::Open(_) => "open",
            Self::Close(..) => "close",
            Self::End(_) => "end",
            Self::List => "list",
            Self::Flush => "flush",
            Self::Beat => "beat",
        }
    }
}
