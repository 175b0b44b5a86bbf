//! Waiting until hosts have heard.

use std::collections::BTreeSet;

use fleet::Role;
use tokio::sync::watch;

use crate::context::Context;
use crate::store::model::Member;

/// One host that must hear of a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostProgress {
    pub(crate) host: String,
    /// It enforces what it should, the change with it.
    pub(crate) acknowledged: bool,
    pub(crate) connected: bool,
}

/// Hosts that have not said yet that they enforce what they should.
#[derive(Debug)]
pub(crate) struct Waiting {
    hosts: Vec<String>,
    acknowledgements: watch::Receiver<u64>,
}

// === impl HostProgress ===

impl HostProgress {
    pub(crate) fn is_away(&self) -> bool {
        !self.acknowledged && !self.connected
    }
}

// === impl Waiting ===

impl Waiting {
    /// Waits for these; `acknowledgements` is from before they could have heard.
    pub(super) fn new(hosts: Vec<String>, acknowledgements: watch::Receiver<u64>) -> Self {
        Self {
            hosts,
            acknowledgements,
        }
    }

    /// Every host that must hear, as it is now. Those that have are told of here, and no more.
    pub(super) fn first(&mut self, context: &Context) -> Vec<HostProgress> {
        let all = self.all(context);
        self.forget_heard(&all);
        all
    }

    fn all(&self, context: &Context) -> Vec<HostProgress> {
        let hosts = self.hosts.iter();
        hosts.map(|host| progress(context, host)).collect()
    }

    /// The next hosts that have acknowledged; `None` when there are none left to wait for.
    pub(crate) async fn next(&mut self, context: &Context) -> Option<Vec<HostProgress>> {
        while !self.hosts.is_empty() {
            let heard = self.take_heard(context);
            if !heard.is_empty() {
                return Some(heard);
            }
            self.acknowledgements.changed().await.ok()?;
        }
        None
    }

    /// Drops those that have acknowledged, and returns them.
    fn take_heard(&mut self, context: &Context) -> Vec<HostProgress> {
        self.acknowledgements.mark_unchanged();
        let mut heard = self.all(context);
        heard.retain(|host| host.acknowledged);
        self.forget_heard(&heard);
        heard
    }

    fn forget_heard(&mut self, told: &[HostProgress]) {
        let heard = told.iter().filter(|it| it.acknowledged);
        let heard: BTreeSet<&str> = heard.map(|it| &*it.host).collect();
        self.hosts.retain(|host| !heard.contains(&**host));
    }
}

/// One that is locked is to say so, any other that it enforces what it should. One that was removed
/// meanwhile cannot say anything any more.
fn progress(context: &Context, host: &str) -> HostProgress {
    let member = context.roster.find(Role::Host, host);
    let member = member.as_deref();
    HostProgress {
        host: host.to_owned(),
        acknowledged: member.is_some_and(|member| has_acknowledged(context, member)),
        connected: member.is_some_and(|it| context.sessions.is_connected_anywhere(it)),
    }
}

/// Whether a host has said so, to whichever controller.
pub(super) fn has_acknowledged(context: &Context, member: &Member) -> bool {
    let others = context.sessions.others();
    has_acknowledged_here(context, member) || others.has_heard(member.id, &member.name)
}

/// The same to this one.
pub(in crate::app) fn has_acknowledged_here(context: &Context, member: &Member) -> bool {
    let Member { name, lock, .. } = member;
    let sessions = &context.sessions;
    if lock.is_some() {
        return sessions.has_acknowledged_lock(name);
    }
    context.rollout.target(name).is_none_or(|target| {
        let applied = sessions.applied(name);
        applied.is_some_and(|applied| applied.digest == target.compiled.digest)
    })
}
