//! The Open Cybersecurity Schema Framework (<https://schema.ocsf.io>).
//!
//! Written as version 1.3.0, with what the versions up to 1.8.0 accept too, and in classes that 2.0
//! keeps. What the framework has no place for is in `unmapped`, under the names of the fields.
//!
//! | what happened | class |
//! |---|---|
//! | grants, connections, refusals, noise | Network Activity |
//! | members, policies, what operators did and read | Entity Management |
//! | replays, drift, what is missing or was copied | Detection Finding |
//! | commands | Process Activity |
//! | the agent itself, its clock, what is sent on | Application Lifecycle |
//! | what this version does not know, or nobody can read | Base Event |

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};

use super::printable::printable_json;
use super::record::Record;
use super::severity::Severity;
use crate::event::{EventKind, Outcome};
use crate::role::Role;

const VERSION: &str = "1.3.0";
/// `activity_id` of what the class has no number for.
const OTHER: u32 = 99;

/// A class of events, by its `class_uid`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    Base = 0,
    Process = 1007,
    Finding = 2004,
    Entity = 3004,
    Network = 4001,
    Application = 6002,
}

/// Writes a record as one OCSF event in JSON on one line, without the line's end.
pub fn line(record: &Record) -> String {
    let (class, activity) = class_and_activity(record);
    let mut event = base(record, class, activity);
    event.extend(own(record, class));
    printable_json(&Json::Object(event).to_string())
}

fn class_and_activity(record: &Record) -> (Class, u32) {
    let Some(kind) = record.kind() else {
        return (Class::Base, OTHER);
    };
    let failed = record.event.outcome() == Outcome::Failure;
    match kind {
        EventKind::Unspecified => (Class::Base, OTHER),
        // Fail: the firewall did not do it.
        EventKind::GrantOpened | EventKind::GrantClosed if failed => (Class::Network, 4),
        EventKind::GrantBlocked => (Class::Network, 4),
        EventKind::GrantOpened => (Class::Network, 1),
        EventKind::GrantClosed | EventKind::GrantRevoked => (Class::Network, 2),
        EventKind::ConnectionsCut => (Class::Network, 3),
        EventKind::Refused | EventKind::Noise => (Class::Network, 5),
        EventKind::Read => (Class::Entity, 2),
        EventKind::Operator | EventKind::PolicyApplied | EventKind::PolicyRejected => {
            (Class::Entity, 3)
        }
        EventKind::Enrolled => (Class::Entity, 6),
        EventKind::Removed => (Class::Entity, 7),
        EventKind::Locked | EventKind::Banned => (Class::Entity, 12),
        EventKind::Unlocked => (Class::Entity, 13),
        EventKind::Replay
        | EventKind::ReplayElsewhere
        | EventKind::Drift
        | EventKind::AuditConflict
        | EventKind::AuditGap
        | EventKind::HostSetBack
        | EventKind::HostCloned
        | EventKind::ControllerSetBack => (Class::Finding, 1),
        // Launch, and Terminate for how it ended.
        EventKind::CommandRun if record.event.reason.starts_with("start: ") => (Class::Process, 1),
        EventKind::CommandRun => (Class::Process, 2),
        EventKind::AgentStarted => (Class::Application, 3),
        EventKind::AgentStopped => (Class::Application, 4),
        EventKind::SignIn => (Class::Entity, OTHER),
        EventKind::FloorChanged
        | EventKind::Clock
        | EventKind::Quota
        | EventKind::Retention
        | EventKind::Sink => (Class::Application, OTHER),
    }
}

/// What every class has.
fn base(record: &Record, class: Class, activity: u32) -> Map<String, Json> {
    let class_uid = class as u32;
    let event = &record.event;
    let mut metadata = object(json!({
        "version": VERSION,
        "product": {"name": "Postern", "vendor_name": "Postern"},
        "uid": record.uid(),
        "event_code": record.kind_name(),
        "log_name": record.epoch,
        "logged_time": record.stored_at_ms,
        "profiles": profiles(class),
    }));
    if !event.request_id.is_empty() {
        metadata.insert("correlation_uid".to_owned(), json!(event.request_id));
    }
    let mut base = object(json!({
        "activity_id": activity,
        "activity_name": activity_name(record, class, activity),
        "category_uid": class_uid / 1000,
        "category_name": category_name(class),
        "class_uid": class_uid,
        "class_name": class_name(class),
        "type_uid": class_uid * 100 + activity,
        "type_name": format!("{}: {}", class_name(class), activity_name(record, class, activity)),
        "time": event.at_ms,
        "severity_id": severity_id(Severity::of(record)),
        "severity": severity_name(Severity::of(record)),
        "status_id": status_id(event.outcome()),
        "status": status_name(event.outcome()),
        "count": event.count.max(1),
        "message": record.summary(),
        "metadata": metadata,
        "unmapped": unmapped(record),
    }));
    if !event.reason.is_empty() {
        base.insert("status_detail".to_owned(), json!(event.reason));
    }
    if !record.is_readable {
        base.insert("raw_data".to_owned(), json!(record.body_base64()));
    }
    base
}

/// What only its class has.
fn own(record: &Record, class: Class) -> Map<String, Json> {
    let mut own = Map::new();
    if class == Class::Base {
        return own;
    }
    own.insert("device".to_owned(), device(record));
    if !record.who().is_empty() {
        own.insert(
            "actor".to_owned(),
            json!({"user": {"name": record.who()}, "app_name": "postern"}),
        );
    }
    match class {
        Class::Base => {}
        Class::Network => own.extend(network(record)),
        Class::Entity => {
            own.insert("entity".to_owned(), entity(record));
            if !record.event.reason.is_empty() {
                own.insert("comment".to_owned(), json!(record.event.reason));
            }
        }
        Class::Finding => {
            let finding = json!({
                "uid": record.uid(),
                "title": record.kind_name(),
                "desc": record.event.reason,
                "created_time": record.event.at_ms,
            });
            own.insert("finding_info".to_owned(), finding);
        }
        Class::Process => {
            // Required, also where nobody is named.
            let actor = json!({"app_name": "postern-agent"});
            own.entry("actor").or_insert(actor);
            own.insert("process".to_owned(), process(record));
        }
        Class::Application => {
            let name = match record.host.as_str() {
                "controller" => "postern-controller",
                _ => "postern-agent",
            };
            own.insert(
                "app".to_owned(),
                json!({"name": name, "vendor_name": "Postern"}),
            );
        }
    }
    own
}

fn network(record: &Record) -> Map<String, Json> {
    let event = &record.event;
    let mut destination = object(json!({"hostname": record.host}));
    // 1: inbound.
    let mut connection = object(json!({"direction_id": 1, "direction": "Inbound"}));
    if let [port] = event.ports.as_slice()
        && let Some((protocol, number)) = port.split_once('/')
    {
        connection.insert("protocol_name".to_owned(), json!(protocol));
        if let Ok(number) = number.parse::<u16>() {
            destination.insert("port".to_owned(), json!(number));
        }
    }
    let mut own = object(json!({
        "dst_endpoint": destination,
        "connection_info": connection,
    }));
    if !event.source.is_empty() {
        let mut source = match event.source.parse::<IpAddr>() {
            Ok(address) => object(json!({"ip": address.to_string()})),
            Err(_) => object(json!({"name": event.source})),
        };
        if !event.user.is_empty() {
            source.insert("owner".to_owned(), json!({"name": event.user}));
        }
        own.insert("src_endpoint".to_owned(), source.into());
    }
    let (action_id, action) = action(record);
    let (disposition_id, disposition) = disposition(record);
    own.extend(object(json!({
        "action_id": action_id,
        "action": action,
        "disposition_id": disposition_id,
        "disposition": disposition,
    })));
    if !event.stanza.is_empty() {
        own.insert("firewall_rule".to_owned(), json!({"name": event.stanza}));
    }
    own
}

/// What became of it, in the words of the profile `security_control`.
fn disposition(record: &Record) -> (u32, &'static str) {
    match record.kind() {
        Some(EventKind::Refused | EventKind::GrantBlocked) => (2, "Blocked"),
        Some(EventKind::Noise) => (6, "Dropped"),
        // No disposition fits what has come to its end.
        Some(EventKind::GrantClosed | EventKind::GrantRevoked | EventKind::ConnectionsCut) => {
            (16, "No Action")
        }
        _ if record.event.outcome() == Outcome::Failure => (2, "Blocked"),
        _ => (1, "Allowed"),
    }
}

/// What we did: an end is neither a permission nor a refusal.
fn action(record: &Record) -> (u32, &'static str) {
    match disposition(record) {
        (1, _) => (1, "Allowed"),
        (16, _) => (0, "Unknown"),
        _ => (2, "Denied"),
    }
}

/// What was managed, and not who did it: a policy by its generation, members and tokens by the words that
/// the controller's own events begin with.
fn entity(record: &Record) -> Json {
    let event = &record.event;
    let managed = || managed(&event.reason);
    match record.kind() {
        Some(EventKind::PolicyApplied | EventKind::PolicyRejected) => json!({
            "name": "policy",
            "type": "Policy",
            "uid": event.generation.to_string(),
            "version": event.generation.to_string(),
        }),
        Some(EventKind::Read) => {
            let filter = event.reason.find('=').unwrap_or(event.reason.len());
            let asked = event.reason.get(..filter).unwrap_or_default();
            let asked = match asked.rsplit_once(' ') {
                Some((question, _)) if filter < event.reason.len() => question,
                Some(_) | None => asked,
            };
            json!({"name": asked, "type": "Question"})
        }
        _ => managed().unwrap_or_else(|| json!({"name": record.host, "type": "Fleet"})),
    }
}

/// Reads `user alice locked: lost`, `key phone of user alice removed`, `host h1: called h2 from now on`,
/// `token for user alice (0123456789ab)`, `token 0123456789ab revoked with user bob` and `refused: lock
/// member: ...`.
fn managed(reason: &str) -> Option<Json> {
    if let Some(refused) = reason.strip_prefix("refused: ") {
        let call = refused.split(": ").next()?;
        return Some(json!({"name": call, "type": "Call"}));
    }
    let mut words = reason.split(' ');
    let mut word = words.next()?;
    if word == "token" {
        let (name, id) = match reason.split_once(" (") {
            Some((name, rest)) => (name, rest.split(')').next()?),
            None => ("token", words.next()?),
        };
        return Some(json!({"name": name, "type": "Token", "uid": id}));
    }
    let mut key = None;
    if word == "key" {
        key = words.next();
        words.next().filter(|of| *of == "of")?;
        word = words.next()?;
    }
    let role: Role = word.parse().ok()?;
    let name = words.next()?.trim_end_matches(':');
    let uid = match key {
        Some(key) => format!("{role}/{name}/{key}"),
        None => format!("{role}/{name}"),
    };
    let mut kind = role.as_str().to_owned();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(json!({"name": name, "type": kind, "uid": uid}))
}

fn process(record: &Record) -> Json {
    let event = &record.event;
    let uid = match event.grant_id.as_str() {
        "" => record.uid(),
        grant => grant.to_owned(),
    };
    let Some(command) = event.reason.strip_prefix("start: ") else {
        return json!({"uid": uid});
    };
    // As whom it runs, where that is not root.
    match command
        .strip_prefix("(as ")
        .and_then(|said| said.split_once(") "))
    {
        Some((whom, command)) => {
            json!({"uid": uid, "cmd_line": command, "user": {"name": whom}})
        }
        None => json!({"uid": uid, "cmd_line": command}),
    }
}

fn device(record: &Record) -> Json {
    json!({"hostname": record.host, "type_id": 1, "type": "Server"})
}

fn unmapped(record: &Record) -> Json {
    /// Those that have a place above.
    const MAPPED: [&str; 5] = ["host", "at", "at_ms", "count", "stored_at_ms"];
    let fields = record.fields().into_iter();
    let unmapped: Map<String, Json> = fields
        .filter(|field| !field.value.is_empty() && !MAPPED.contains(&field.name))
        .map(|field| (field.name.to_owned(), json!(field.value)))
        .collect();
    unmapped.into()
}

const fn profiles(class: Class) -> &'static [&'static str] {
    match class {
        Class::Base => &[],
        Class::Network => &["host", "security_control"],
        Class::Process | Class::Finding | Class::Entity | Class::Application => &["host"],
    }
}

const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Base => "Base Event",
        Class::Process => "Process Activity",
        Class::Finding => "Detection Finding",
        Class::Entity => "Entity Management",
        Class::Network => "Network Activity",
        Class::Application => "Application Lifecycle",
    }
}

const fn category_name(class: Class) -> &'static str {
    match class {
        Class::Base => "Uncategorized",
        Class::Process => "System Activity",
        Class::Finding => "Findings",
        Class::Entity => "Identity & Access Management",
        Class::Network => "Network Activity",
        Class::Application => "Application Activity",
    }
}

/// What has no number in its class is called by its kind.
fn activity_name(record: &Record, class: Class, activity: u32) -> String {
    let name = match (class, activity) {
        (Class::Network, 1) => "Open",
        (Class::Network, 2) => "Close",
        (Class::Network, 3) => "Reset",
        (Class::Network, 4) => "Fail",
        (Class::Network, 5) => "Refuse",
        (Class::Entity, 2) => "Read",
        (Class::Entity, 3) => "Update",
        (Class::Entity, 6) => "Enroll",
        (Class::Entity, 7) => "Unenroll",
        (Class::Entity, 12) => "Suspend",
        (Class::Entity, 13) => "Resume",
        (Class::Finding, 1) => "Create",
        (Class::Process, 1) => "Launch",
        (Class::Process, 2) => "Terminate",
        (Class::Application, 3) => "Start",
        (Class::Application, 4) => "Stop",
        _ => return record.kind_name().into_owned(),
    };
    name.to_owned()
}

const fn severity_id(severity: Severity) -> u32 {
    match severity {
        Severity::Informational => 1,
        Severity::Notice => 2,
        Severity::Warning => 3,
        Severity::Error => 4,
    }
}

const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "Informational",
        Severity::Notice => "Low",
        Severity::Warning => "Medium",
        Severity::Error => "High",
    }
}

/// Denied: what was asked for did not happen.
const fn status_id(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Unspecified => 0,
        Outcome::Success => 1,
        Outcome::Failure | Outcome::Denied => 2,
    }
}

const fn status_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "Unknown",
        Outcome::Success => "Success",
        Outcome::Failure | Outcome::Denied => "Failure",
    }
}

/// The members of an object.
fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(members) => members,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Map::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::wire::AuditRecord;

    #[test]
    fn the_entity_is_what_was_managed_and_the_actor_who_did_it() {
        let shown = |kind, reason: &str| {
            let mut event = Event::new(kind, 1);
            event.user = "boss".to_owned();
            event.reason = reason.to_owned();
            let record = Record::new(AuditRecord {
                host: "controller".to_owned(),
                event: Some(event),
                ..AuditRecord::default()
            });
            let event: Json = serde_json::from_str(&line(&record)).unwrap();
            assert_eq!(event["actor"]["user"]["name"], "boss");
            let text = |field: &str| event["entity"][field].as_str().unwrap_or("-").to_owned();
            [text("name"), text("type"), text("uid")].join(" ")
        };
        for (kind, reason, entity) in [
            (
                EventKind::Removed,
                "user carl removed: left",
                "carl User user/carl",
            ),
            (
                EventKind::Locked,
                "key phone of user alice locked",
                "alice User user/alice/phone",
            ),
            (
                EventKind::Enrolled,
                "host h1 joined (token 12)",
                "h1 Host host/h1",
            ),
            (
                EventKind::Operator,
                "host h1: called h2 from now on",
                "h1 Host host/h1",
            ),
            (
                EventKind::Operator,
                "token for user alice, key laptop (0123456789ab) revoked",
                "token for user alice, key laptop Token 0123456789ab",
            ),
            (
                EventKind::Operator,
                "token 0123 revoked with operator stan",
                "token Token 0123",
            ),
            (
                EventKind::Operator,
                "refused: lock member: not hers",
                "lock member Call -",
            ),
            (EventKind::Read, "host list", "host list Question -"),
            (
                EventKind::Read,
                "audit list kind=refused user=alice",
                "audit list Question -",
            ),
            (EventKind::Operator, "something else", "controller Fleet -"),
        ] {
            assert_eq!(shown(kind, reason), entity, "{reason}");
        }
    }
}
