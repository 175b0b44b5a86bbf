//! Sessions that are opened at one time, as one set: what is stored of their hosts is asked for at once, and those that
//! go on as they should are written at once. Whoever comes otherwise (set back, copied, renamed, with another journal or
//! with news of the fleet) is looked at alone, by `sessions`, after them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::journals::{self, Journal};
use super::meta::{self, Numbers};
use super::resealing::Retired;
use super::sessions::{self, Presents};
use super::{checkpoints, claims, host_edits, hosts, leases, policies, set_back};
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{Begun, Lease, Lineage, Opening, Presented, SessionWanted};
use crate::store::sql::Connection;

impl Together for Box<SessionWanted> {
    /// What is damaged of one is that one's alone.
    type Outcome = Result<Begun, StoreError>;

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.sessions
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<Self::Outcome>, StoreError> {
        let stored = Stored::of(connection, several)?;
        let retired = Retired::default();
        let mut hosts = HashSet::new();
        let (mut connected, mut lineages) = (Vec::new(), BTreeMap::new());
        let mut judged = Vec::with_capacity(several.len());
        for wanted in several {
            let wanted: &SessionWanted = wanted;
            // Whoever comes a second time finds what the first has left.
            let is_first = hosts.insert(wanted.host);
            judged.push(if is_first {
                stored.judge(connection, wanted, &retired)?
            } else {
                Judged::Alone
            });
            if let Some(Judged::GoesOn(_, lineage)) = judged.last() {
                connected.push((wanted.host, &wanted.opening, wanted.now_ms));
                lineages.extend(lineage.clone().map(|lineage| (wanted.host, lineage)));
            }
        }
        hosts::connected(connection, &connected)?;
        sessions::save_all(connection, lineages.iter())?;
        let mut outcomes = Vec::with_capacity(several.len());
        for (wanted, judged) in several.iter().zip(judged) {
            outcomes.push(match judged {
                Judged::GoesOn(begun, _) => Ok(*begun),
                Judged::Damaged(error) => Err(error),
                Judged::Alone => Ok(sessions::begin(connection, wanted)?),
            });
        }
        Ok(outcomes)
    }
}

/// How a session begins.
enum Judged {
    /// As it should, with what is to be known of its host's passes where it keeps them.
    GoesOn(Box<Begun>, Option<Lineage>),
    /// What is stored of its host cannot be read.
    Damaged(StoreError),
    /// There is more to be looked at.
    Alone,
}

/// What is stored of hosts, and holds for all of them.
struct Stored {
    /// What they are called now.
    names: BTreeMap<u64, String>,
    lineages: BTreeMap<u64, String>,
    leases: BTreeMap<u64, Lease>,
    /// Those that they say they go on with, by host and epoch.
    journals: HashMap<journals::Name, Journal>,
    /// The newest that each began.
    newest: BTreeMap<u64, Journal>,
    /// The newest date of what each has won.
    won: BTreeMap<String, u64>,
    /// Chain values of the log at sizes that are asked for.
    roots: BTreeMap<u64, [u8; 32]>,
    numbers: Numbers,
    generation: u64,
}

// === impl Stored ===

impl Stored {
    /// Asked together and taken then: where there are journeys they are one.
    fn of(connection: &Connection, several: &[Box<SessionWanted>]) -> Result<Self, StoreError> {
        let members = several.iter().map(|it| it.host);
        let members: Vec<u64> = members.collect::<BTreeSet<_>>().into_iter().collect();
        let hosts = several.iter().map(|it| it.name.clone());
        let hosts: Vec<String> = hosts.collect::<BTreeSet<_>>().into_iter().collect();
        let ends = several.iter().filter_map(|it| {
            let end = it.opening.journal.as_ref()?;
            Some((it.name.as_str(), end.epoch.as_str()))
        });
        let ends: Vec<_> = ends.collect::<BTreeSet<_>>().into_iter().collect();
        let sizes = several.iter().filter_map(|it| it.opening.checkpoint);
        let sizes: Vec<u64> = sizes.collect::<BTreeSet<_>>().into_iter().collect();

        let names = host_edits::ask_names(connection, &members)?;
        let lineages = sessions::ask_lineages(connection, &members)?;
        let leases = leases::ask_all(connection, &members)?;
        let journals = journals::ask_all(connection, &ends)?;
        let newest = journals::ask_newest_of(connection, &members)?;
        let won = claims::ask_dates_won(connection, &hosts)?;
        let roots = checkpoints::ask_roots(connection, &sizes)?;
        let numbers = meta::ask_numbers(connection)?;
        let generation = policies::current(connection)?;
        Ok(Self {
            names: names.by(&members, |row| row.get(0))?,
            lineages: lineages.by(&members, |row| row.get(0))?,
            leases: leases.by(&members, leases::read)?,
            journals: journals::all_taken(journals, &ends)?,
            newest: newest.by(&members, Journal::read)?,
            won: won.by(&hosts, |row| row.get(0))?,
            roots: roots.by(&sizes, |row| row.get(0))?,
            numbers: meta::asked_numbers(numbers)?,
            generation,
        })
    }

    /// Whether a session begins as it should, and with what: the same as `sessions` comes to, where that finds nothing.
    fn judge(
        &self,
        connection: &Connection,
        wanted: &SessionWanted,
        retired: &Retired,
    ) -> Result<Judged, StoreError> {
        let SessionWanted {
            host,
            name,
            opening,
            ..
        } = wanted;
        let text = self.lineages.get(host).map(String::as_str);
        let mut lineage = match sessions::parsed(text) {
            Ok(lineage) => lineage,
            Err(error) => return Ok(Judged::Damaged(error)),
        };
        if self.names.get(host) != Some(name) || lineage.is_cloned() || self.has_news(name, opening)
        {
            return Ok(Judged::Alone);
        }
        let pass = match sessions::presents(connection, wanted, retired)? {
            Presents::Nothing => None,
            Presents::Pass(pass) => Some(pass),
            Presents::Foreign => return Ok(Judged::Alone),
        };
        let is_known = !opening.keeps_passes
            || match lineage.present(pass.map(|pass| pass.number), &opening.run) {
                Presented::First | Presented::Continues => true,
                // After a restore all hosts come so, and the first has told it.
                Presented::Ahead => pass.is_some_and(|pass| {
                    set_back::is_told(pass, (self.generation, self.numbers.claim_epoch))
                }),
                Presented::Lost
                | Presented::SetBack
                | Presented::Cloned
                | Presented::StillCloned => false,
            };
        let mut begun = Begun::default();
        if let Some(end) = opening.journal.as_ref().filter(|_| is_known) {
            let stored = self.journals.get(&(name.clone(), end.epoch.clone()));
            begun.acknowledged = match stored {
                Some(stored) => sessions::goes_on(stored, end),
                None => self
                    .is_first(*host, end.oldest_seq)
                    .then(|| sessions::nothing_of(end)),
            };
        }
        if !is_known || begun.acknowledged.is_some() != opening.journal.is_some() {
            return Ok(Judged::Alone);
        }
        begun.root = opening.checkpoint.and_then(|size| self.root_at(size));
        if !opening.keeps_passes {
            return Ok(Judged::GoesOn(Box::new(begun), None));
        }
        begun.lease = self.leases.get(host).copied();
        let facts = (self.generation, self.numbers.claim_epoch);
        begun.pass = sessions::issue(&wanted.seal, (*host, &mut lineage), facts, opening.seen)?;
        Ok(Judged::GoesOn(Box::new(begun), Some(lineage)))
    }

    /// Whether the host says that it has seen what is not known here.
    fn has_news(&self, host: &str, opening: &Opening) -> bool {
        let Numbers {
            claim_epoch,
            claim_dates_since_secs,
            replay_floor_secs,
        } = self.numbers;
        let won_secs = self.won.get(host).copied().unwrap_or(0);
        let won_secs = won_secs.max(claim_dates_since_secs).max(replay_floor_secs);
        set_back::is_news(opening.seen, (self.generation, claim_epoch), won_secs)
    }

    /// Whether a journal of which nothing is stored is the first that its host began, or that it was told to begin.
    fn is_first(&self, host: u64, oldest_seq: u64) -> bool {
        let newest = self.newest.get(&host);
        oldest_seq <= 1 && newest.is_none_or(|newest| newest.retired)
    }

    fn root_at(&self, size: u64) -> Option<[u8; 32]> {
        if size == 0 {
            return checkpoints::BEFORE_ALL;
        }
        self.roots.get(&size).copied()
    }
}
