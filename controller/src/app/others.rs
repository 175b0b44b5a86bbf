//! A controller among others over one database: it says that it lives, which hosts have sessions here and what these
//! have heard, and hears the same of the others; and what is claimed at one is told to the hosts of all.
//!
//! Only what changed is said and read: when nothing happens, all of it is one small look and, every few seconds, one
//! row. What a controller says of its life is another number each time, so that clocks need not agree.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fleet::Role;

use super::members;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{HostSaid, Look};
use crate::store::others::Myself;
use crate::timestamp::Timestamp;

/// Unchanged as long as this, what a controller says of its life is said no more: three times as long as between two.
const STALE_MS: u64 = 15_000;
/// And after this, others forget it.
const DEAD_MS: u64 = 60_000;
/// We say it again after this.
const AGAIN_MS: u64 = 5_000;
/// Claims told of one look, the newest: 20,000 a second. Hosts hear of the rest when they claim.
const CLAIMS_MAX: u32 = 4_096;

/// What was said and heard.
#[derive(Debug, Default)]
pub(crate) struct Among {
    myself: Option<Myself>,
    /// When we said last that we live.
    said_ms: u64,
    /// What we said last of hosts that are here, by `Member::id`.
    said: HashMap<u64, HostSaid>,
    /// The newest change of hosts that was heard.
    hosts: u64,
    /// The newest claim that was heard of; `None` before the first look: what was claimed before it, hosts are told when
    /// they come.
    claims: Option<u64>,
    /// The newest record whose push was counted; `None` before the first look.
    pushed: Option<u64>,
    lives: Lives,
}

/// What others say of their lives.
#[derive(Debug, Default)]
struct Lives(BTreeMap<u64, Life>);

/// What a controller said, and since when it says that.
#[derive(Clone, Copy, Debug)]
struct Life {
    beat: u64,
    since_ms: u64,
}

// === impl Among ===

impl Among {
    /// Says what is news here, and hears what is news elsewhere by this look. `steady_ms` is of a clock that nobody
    /// sets: that one is set must not be somebody's death.
    ///
    /// # Errors
    ///
    /// When something cannot be written or read: it is said and heard the next time.
    pub(crate) async fn exchange(
        &mut self,
        context: &Context,
        look: &Look,
        (now, steady_ms): (Timestamp, u64),
    ) -> Result<(), Error> {
        let myself = self.be_there(context, steady_ms).await?;
        if look.hosts < self.hosts {
            // A server that took another's place has lost what was said last, perhaps: all of it again.
            self.hosts = 0;
            self.said.clear();
            context.sessions.tell_others();
        }
        self.say(context, &myself).await?;
        self.greet(context, &look.controllers);
        let others = context.sessions.others();
        if !others.knows(look.controllers.iter().map(|(id, _)| *id)) {
            others.set_controllers(context.store.controllers().await?);
        }
        let dead = self.lives.hear(&look.controllers, steady_ms);
        let alive = self.lives.alive(steady_ms);
        context.sessions.others().set_alive(alive);
        for (id, beat) in dead {
            context.store.forget_dead(id, beat).await?;
        }
        self.hear_hosts(context, look.hosts, myself.id).await?;
        self.count_pushed(context, look.record, now).await?;
        self.hear_claims(context, look.claims).await
    }

    /// Says that we are there no more, so that nobody has to find that out.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) async fn leave(&mut self, context: &Context) -> Result<(), Error> {
        if let Some(myself) = self.myself.take() {
            context.store.end_among_others(&myself).await?;
        }
        Ok(())
    }

    async fn be_there(&mut self, context: &Context, steady_ms: u64) -> Result<Myself, Error> {
        if let Some(myself) = &self.myself {
            if steady_ms.saturating_sub(self.said_ms) >= AGAIN_MS {
                context.store.say_alive(myself).await?;
                self.said_ms = steady_ms;
            }
            return Ok(myself.clone());
        }
        let myself = context.store.begin_among_others(context.facts()).await?;
        context.sessions.others().set_myself(myself.id);
        context.sessions.tell_others();
        self.said_ms = steady_ms;
        self.myself = Some(myself.clone());
        Ok(myself)
    }

    /// Whoever is new knows nothing of what hosts have heard: what was said of them is about what was wanted before.
    fn greet(&self, context: &Context, said: &[(u64, u64)]) {
        let others = context.sessions.others();
        let is_new = |(id, _): &(u64, u64)| !self.lives.0.contains_key(id);
        if let Some(followed) = others.followed()
            && said.iter().any(is_new)
        {
            others.ask_all(followed.settled);
        }
    }

    async fn say(&mut self, context: &Context, myself: &Myself) -> Result<(), Error> {
        let Some(followed) = context.sessions.others().followed() else {
            return Ok(());
        };
        let untold = context.sessions.take_untold();
        let news = self.news(context, &untold, followed.settled);
        if news.is_empty() {
            return Ok(());
        }
        if let Err(error) = context.store.say_hosts(myself, news.clone()).await {
            context.sessions.put_back_untold(untold);
            return Err(error.into());
        }
        for said in news {
            if said.is_here {
                self.said.insert(said.member, said);
            } else {
                self.said.remove(&said.member);
            }
        }
        Ok(())
    }

    /// What is to be said of these hosts, in the order of their ids. All that is in force here up to record `settled`
    /// has been heard by who enforces what it should.
    fn news(&self, context: &Context, hosts: &HashSet<String>, settled: u64) -> Vec<HostSaid> {
        let mut news = Vec::new();
        for name in hosts {
            let Some(member) = context.roster.find(Role::Host, name) else {
                continue;
            };
            let said = self.said.get(&member.id);
            let is_here = context.sessions.is_connected(name);
            let before = said.map_or(0, |said| said.heard);
            // Since it said so last, nothing else may have been wanted of it.
            let is_asked = context.sessions.others().is_asked(name, before);
            let has_heard = is_here && members::has_acknowledged_here(context, &member);
            let heard = if is_asked && has_heard {
                settled
            } else {
                before
            };
            let is = HostSaid {
                member: member.id,
                is_here,
                heard,
            };
            let is_news = match said {
                Some(said) => *said != is,
                None => is_here,
            };
            if is_news {
                news.push(is);
            }
        }
        news.sort_unstable_by_key(|said| said.member);
        news
    }

    async fn hear_hosts(
        &mut self,
        context: &Context,
        newest: u64,
        myself: u64,
    ) -> Result<(), Error> {
        if newest <= self.hosts {
            return Ok(());
        }
        let heard = context.store.hosts_said_after(self.hosts).await?;
        for said in heard {
            context.sessions.others().hear(said);
            self.hosts = self.hosts.max(said.number);
            let is_elsewhere = said.controller != 0 && said.controller != myself;
            if is_elsewhere && self.said.remove(&said.member).is_some() {
                // One session of a host in the fleet, and the newest is that one.
                self.end_older(context, said.member);
            }
        }
        context.sessions.note_heard_elsewhere();
        Ok(())
    }

    fn end_older(&self, context: &Context, member: u64) {
        if let Some(host) = context.roster.by_id(member) {
            tracing::info!(
                host = host.name,
                "it has a session at another controller now"
            );
            context.sessions.end(&host.name);
        }
    }

    /// What hosts push to others is taken off what they may push here, so that who pushes to all of them may push no more
    /// than who pushes to one. Of a host that has its session here, what it pushes was counted when it came.
    async fn count_pushed(
        &mut self,
        context: &Context,
        newest: u64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let before = self.pushed.unwrap_or(newest);
        if newest > before && context.event_quotas.is_bounded() {
            for pushed in context.store.pushed_between((before, newest)).await? {
                let host = context.roster.by_id(pushed.member);
                if host.is_some_and(|host| !context.sessions.is_connected(&host.name)) {
                    let much = (pushed.records, pushed.body_bytes);
                    let quotas = &context.event_quotas;
                    quotas.charge_elsewhere(pushed.member, much, now.ms());
                }
            }
        }
        self.pushed = Some(newest);
        Ok(())
    }

    async fn hear_claims(&mut self, context: &Context, newest: u64) -> Result<(), Error> {
        let Some(before) = self.claims.replace(newest) else {
            return Ok(());
        };
        if newest <= before {
            return Ok(());
        }
        let range = (before, newest);
        let claims = context.store.claims_won_after(range, CLAIMS_MAX).await;
        let mut claims = claims.inspect_err(|_| self.claims = Some(before))?;
        // Of those that were made here, hosts are told at once.
        claims.retain(|claim| !context.sessions.is_connected(&claim.host));
        if !claims.is_empty() {
            let targets = context.rollout.targets();
            context.sessions.announce(&targets, &claims);
        }
        Ok(())
    }
}

// === impl Lives ===

impl Lives {
    /// What all say now. Those that have not said anything else for so long that they may be forgotten.
    fn hear(&mut self, said: &[(u64, u64)], now_ms: u64) -> Vec<(u64, u64)> {
        let before = std::mem::take(&mut self.0);
        let mut dead = Vec::new();
        for (id, beat) in said {
            let since_ms = match before.get(id) {
                Some(same) if same.beat == *beat => same.since_ms,
                Some(_) | None => now_ms,
            };
            let life = Life {
                beat: *beat,
                since_ms,
            };
            if now_ms.saturating_sub(since_ms) >= DEAD_MS {
                dead.push((*id, *beat));
            }
            self.0.insert(*id, life);
        }
        dead
    }

    fn alive(&self, now_ms: u64) -> BTreeSet<u64> {
        let lives = self.0.iter();
        let alive = lives.filter(|(_, life)| now_ms.saturating_sub(life.since_ms) < STALE_MS);
        alive.map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests;
