//! What a user closes before its time: her own, and nothing that anybody else has begun.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fleet::GrantId;
use gate::{Grant, Now};
use spa::Service;

use super::Engine;
use crate::batch::Permits;
use crate::cycles::EarlyEnd;
use crate::effect::{Closing, Effect};
use crate::end::End;
use crate::grants::LiveGrant;
use crate::record::{self, Record};

const REASON: &str = "closed by the user";
const REASON_CUT: &str = "closed by the user, with its connections";

/// What a user wants closed.
#[derive(Debug)]
pub(super) struct Wanted {
    /// What she has opened; empty means everything.
    pub(super) ports: Vec<Service>,
    /// Whether the connections that began through it are to end, too.
    pub(super) cut: bool,
}

// === impl Engine ===

impl Engine {
    /// Closes every grant of this user and key that lets in the address and that opens anything of
    /// what is named; that of which nothing is left is said to be so.
    pub(super) fn close_on_request(&mut self, request: &Grant, wanted: &Wanted, now: Now) {
        let address = request.permit().address();
        let asking = request.identity();
        let is_meant = |live: &&LiveGrant| live.is_of(asking) && wanted.concerns(live);
        let open = self.grants.letting_in(address).filter(is_meant);
        let open: BTreeSet<GrantId> = open.map(|live| live.id).collect();
        let mut hers = open.clone();
        if wanted.cut {
            let past = self.past.letting_in(address).map(|past| &past.live);
            hers.extend(past.filter(is_meant).map(|live| live.id));
        }
        let connections = if wanted.cut {
            self.connections.of_grants_only(&hers)
        } else {
            Vec::new()
        };
        let is_asked = |live: &LiveGrant| is_meant(&live) && lets_in(live, address);
        let withdrawn = self.withdraw(is_asked, "closed by the user before it was opened");
        let cycles = self.cycles_of(asking, address, &wanted.ports);
        if open.is_empty() && connections.is_empty() && cycles.is_empty() {
            let reason = if withdrawn > 0 {
                "nothing to close: what was asked for at the same moment was not opened".to_owned()
            } else {
                format!("nothing to close: nothing of this user is open for {address}")
            };
            self.refuse_grant(request, &reason, now);
            return;
        }
        let request = Some(request.replay_digest());
        for id in cycles {
            let ends = EarlyEnd {
                end: End::ByUser,
                reason: REASON.to_owned(),
                request,
            };
            self.cycles.end_now(id, ends);
        }
        self.close_cycles(now);
        if open.is_empty() && connections.is_empty() {
            return;
        }
        for id in hers.difference(&open) {
            self.record_cut(*id, &hers, request, now);
        }
        if wanted.cut {
            let given_up = self.connections.give_up(&hers);
            self.effects
                .extend(given_up.into_iter().map(Effect::GiveUp));
        }
        let grants = self.grants.take_these(&open);
        self.closing += grants.len();
        let reason = if wanted.cut { REASON_CUT } else { REASON };
        self.effects.push_back(Effect::Close(Closing {
            connections,
            request,
            ..Closing::of(grants, End::ByUser, reason.to_owned())
        }));
    }

    /// Records that connections end whose hole had closed before.
    fn record_cut(
        &mut self,
        id: GrantId,
        hers: &BTreeSet<GrantId>,
        request: Option<spa::ReplayDigest>,
        now: Now,
    ) {
        let own = BTreeSet::from([id]);
        let may = self.connections.of_grants(own.iter().copied());
        let only = self.connections.of_grants_only(hers);
        let count = only.iter().filter(|only| may.contains(only)).count() as u64;
        let Some(past) = self.past.get(id).filter(|_| count > 0) else {
            return;
        };
        let event = record::connections_cut(&past.live, count, now.wall_ms(), REASON_CUT);
        let mut record = Record::new(event);
        record.note_request(request);
        self.stage(record, Permits::Nothing);
    }

    /// What a user has closed is closed, or what was not extended is as before.
    pub(super) fn closed_gently(&mut self, closing: Closing, now: Now) {
        let Closing {
            grants,
            connections,
            end,
            reason,
            request,
            restore,
            ..
        } = closing;
        self.closing -= grants.len();
        self.counters.connections_cut += connections.len() as u64;
        for connection in &connections {
            self.connection_ended(connection);
        }
        for restore in &restore {
            if let Some(live) = self.grants.restore(restore) {
                let record = Record::not_extended(live, now.wall_ms(), &reason);
                self.stage(record, Permits::Nothing);
            }
        }
        for live in grants {
            self.record_end_asked(end, &live, now.wall_ms(), &reason, request);
            self.put_by(live, None, now);
        }
    }
}

fn lets_in(live: &LiveGrant, address: IpAddr) -> bool {
    live.rules.iter().any(|rule| rule.from().contains(&address))
}

// === impl Wanted ===

impl Wanted {
    fn concerns(&self, live: &LiveGrant) -> bool {
        let is_named = |asked: Option<Service>| {
            asked.is_none_or(|asked| self.ports.iter().any(|port| port.overlaps(asked)))
        };
        self.ports.is_empty() || live.rules.iter().any(|rule| is_named(rule.asked()))
    }
}
