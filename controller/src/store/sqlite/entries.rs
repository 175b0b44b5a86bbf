//! What goes into the fleet's log by itself: pushes of hosts, and the controller's own events.

use std::collections::BTreeSet;

use fleet::Event;

use super::events::Log;
use super::{alarms, host_edits, hosts};
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{Entry, Push, Pushed};
use crate::store::sql::Connection;

/// What waits at one time is appended one after another, and written at once.
impl Together for Entry {
    /// Of the controller's own events nobody asks.
    type Outcome = Pushed;

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.log
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<Pushed>, StoreError> {
        let pushes: Vec<&Push> = several.iter().filter_map(Self::as_push).collect();
        let seen = pushes.iter().map(|push| (push.host, push.now_ms));
        hosts::all_seen(connection, seen.collect())?;
        let mut log = Log::open(connection)?;
        // Hosts are called what they were a moment ago, but for those that somebody has just named anew.
        let called = pushes
            .iter()
            .map(|push| (push.name.as_str(), push.epoch.as_str()));
        let called: BTreeSet<_> = called.collect();
        let hosts = pushes.iter().map(|push| push.host);
        let names = log.look_up(&Vec::from_iter(called), || {
            host_edits::names_of(connection, hosts)
        })?;
        let name = |push: &Push| names.get(&push.host).unwrap_or(&push.name).clone();
        let renamed = pushes.iter().filter(|push| name(push) != push.name);
        let renamed = renamed.map(|push| (name(push), push.epoch.as_str()));
        let renamed: BTreeSet<_> = renamed.collect();
        let renamed: Vec<_> = renamed
            .iter()
            .map(|(host, epoch)| (host.as_str(), *epoch))
            .collect();
        log.look_up(&renamed, || Ok(()))?;
        let mut outcomes = Vec::with_capacity(several.len());
        for entry in several {
            outcomes.push(match entry {
                Self::Own(event) => {
                    log.own(Event::clone(event))?;
                    Pushed::default()
                }
                Self::Push(push) => append(connection, &mut log, (push, &name(push)))?,
            });
        }
        log.write()?;
        Ok(outcomes)
    }

    fn weight(&self) -> usize {
        self.as_push().map_or(1, |push| push.records.len().max(1))
    }
}

/// Stores a push, and what is wrong with it as alarms.
fn append<'c>(
    connection: &'c Connection,
    log: &mut Log<'c>,
    (push, name): (&Push, &str),
) -> Result<Pushed, StoreError> {
    let Push {
        host,
        name: _,
        epoch,
        records,
        found,
        now_ms,
    } = push;
    let journal = (name, epoch.as_str());
    let pushed = log.push(journal, Some(*host), records, *now_ms)?;
    let faults = pushed.faults(journal);
    if !faults.is_empty() {
        log.write()?;
        for (kind, reason) in faults {
            alarms::raise(connection, *host, (kind, &reason), found, *now_ms)?;
        }
        *log = Log::open(connection)?;
    }
    Ok(pushed)
}
