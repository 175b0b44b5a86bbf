//! One decision as one line of JSON. Scripts rely on these names.

use std::io::{self, Write};

use gate::{Decision, Grant, Identity, NotForUs, Refusal};
use policy::{Permit, Permitted};
use serde::Serialize;

/// The line. What is not known, or does not apply, is null.
#[derive(Debug, Default, Serialize)]
struct Line<'d> {
    accepted: bool,
    /// `accepted`, or the check that refused.
    check: &'static str,
    reason: String,
    /// The stanza that decided, numbered from 1; the first one of the key if none permits.
    stanza: Option<u32>,
    #[serde(flatten)]
    message: Option<MessageFields<'d>>,
    #[serde(flatten)]
    absent: Option<Absent>,
    #[serde(flatten)]
    opens: Opens,
}

/// What an authentic message says, as it says it.
#[derive(Debug, Serialize)]
struct MessageFields<'d> {
    username: &'d str,
    timestamp: u64,
    version: &'d str,
    message_type: u8,
    message: &'d str,
    nat_access: Option<&'d str>,
    client_timeout: u32,
    digest: &'d str,
    random: &'d str,
    /// The user as the audit names her: the owner of a pairwise key.
    user: &'d str,
    /// `proven` by a key that only she and this host have, or `asserted` by whoever holds the key.
    user_identity: &'static str,
    stanza_name: Option<&'d str>,
    /// Short public name of the key.
    key: String,
    /// Lower-case hexadecimal.
    replay_digest: String,
}

/// The same fields of a packet that is not authentic: all null.
#[derive(Debug, Default, Serialize)]
struct Absent {
    username: (),
    timestamp: (),
    version: (),
    message_type: (),
    message: (),
    nat_access: (),
    client_timeout: (),
    digest: (),
    random: (),
    user: (),
    user_identity: (),
    stanza_name: (),
    key: (),
    replay_digest: (),
}

/// What would be opened or run.
#[derive(Debug, Default, Serialize)]
struct Opens {
    /// The address let in, or the network around it.
    opens: Option<String>,
    /// What is let in beside it; nothing if there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_opens: Vec<String>,
    /// Each as `tcp/22`.
    ports: Option<Vec<String>>,
    /// Where packets to them are led, as `10.0.0.5:22`; left out where they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded_to: Option<String>,
    command: Option<String>,
    /// What closes afterwards, where a command opens (CMD_CYCLE_CLOSE).
    #[serde(skip_serializing_if = "Option::is_none")]
    closing_command: Option<String>,
    /// Seconds.
    timeout: Option<u32>,
}

/// Prints the line of `decision` and flushes it.
pub(super) fn print(
    decision: Result<&Decision, &NotForUs>,
    output: &mut impl Write,
) -> io::Result<()> {
    let line = match decision {
        Ok(Decision::Grant(grant)) => Line::of_grant(grant),
        Ok(Decision::Claim(pending)) => Line {
            check: "claim",
            reason: "the controller would be asked first".to_owned(),
            ..Line::of_identity(pending.identity())
        },
        Ok(Decision::Refused(refusal)) => Line::of_refusal(refusal),
        // Every line is a packet of its own; see the settings.
        Ok(Decision::Duplicate) => Line {
            check: "duplicate",
            reason: "the same packet was there a moment before".to_owned(),
            ..Line::default()
        },
        Err(not_for_us) => Line {
            check: "destination",
            reason: format!("{not_for_us}, and that no DESTINATION names"),
            absent: Some(Absent::default()),
            ..Line::default()
        },
    };
    serde_json::to_writer(&mut *output, &line)?;
    output.write_all(b"\n")?;
    output.flush()
}

// === impl Line ===

impl<'d> Line<'d> {
    fn of_grant(grant: &'d Grant) -> Self {
        let mut line = Self {
            accepted: true,
            check: "accepted",
            reason: permitted(grant.permit()),
            stanza: Some(grant.permit().stanza()),
            opens: Opens::of_permit(grant.permit()),
            ..Self::of_identity(grant.identity())
        };
        if let Some(message) = &mut line.message {
            message.stanza_name = grant.permit().name().map(|name| &**name);
        }
        line
    }

    fn of_refusal(refusal: &'d Refusal) -> Self {
        let line = match &refusal.authentic {
            Some(identity) => Self::of_identity(identity),
            None => Self {
                absent: Some(Absent::default()),
                ..Self::default()
            },
        };
        Self {
            check: refusal.check.name(),
            reason: refusal.reason.to_string(),
            ..line
        }
    }

    fn of_identity(identity: &'d Identity) -> Self {
        let opened = &identity.opened();
        let message = opened.message();
        Self {
            stanza: Some(identity.stanza()),
            message: Some(MessageFields {
                username: &message.username,
                timestamp: message.timestamp_secs,
                version: &message.version,
                message_type: message.message_type.number(),
                message: opened.message_text(),
                nat_access: opened.nat_text(),
                client_timeout: message.client_timeout_secs,
                digest: opened.digest_text(),
                random: std::str::from_utf8(&message.random).unwrap_or_default(),
                user: identity.user(),
                user_identity: identity.user_proof().as_str(),
                stanza_name: identity.stanza_name().map(|name| &**name),
                key: identity.key_words(),
                replay_digest: opened.replay_digest().to_string(),
            }),
            ..Self::default()
        }
    }
}

// === impl Opens ===

impl Opens {
    fn of_permit(permit: &Permit) -> Self {
        match &permit.what() {
            Permitted::Ports(ports) => Self {
                ports: Some(ports.iter().map(ToString::to_string).collect()),
                ..Self::of_networks(permit)
            },
            Permitted::Forward(forwarding) => Self {
                ports: Some(forwarding.asked_words().collect()),
                forwarded_to: Some(forwarding.to_string()),
                ..Self::of_networks(permit)
            },
            Permitted::Close { .. } => Self::default(),
            Permitted::Cycle(cycle) => Self {
                ports: Some(vec![cycle.port.to_string()]),
                opens: Some(permit.address().to_string()),
                timeout: Some(permit.timeout_secs()),
                command: Some(cycle.open.clone()),
                closing_command: cycle.close.clone(),
                ..Self::default()
            },
            Permitted::Command { text, .. } => Self {
                command: Some(text.clone()),
                ..Self::default()
            },
        }
    }

    fn of_networks(permit: &Permit) -> Self {
        let mut opens = permit.opens_words();
        Self {
            opens: opens.next(),
            also_opens: opens.collect(),
            timeout: Some(permit.timeout_secs()),
            ..Self::default()
        }
    }
}

fn permitted(permit: &Permit) -> String {
    let stanza = match &permit.name() {
        Some(name) => format!("stanza #{} ({name})", permit.stanza()),
        None => format!("stanza #{}", permit.stanza()),
    };
    match &permit.what() {
        Permitted::Ports(ports) => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let opens: Vec<_> = permit.opens_words().collect();
            format!(
                "{stanza} opens {} to {} for {} s",
                ports.join(","),
                opens.join(" and "),
                permit.timeout_secs()
            )
        }
        Permitted::Close { ports, cut } => {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let what = if ports.is_empty() {
                "everything".to_owned()
            } else {
                ports.join(",")
            };
            let address = permit.address();
            let sessions = if *cut {
                ", and ends its connections"
            } else {
                ""
            };
            format!("{stanza} closes {what} that the user has open for {address}{sessions}")
        }
        Permitted::Forward(forwarding) => {
            let asked: Vec<_> = forwarding.asked_words().collect();
            let asked = asked.join(",");
            let opens: Vec<_> = permit.opens_words().collect();
            let (opens, secs) = (opens.join(" and "), permit.timeout_secs());
            format!("{stanza} leads {asked} of {opens} to {forwarding} for {secs} s")
        }
        Permitted::Cycle(cycle) => {
            let (open, port, secs) = (&cycle.open, cycle.port, permit.timeout_secs());
            let opens = format!("{stanza} opens {port} to {} by `{open}`", permit.address());
            match &cycle.close {
                Some(close) => format!("{opens}, and closes it after {secs} s by `{close}`"),
                None => opens,
            }
        }
        Permitted::Command { .. } => format!("{stanza} runs the command"),
    }
}
