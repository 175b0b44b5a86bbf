//! `postern-agent grants`: what is open on this host now, for whom, and until when.
//!
//! The journal says it, which is written before anything opens: so the gate is not asked, and the
//! answer is there also when no agent runs.

use std::io;

use engine::CycleStage;
use fleet::Event;
use fleet::export::{printable, printable_json};
use program::PrintError;
use serde::Serialize;

use super::control::Unreached;
use super::local::{StateArgs, said, shown, table};
use super::status::{self, StatusFailed};
use crate::clock;
use crate::journal::{FILE_NAME, FoundGrant, JournalError, JournalReader};
use crate::report::Report;

/// Say what is open now, for whom, and until when
///
/// Works also when no agent runs: what it left open ends by itself in the kernel, at the time that
/// is shown. STATE is `open`, or `connections` for a grant whose hole has closed and that lives on in
/// connections which began through it. What a command opened (CMD_CYCLE_OPEN) is `command`, and
/// `closing` while CMD_CYCLE_CLOSE runs; without an agent it stays open until the next one starts.
///
/// JSON fields, one object a line: grant_id, state, user, user_identity, key, stanza, generation, source,
/// opened, also_opened, ports, forwarded_to, opened_at_ms, until_ms, remaining_secs.
///
/// Examples:
///   postern-agent grants
///   postern-agent grants --user alice --json
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct GrantsArgs {
    /// Only those of this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub state: StateArgs,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GrantsFailed {
    /// There is no journal, or it cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// One grant. The names are part of the interface.
#[derive(Debug, Serialize)]
struct Row {
    grant_id: String,
    state: &'static str,
    user: String,
    user_identity: &'static str,
    key: String,
    stanza: String,
    generation: u64,
    source: String,
    opened: String,
    also_opened: Vec<String>,
    ports: Vec<String>,
    forwarded_to: String,
    opened_at_ms: u64,
    until_ms: u64,
    remaining_secs: u64,
}

/// Reads and prints.
///
/// # Errors
///
/// [`GrantsFailed`] when there is no journal that can be read.
pub fn run(args: &GrantsArgs) -> Result<(), GrantsFailed> {
    let dir = args.state.dir();
    let reader = JournalReader::look(&dir.join(FILE_NAME))?;
    let now_ms = clock::now().wall_ms();
    let rows: Vec<Row> = rows(reader.live_grants()?, args.user.as_deref(), now_ms);
    beside(&status::fetch(&dir));
    if args.json {
        let lines = rows
            .iter()
            .map(|row| serde_json::to_string(row).map(|line| printable_json(&line) + "\n"));
        let text: Result<String, _> = lines.collect();
        return Ok(program::print(
            text.map_err(|error| PrintError::Stdout(io::Error::from(error)))?,
        )?);
    }
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let head = ["USER", "FROM", "PORTS", "LEFT", "UNTIL", "STANZA", "STATE"];
    Ok(program::print(table(head, &cells))?)
}

/// What whoever reads the journal should know of the agent.
fn beside(asked: &Result<Report, StatusFailed>) {
    if let Err(StatusFailed::Unreached(Unreached::NoAgent { .. })) = asked {
        program::note("no agent runs: this is what it recorded, and ends by itself");
    }
    if let Some(why) = status::why_nothing_opens(asked) {
        program::note(format_args!("warning: nothing else opens now: {why}"));
    }
}

/// Those that are open at this moment, or live on; the next to end first.
fn rows(found: Vec<FoundGrant>, user: Option<&str>, now_ms: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = found
        .into_iter()
        .filter(|found| {
            // What a command opened nothing closes but the agent.
            found.is_closed || found.cycle.is_some() || found.grant.until_ms > now_ms
        })
        .filter(|found| user.is_none_or(|user| found.opened.user == user))
        .map(|found| Row::of(found, now_ms))
        .collect();
    rows.sort_by_key(|row| row.until_ms);
    rows
}

// === impl Row ===

impl Row {
    fn of(found: FoundGrant, now_ms: u64) -> Self {
        let FoundGrant {
            grant,
            opened: event,
            is_closed,
            is_given_up: _,
            cycle,
        } = found;
        let user_identity = event.user_identity().as_str();
        let Event {
            user,
            key,
            stanza,
            generation,
            source,
            opened,
            also_opened,
            ports,
            forwarded_to,
            at_ms,
            ..
        } = event;
        Self {
            grant_id: grant.id.to_string(),
            state: match cycle {
                Some((_, CycleStage::Closing)) => "closing",
                Some((_, CycleStage::Opening | CycleStage::Open)) => "command",
                None if is_closed => "connections",
                None => "open",
            },
            user,
            user_identity,
            key,
            stanza,
            generation,
            source,
            opened,
            also_opened,
            ports,
            forwarded_to,
            opened_at_ms: at_ms,
            until_ms: grant.until_ms,
            remaining_secs: grant.until_ms.saturating_sub(now_ms).div_ceil(1_000),
        }
    }

    fn cells(&self) -> [String; 7] {
        let mut from = vec![self.opened.clone()];
        from.extend(self.also_opened.iter().cloned());
        let mut ports = self.ports.join(",");
        if !self.forwarded_to.is_empty() {
            ports = format!("{ports}->{}", self.forwarded_to);
        }
        let left = match self.state {
            "open" => said(self.remaining_secs),
            _ => "-".to_owned(),
        };
        [
            printable(&self.user),
            from.join(","),
            ports,
            left,
            shown(self.until_ms),
            self.stanza.clone(),
            self.state.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use fleet::GrantId;

    use super::*;
    use crate::journal::LiveGrant;

    fn found(number: u8, user: &str, until_ms: u64, is_closed: bool) -> FoundGrant {
        FoundGrant {
            grant: LiveGrant {
                id: GrantId([number; 16]),
                until_ms,
                rules: Vec::new(),
            },
            opened: Event {
                user: user.to_owned(),
                opened: "192.0.2.7".to_owned(),
                ports: vec!["tcp/22".to_owned()],
                ..Event::default()
            },
            is_closed,
            is_given_up: false,
            cycle: None,
        }
    }

    #[test]
    fn what_is_open_or_lives_on_is_shown_the_next_to_end_first_and_what_has_ended_is_not() {
        let all = || {
            vec![
                found(1, "alice", 9_000, false),
                found(2, "bob", 4_500, false),
                found(3, "carol", 3_000, false),
                found(4, "dave", 2_000, true),
            ]
        };

        let shown = rows(all(), None, 4_000);

        let users: Vec<_> = shown.iter().map(|row| (&*row.user, row.state)).collect();
        let expected = [("dave", "connections"), ("bob", "open"), ("alice", "open")];
        assert_eq!(users, expected);
        let left: Vec<_> = shown.iter().map(|row| row.remaining_secs).collect();
        assert_eq!(left, [0, 1, 5]);
        assert_eq!(rows(all(), Some("bob"), 4_000).len(), 1);
    }
}
