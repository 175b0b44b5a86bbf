//! The beginning of a host's session, in one transaction: is it the host that we know, are we the
//! controller that it knows, and does its journal continue what is stored of it? Those that begin at one time, and as
//! they should, are one set (`openings`).

use std::collections::{BTreeMap, BTreeSet};

use fleet::EventKind;

use super::journals::{self, Journal};
use super::number::signed;
use super::resealing::Retired;
use super::set_back::{self, Evidence};
use super::{alarms, checkpoints, host_edits, hosts, leases, meta, policies};
use crate::store::error::StoreError;
use crate::store::jobs::{Lot, Sets, Together};
use crate::store::model::{
    Begun, JournalEnd, Lineage, Origin, Pass, PassWanted, Presented, Seen, SessionWanted,
};
use crate::store::seal::SealKey;
use crate::store::sql::{Asked, Connection, OptionalExtension as _, Set, params};

const LINEAGE: &str = "SELECT lineage FROM host_passes WHERE member = ?1";

/// One session that begins.
struct Beginning<'a> {
    connection: &'a Connection,
    seal: &'a SealKey,
    member: u64,
    /// What it is called now.
    host: &'a str,
    found: &'a Origin,
    now_ms: u64,
    begun: Begun,
}

/// What a host presents.
pub(super) enum Presents {
    Nothing,
    Pass(Pass),
    /// No pass of ours.
    Foreign,
}

/// Begins one that is looked at alone.
pub(in crate::store) fn begin(
    connection: &Connection,
    wanted: &SessionWanted,
) -> Result<Begun, StoreError> {
    let SessionWanted {
        host: member,
        name,
        opening,
        found,
        now_ms,
        seal,
    } = wanted;
    let (member, now_ms) = (*member, *now_ms);
    // It may have been given another name since the call began.
    let called = host_edits::name_of(connection, member)?;
    let host = called.as_ref().unwrap_or(name);
    hosts::connected(connection, &[(member, opening, now_ms)])?;
    let mut beginning = Beginning {
        connection,
        seal,
        member,
        host,
        found,
        now_ms,
        begun: Begun::default(),
    };
    let pass = match presents(connection, wanted, &Retired::default())? {
        Presents::Nothing => None,
        Presents::Pass(pass) => Some(pass),
        Presents::Foreign => {
            let found = format!("host {host} presents a session pass that is none of ours");
            beginning.begun.found.push(found);
            None
        }
    };
    let mut lineage = lineage(connection, member)?;
    if lineage.is_cloned() && !opening.is_locked {
        lineage.settle();
    }
    let presented = if opening.keeps_passes {
        lineage.present(pass.map(|pass| pass.number), &opening.run)
    } else {
        Presented::Continues
    };
    beginning.follow_pass(presented, pass, opening.seen)?;
    let is_cloned = matches!(presented, Presented::Cloned | Presented::StillCloned);
    if is_cloned && lineage.is_to_be_told(&opening.run) {
        // What the one granted, the other must not grant again.
        let words = "two machines use this host's state directory";
        beginning.begun.new_journal = Some(words.to_owned());
    }
    if let Some(journal) = opening.journal.as_ref().filter(|_| !is_cloned) {
        beginning.follow_journal(presented, journal)?;
    }
    let Beginning { mut begun, .. } = beginning;
    if let Some(size) = opening.checkpoint {
        begun.root = checkpoints::root_at(connection, size)?;
    }
    if opening.keeps_passes {
        begun.lease = leases::find(connection, member)?;
        let facts = (
            policies::current(connection)?,
            meta::claim_epoch(connection)?,
        );
        begun.pass = issue(seal, (member, &mut lineage), facts, opening.seen)?;
        save_all(connection, std::iter::once((&member, &lineage)))?;
    }
    Ok(begun)
}

/// Every host is given one with every policy that it is sent.
impl Together for PassWanted {
    type Outcome = Vec<u8>;

    fn among(sets: &mut Sets) -> &mut Lot<Self> {
        &mut sets.passes
    }

    fn all(connection: &Connection, several: &[Self]) -> Result<Vec<Vec<u8>>, StoreError> {
        let members = several.iter().map(|wanted| wanted.member);
        let members: Vec<u64> = members.collect::<BTreeSet<_>>().into_iter().collect();
        // Asked first and taken then: where there are journeys they are one.
        let texts = ask_lineages(connection, &members)?;
        let claim_epoch = meta::ask_claim_epoch(connection)?;
        let generation = policies::current(connection)?;
        let facts = (generation, meta::asked_claim_epoch(claim_epoch)?);
        let texts = texts.by(&members, |row| row.get::<_, String>(0))?;
        let mut lineages = BTreeMap::new();
        for member in members {
            lineages.insert(member, parsed(texts.get(&member).map(String::as_str))?);
        }
        let mut passes = Vec::with_capacity(several.len());
        for Self { member, seal } in several {
            let lineage = lineages.entry(*member).or_default();
            let seen = Seen::default();
            passes.push(issue(seal, (*member, lineage), facts, seen)?);
        }
        save_all(connection, lineages.iter())?;
        Ok(passes)
    }
}

// === impl Beginning ===

impl Beginning<'_> {
    fn follow_pass(
        &mut self,
        presented: Presented,
        pass: Option<Pass>,
        seen: Seen,
    ) -> Result<(), StoreError> {
        let host = self.host;
        match presented {
            Presented::Cloned => {
                let reason = format!(
                    "host {host}: two machines use one state directory; remove the copy's, join the \
                     copy anew with a token of its own, and then unlock {host} or replace it"
                );
                self.alarm(EventKind::HostCloned, &reason)?;
                self.begun.cloned = Some(reason);
                return Ok(());
            }
            Presented::StillCloned => return Ok(()),
            Presented::SetBack => {
                let reason = format!(
                    "host {host} presents a session pass that newer ones have followed: its state \
                     directory was set back (a snapshot, a backup); what it granted since may be \
                     missing in the log"
                );
                self.alarm(EventKind::HostSetBack, &reason)?;
                self.begun.new_journal = Some("this host's state was set back".to_owned());
            }
            Presented::Lost => {
                let reason = format!(
                    "host {host} presents no session pass, and had one: its journal was lost; what \
                     it had not sent is missing in the log"
                );
                self.alarm(EventKind::AuditGap, &reason)?;
            }
            Presented::First | Presented::Continues | Presented::Ahead => {}
        }
        let evidence = Evidence {
            member: self.member,
            host,
            pass: pass.filter(|_| presented == Presented::Ahead),
            seen,
        };
        let changed = set_back::follow(
            self.connection,
            self.seal,
            &evidence,
            self.found,
            self.now_ms,
        )?;
        self.begun.fleet_changed = changed.is_some();
        if changed.is_some() {
            leases::void_all(self.connection)?;
        }
        self.begun.found.extend(changed);
        Ok(())
    }

    /// Compares the host's journal with what is stored of it.
    fn follow_journal(&mut self, presented: Presented, end: &JournalEnd) -> Result<(), StoreError> {
        let Some(journal) = journals::find(self.connection, (self.host, &end.epoch))? else {
            self.begun.acknowledged = Some(nothing_of(end));
            return self.note_new_journal(presented, end);
        };
        if let Some(problem) = problem(&journal, end) {
            // Once: the pass may have said it already, and the host may be about to do as it was
            // told.
            if journals::retire(self.connection, &journal)? && presented != Presented::SetBack {
                let (host, epoch) = (self.host, &end.epoch);
                let reason = format!(
                    "host {host} came back with an older journal {epoch}: {problem}; what it granted \
                     in between may be missing in the log"
                );
                self.alarm(EventKind::HostSetBack, &reason)?;
            }
            self.begun.new_journal = Some(problem);
        } else if journal.retired {
            let words = "this journal is not the continuation of what the controller has of it";
            self.begun.new_journal = Some(words.to_owned());
        }
        self.begun.acknowledged = goes_on(&journal, end);
        if self.begun.new_journal.is_some() {
            journals::retire(self.connection, &journal)?;
            self.begun.acknowledged = None;
        }
        Ok(())
    }

    /// A journal that nothing is stored of: new, or what was stored of it was lost here.
    fn note_new_journal(
        &mut self,
        presented: Presented,
        end: &JournalEnd,
    ) -> Result<(), StoreError> {
        let (host, epoch) = (self.host, &end.epoch);
        if end.oldest_seq > 1 {
            let before = end.oldest_seq;
            let reason = format!(
                "journal {epoch} of host {host}: the events before event {before} were acknowledged \
                 and are not stored"
            );
            return self.alarm(EventKind::AuditGap, &reason);
        }
        let before = journals::newest_of(self.connection, self.member)?;
        if let Some(before) = before.filter(|_| presented != Presented::Lost) {
            let reason = format!(
                "host {host} began journal {epoch} without having been told to: what it had not \
                 sent of journal {} after event {} is missing in the log",
                before.epoch, before.last_seq
            );
            return self.alarm(EventKind::AuditGap, &reason);
        }
        Ok(())
    }

    fn alarm(&mut self, kind: EventKind, reason: &str) -> Result<(), StoreError> {
        self.begun.found.push(reason.to_owned());
        let alarm = (kind, reason);
        alarms::raise(self.connection, self.member, alarm, self.found, self.now_ms)
    }
}

/// What stands in the pass that a host presents. It may have been away since the key was rotated.
pub(super) fn presents(
    connection: &Connection,
    wanted: &SessionWanted,
    retired: &Retired,
) -> Result<Presents, StoreError> {
    let sealed = &wanted.opening.pass;
    if sealed.is_empty() {
        return Ok(Presents::Nothing);
    }
    let place = place(wanted.host);
    let text = retired.open((connection, &wanted.seal), &place, sealed)?;
    let pass = text.and_then(|text| Pass::of_text(&text));
    Ok(pass.map_or(Presents::Foreign, Presents::Pass))
}

/// Why a journal that ends like this is not the continuation of what is stored.
fn problem(stored: &Journal, end: &JournalEnd) -> Option<String> {
    let JournalEnd { seq, chain, .. } = end;
    let last = stored.last_seq;
    if *seq < last {
        return Some(format!("it ends at event {seq}, {last} are stored"));
    }
    let differs = *seq == last && *seq > 0 && *chain != stored.chain;
    differs.then(|| format!("its event {seq} is another than the one that is stored"))
}

/// How far a journal is stored that goes on as its host says; `None` where it does not.
pub(super) fn goes_on(stored: &Journal, end: &JournalEnd) -> Option<JournalEnd> {
    let goes_on = !stored.retired && problem(stored, end).is_none();
    goes_on.then(|| JournalEnd {
        epoch: end.epoch.clone(),
        seq: stored.last_seq,
        chain: stored.chain.to_vec(),
        oldest_seq: 0,
    })
}

/// The same of one of which nothing is stored.
pub(super) fn nothing_of(end: &JournalEnd) -> JournalEnd {
    JournalEnd {
        epoch: end.epoch.clone(),
        ..JournalEnd::default()
    }
}

/// The next pass, sealed. It says the newest policy, and the number of the replay list.
pub(super) fn issue(
    seal: &SealKey,
    (member, lineage): (u64, &mut Lineage),
    (generation, claim_epoch): (u64, u64),
    seen: Seen,
) -> Result<Vec<u8>, StoreError> {
    let pass = Pass {
        number: lineage.issue(),
        generation,
        claim_epoch,
        newest_claimed_secs: seen.newest_claimed_secs,
    };
    Ok(seal.seal(&place(member), &pass.to_text())?)
}

/// What binds a pass to the member that it is given to.
fn place(member: u64) -> String {
    format!("session pass of member {member}")
}

pub(super) fn lineage(connection: &Connection, member: u64) -> Result<Lineage, StoreError> {
    let text: Option<String> = connection
        .prepare_cached(LINEAGE)?
        .query_row([signed(member)], |row| row.get(0))
        .optional()?;
    parsed(text.as_deref())
}

/// Asks for what is known of the passes of several hosts, as texts.
pub(super) fn ask_lineages<'c>(
    connection: &'c Connection,
    members: &[u64],
) -> Result<Asked<'c>, StoreError> {
    let asked = Set::of(members.iter().map(|member| [signed(*member)]))?;
    Ok(connection.ask_each(LINEAGE, asked)?)
}

/// One that there is none of yet is that of a host which was given nothing.
pub(super) fn parsed(text: Option<&str>) -> Result<Lineage, StoreError> {
    let parsed = text.map(serde_json::from_str).transpose();
    let parsed = parsed.map_err(|_| StoreError::Damaged {
        what: "host_passes.lineage",
    });
    Ok(parsed?.unwrap_or_default())
}

pub(super) fn save_all<'l>(
    connection: &Connection,
    lineages: impl Iterator<Item = (&'l u64, &'l Lineage)>,
) -> Result<(), StoreError> {
    let mut rows = Set::default();
    for (member, lineage) in lineages {
        let text = serde_json::to_string(lineage).map_err(|_| StoreError::Damaged {
            what: "host_passes.lineage",
        })?;
        rows.push(params![signed(*member), text])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO host_passes (member, lineage) VALUES (?1, ?2)
             ON CONFLICT (member) DO UPDATE SET lineage = excluded.lineage",
        )?
        .execute_each(&rows)?;
    Ok(())
}
