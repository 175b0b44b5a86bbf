//! What the log says about what is recorded and done.

use std::net::SocketAddr;

use engine::{Change, Counters, Destination, Record, Rule};
use fleet::{Event, EventKind, GrantId};
use gate::Grant;

/// Says what is recorded, or will be when the disk takes it, as far as people want to see it go by.
/// Called after the commit: what that has turned into a refusal is said to be one.
pub(super) fn record(record: &Record) {
    let event = record.event();
    let Event {
        user,
        stanza,
        reason,
        source,
        grant_id,
        generation,
        ..
    } = event;
    let opened = networks(event);
    let user_identity = event.user_identity().as_str();
    if let Change::CycleOpens { .. } = record.change() {
        let ports = event.ports.join(",");
        tracing::info!(
            user,
            user_identity,
            stanza,
            source,
            opened,
            ports,
            grant_id,
            reason,
            "grant opened"
        );
    }
    match event.kind() {
        EventKind::Replay => {
            tracing::warn!(
                user,
                user_identity,
                stanza,
                "attempted message replay from: {source}"
            );
        }
        EventKind::Refused | EventKind::ReplayElsewhere => {
            tracing::info!(
                user,
                user_identity,
                stanza,
                reason,
                source,
                "packet refused"
            );
        }
        EventKind::CommandRun => {
            tracing::info!(user, user_identity, stanza, grant_id, reason, "command")
        }
        EventKind::GrantClosed => tracing::info!(
            user,
            user_identity,
            opened,
            grant_id,
            reason,
            "grant closed"
        ),
        EventKind::GrantBlocked => tracing::warn!(
            user,
            user_identity,
            opened,
            grant_id,
            reason,
            "grant blocked: the hole is open, but the host's own rules drop what comes through it"
        ),
        EventKind::GrantRevoked => tracing::info!(
            user,
            user_identity,
            opened,
            grant_id,
            reason,
            "grant revoked"
        ),
        EventKind::ConnectionsCut => tracing::info!(
            user,
            user_identity,
            opened,
            grant_id,
            connections = event.count,
            reason,
            "connections cut"
        ),
        EventKind::PolicyApplied => tracing::info!(generation, reason, "policy applied"),
        EventKind::Noise if source.is_empty() => {
            tracing::warn!(packets = event.count, reason, "noise");
        }
        // Logged when it is done, by those who do it, or only ever counted.
        EventKind::AgentStarted
        | EventKind::AgentStopped
        | EventKind::AuditConflict
        | EventKind::AuditGap
        | EventKind::Banned
        | EventKind::Clock
        | EventKind::ControllerSetBack
        | EventKind::Drift
        | EventKind::Enrolled
        | EventKind::FloorChanged
        | EventKind::GrantOpened
        | EventKind::HostCloned
        | EventKind::HostSetBack
        | EventKind::Locked
        | EventKind::Noise
        | EventKind::Operator
        | EventKind::PolicyRejected
        | EventKind::Quota
        | EventKind::Read
        | EventKind::Removed
        | EventKind::Retention
        | EventKind::SignIn
        | EventKind::Sink
        | EventKind::Unlocked
        | EventKind::Unspecified => {}
    }
}

/// Every address and network that a grant lets in.
fn networks(event: &Event) -> String {
    let all = std::iter::once(&event.opened).chain(&event.also_opened);
    let all: Vec<&str> = all.map(String::as_str).collect();
    all.join(",")
}

/// Says what has been opened.
pub(super) fn opened(id: GrantId, grant: &Grant, rules: &[Rule], what: &'static str) {
    let permit = grant.permit();
    let mut ports: Vec<String> = Vec::new();
    for port in rules.iter().map(asked) {
        // The same for each network.
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let opens: Vec<String> = permit.opens_words().collect();
    let stanza = permit
        .name()
        .map_or_else(|| format!("#{}", permit.stanza()), ToString::to_string);
    tracing::info!(
        user = grant.identity().user(),
        user_identity = grant.identity().user_proof().as_str(),
        stanza,
        source = %grant.identity().source(),
        opened = opens.join(","),
        ports = ports.join(","),
        grant_id = %id,
        secs = permit.timeout_secs(),
        "{what}"
    );
}

/// What a rule lets somebody ask for, and where it leads.
fn asked(rule: &Rule) -> String {
    let asked = rule.asked();
    let asked = asked.map_or_else(|| "any".to_owned(), |asked| asked.to_string());
    match rule {
        Rule::Accept { .. } => asked,
        Rule::Forward(forward) => match forward.to {
            Destination::Translated {
                address,
                port: None,
            } => format!("{asked}->{address}"),
            Destination::Translated {
                address,
                port: Some(port),
            } => {
                format!("{asked}->{}", SocketAddr::new(address, port.get()))
            }
            Destination::Untranslated { address } => format!("{asked} of {address}"),
            Destination::Here { port } => format!("{asked}->{port}"),
            Destination::Anywhere => format!("{asked}->anywhere"),
        },
    }
}

/// Says everything that is counted, in one line.
pub(super) fn counters(counters: &Counters) {
    let all: Vec<String> = counters
        .named()
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    tracing::info!("counters: {}", all.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_said_with_every_network_that_it_was_open_for() {
        let mut event = Event::new(EventKind::GrantClosed, 0);
        event.opened = "192.0.2.0/24".to_owned();
        assert_eq!(networks(&event), "192.0.2.0/24");
        event.also_opened = vec!["198.51.100.7".to_owned()];
        assert_eq!(networks(&event), "192.0.2.0/24,198.51.100.7");
    }
}
