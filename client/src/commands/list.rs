//! `postern list`

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::wire::DirectoryHost;
use fleet::{Event, EventKind, Outcome};
use policy::PortSet;
use serde::Serialize;
use spa::Service;

use crate::commands::profile::rotate;
use crate::context::{Context, Listing};
use crate::directory::addresses;
use crate::error::{CommandError, Result};
use crate::knock::asker::Asker;
use crate::knock::hosts::with_label;
use crate::knock::known::{Known, Question, ask_known};
use crate::knock::listed::spa_port;
use crate::knock::refresh;
use crate::time;

/// How far back grants are looked for that may still be open.
const BACK_MS: u64 = 24 * 3_600_000;
/// More grants of one user than are open at once.
const EVENTS_MAX: u32 = 200;

/// Show what you may open, until when, and what of it is open now
///
/// The directory is fetched anew when the controller answers within a second; else the one of the profile
/// is shown, and of when it is. What is open now is the hosts' own record, as the controller has it;
/// without the controller that column says `?`. A host that is locked, or being installed anew, says
/// `locked` there.
///
/// JSON fields: host, addresses, spa_port, ports (empty for any), labels, stanza, until (seconds since
/// 1970, null for no end), connected, open (a list of ports, address, seconds left; null when it is not
/// known), locked, generation.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  postern list
  postern list role=web
  postern list web-1 --json")]
pub(crate) struct ListArgs {
    /// Only these hosts: names or labels (role=web)
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,

    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    host: &'a str,
    addresses: Vec<String>,
    spa_port: u16,
    ports: &'a [String],
    labels: BTreeMap<&'a str, &'a str>,
    stanza: &'a str,
    until: Option<u64>,
    connected: Option<bool>,
    open: Option<Vec<OpenNow>>,
    /// Nobody can open anything there now.
    locked: bool,
    generation: u64,
}

/// A grant that has not ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct OpenNow {
    ports: Vec<String>,
    address: String,
    seconds_left: u64,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result {
    let membership = context.profile.membership()?;
    let mut asker = Asker::new(membership);
    let directory = refresh::whole(context, &mut asker).await?;
    rotate::say_asked(context, directory.rotation_asked_ms());
    let all = [directory.hosts(), directory.locked()].concat();
    let wanted = wanted(&all, &args.hosts)?;
    let now_ms = context.now_secs.saturating_mul(1000);
    let question = Question {
        since_ms: now_ms.saturating_sub(BACK_MS).max(1),
        limit: EVENTS_MAX,
        ..Question::default()
    };
    let known = ask_known(&mut asker, question).await;
    let is_wanted = |host: &&DirectoryHost| {
        let names = wanted.as_ref();
        names.is_none_or(|wanted| wanted.contains(&host.name))
    };
    let state = (known.as_ref(), directory.generation());
    let hosts = directory.hosts().iter().filter(is_wanted);
    let rows = hosts.map(|host| row(host, state, false));
    let locked = directory.locked().iter().filter(is_wanted);
    let rows: Vec<Row<'_>> = rows
        .chain(locked.map(|host| row(host, state, true)))
        .collect();
    if args.listing.json {
        return rows.iter().try_for_each(|row| context.ui.json(row));
    }
    if rows.is_empty() {
        context.ui.say(format_args!(
            "You may open nothing, as of policy generation {}.",
            directory.generation()
        ))?;
    } else {
        table(context, &rows)?;
    }
    if known.is_none() {
        let at = time::short(directory.at_secs().saturating_mul(1000));
        let age_secs = context.now_secs.saturating_sub(directory.at_secs());
        let age = humantime::format_duration(Duration::from_secs(age_secs));
        context.ui.note(format_args!(
            "the controller does not say what is open now; this is the directory of {at}, {age} ago"
        ));
    }
    Ok(())
}

fn table(context: &Context, rows: &[Row<'_>]) -> Result {
    context.ui.table(
        ["HOST", "PORTS", "UNTIL", "OPEN NOW", "ADDRESS", "STANZA"],
        rows.iter().map(|row| {
            [
                row.host.to_owned(),
                listed(row.ports),
                row.until.map_or_else(
                    || "-".to_owned(),
                    |secs| time::short(secs.saturating_mul(1000)),
                ),
                open_words(row),
                row.addresses.join(","),
                row.stanza.to_owned(),
            ]
        }),
    )
}

/// The names that are meant; `None` for all.
fn wanted(hosts: &[DirectoryHost], named: &[String]) -> Result<Option<Vec<String>>> {
    if named.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for name in named {
        match name.split_once('=') {
            Some(label) => found.extend(with_label(hosts, label)?),
            None if hosts.iter().any(|host| host.name == *name) => found.push(name.clone()),
            None => {
                return Err(CommandError::refused(format!(
                    "no policy lets you open anything on a host named {name}"
                ))
                .with_hint("`postern list` shows the hosts"));
            }
        }
    }
    Ok(Some(found))
}

fn row<'a>(
    host: &'a DirectoryHost,
    (known, generation): (Option<&Known>, u64),
    locked: bool,
) -> Row<'a> {
    let labels = host.labels.iter();
    Row {
        host: &host.name,
        addresses: if locked { Vec::new() } else { addresses(host) },
        spa_port: spa_port(host),
        ports: &host.ports,
        labels: labels.map(|(label, value)| (&**label, &**value)).collect(),
        stanza: &host.stanza,
        until: Some(host.expires_at_secs).filter(|secs| *secs != 0),
        connected: known.map(|known| known.host(&host.name).is_some_and(|state| state.connected)),
        open: known.map(|known| open_now(known, &host.name, &host.stanza)),
        locked,
        generation,
    }
}

/// The grants of a stanza on a host that have not ended, by the host's own clock.
fn open_now(known: &Known, host: &str, stanza: &str) -> Vec<OpenNow> {
    let offset_ms = known.host(host).and_then(|state| state.clock_offset_ms);
    let there_ms = known
        .controller_time_ms
        .saturating_add_signed(offset_ms.unwrap_or(0));
    let of_host = known.events.iter().filter(|(name, _)| name == host);
    let mut told: Vec<&str> = Vec::new();
    let mut open = Vec::new();
    // The newest word about a grant counts.
    for (_, event) in of_host {
        if event.grant_id.is_empty() || told.contains(&event.grant_id.as_str()) {
            continue;
        }
        told.push(&event.grant_id);
        if event.stanza == stanza && is_open(event) && event.until_ms > there_ms {
            open.push(OpenNow {
                ports: event.ports.clone(),
                address: event.opened.clone(),
                seconds_left: (event.until_ms - there_ms).div_ceil(1000),
            });
        }
    }
    open
}

fn is_open(event: &Event) -> bool {
    event.kind() == EventKind::GrantOpened && event.outcome() != Outcome::Failure
}

fn open_words(row: &Row<'_>) -> String {
    if row.locked {
        return "locked".to_owned();
    }
    let Some(open) = &row.open else {
        return "?".to_owned();
    };
    if open.is_empty() {
        let away = row.connected == Some(false);
        return if away { "offline" } else { "-" }.to_owned();
    }
    let words = open.iter().map(|open| {
        let left = humantime::format_duration(Duration::from_secs(open.seconds_left));
        format!("{} for {}, {left} left", open.ports.join(","), open.address)
    });
    words.collect::<Vec<_>>().join("; ")
}

/// Ports as an operator writes them; what a newer controller lists stays as it is.
pub(crate) fn listed(ports: &[String]) -> String {
    if ports.is_empty() {
        return "any".to_owned();
    }
    let known: Option<PortSet> = ports
        .iter()
        .map(|port| port.parse::<Service>().ok())
        .collect();
    known.map_or_else(|| ports.join(","), |known| known.to_string())
}

#[cfg(test)]
mod tests {
    use fleet::wire::HostState;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn grant(kind: EventKind, id: &str, until_ms: u64) -> (String, Event) {
        let mut event = Event::new(kind, NOW_MS);
        event.grant_id = id.to_owned();
        event.stanza = "ssh".to_owned();
        event.ports = vec!["tcp/22".to_owned()];
        event.opened = "192.0.2.7".to_owned();
        event.until_ms = until_ms;
        ("web-1".to_owned(), event)
    }

    fn open(events: Vec<(String, Event)>, clock_offset_ms: i64) -> Vec<u64> {
        let known = Known {
            events,
            hosts: vec![HostState {
                host: "web-1".to_owned(),
                clock_offset_ms: Some(clock_offset_ms),
                ..HostState::default()
            }],
            controller_time_ms: NOW_MS,
            generation: 1,
        };
        let open = open_now(&known, "web-1", "ssh").into_iter();
        open.map(|open| open.seconds_left).collect()
    }

    #[test]
    fn the_newest_word_about_a_grant_says_whether_it_is_open() {
        use EventKind::{GrantClosed, GrantOpened};
        let later = NOW_MS + 25_000;

        assert_eq!(open(vec![grant(GrantOpened, "a", later)], 0), [25]);
        let closed = vec![
            grant(GrantClosed, "a", later),
            grant(GrantOpened, "a", later),
        ];
        assert_eq!(open(closed, 0), [] as [u64; 0]);
        let refreshed = vec![
            grant(GrantOpened, "a", later),
            grant(GrantOpened, "a", NOW_MS + 5_000),
            grant(GrantOpened, "b", NOW_MS - 1),
        ];
        assert_eq!(open(refreshed, 0), [25]);
    }

    #[test]
    fn the_end_of_a_grant_is_by_its_hosts_clock() {
        let grant = || vec![grant(EventKind::GrantOpened, "a", NOW_MS + 25_000)];

        assert_eq!(open(grant(), 20_000), [5]);
        assert_eq!(open(grant(), 30_000), [] as [u64; 0]);
        assert_eq!(open(grant(), -20_000), [45]);
    }
}
