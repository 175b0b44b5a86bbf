//! One host, with its own certificate and connection. It does what an agent does as far as a controller can see: it keeps
//! its pass, says what it has, unpacks what it is sent and checks its digest, dials the fleet's controllers in its own
//! order, and comes back with an agent's own waits. What it does not do is to parse and enforce the policy, since that
//! is the work of other machines; and a text that many have is unpacked by the first of its crew that is sent it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fleet::wire::agent_client::AgentClient;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{AcknowledgeRequest, PolicySnapshot, SessionRequest};
use fleet::{heartbeat, packing};
use member::Membership;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Channel;

use super::tally::Tally;
use crate::clock;

/// An agent's waits.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(15);
const DIAL: Duration = Duration::from_secs(20);
const OPEN: Duration = Duration::from_secs(20);
const SPREAD: Duration = Duration::from_millis(300);
const LIVED: Duration = Duration::from_secs(10);
/// As agents take it.
const DIRECTIVE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Texts by digest, shared by all hosts.
pub(super) type Texts = Arc<Mutex<HashMap<Vec<u8>, Arc<str>>>>;

/// A host that listens.
pub(super) struct Host {
    number: usize,
    member: Membership,
    texts: Texts,
    tally: Arc<Tally>,
    run_id: Vec<u8>,
    pass: Vec<u8>,
    generation: u64,
    digest: Vec<u8>,
    until_secs: u64,
    /// Without news it says what it enforces again.
    again_after: Duration,
}

// === impl Host ===

impl Host {
    /// The host with this number in its crew, and among all.
    pub(super) fn new(
        (number, of_all): (usize, usize),
        member: Membership,
        texts: Texts,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            number,
            member,
            texts,
            tally,
            run_id: of_all.to_le_bytes().repeat(2),
            pass: Vec::new(),
            generation: 0,
            digest: Vec::new(),
            until_secs: 0,
            again_after: heartbeat::LEAST,
        }
    }

    /// Listens, and comes back whenever a controller goes: at the next place at once, and with waits when all were
    /// tried. For the first time only a few come at once.
    pub(super) async fn keep(mut self, first: Arc<Semaphore>) {
        let mut wait = FIRST_WAIT;
        let mut turn = first.acquire_owned().await.ok();
        let mut failed = 0;
        loop {
            let places = self.member.controllers();
            let place = places.get(failed % places.len().max(1));
            let address = place.cloned().unwrap_or_default();
            let began = clock::now();
            let mut is_opened = false;
            let _ = self.session(&address, &mut is_opened, &mut turn).await;
            turn = None;
            if is_opened {
                self.tally.ended();
            }
            if began.elapsed() > LIVED {
                wait = FIRST_WAIT;
            }
            failed += 1;
            let part = share();
            if is_opened {
                // All of a controller that has ended do not come to another in one moment.
                tokio::time::sleep(SPREAD.mul_f64(part)).await;
            }
            if failed % places.len().max(1) == 0 || is_opened && places.len() < 2 {
                tokio::time::sleep(wait.mul_f64(1.0 + part)).await;
                wait = (wait * 2).min(LAST_WAIT);
            }
        }
    }

    async fn session(
        &mut self,
        address: &str,
        is_opened: &mut bool,
        turn: &mut Option<OwnedSemaphorePermit>,
    ) -> anyhow::Result<()> {
        let channel = tokio::time::timeout(DIAL, self.member.channel_to(address)).await??;
        let client = AgentClient::new(channel);
        let mut client = client.max_decoding_message_size(DIRECTIVE_BYTES_MAX);
        let request = SessionRequest {
            generation: self.generation,
            policy_digest: self.digest.clone(),
            policy_not_after_secs: (self.generation > 0).then_some(self.until_secs),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            highest_generation: self.generation,
            session_pass: self.pass.clone(),
            run_id: self.run_id.clone(),
            ..SessionRequest::default()
        };
        let opening = tokio::time::timeout(OPEN, client.session(request));
        let mut directives = opening.await??.into_inner();
        loop {
            let directive = tokio::select! {
                directive = directives.message() => directive?,
                () = tokio::time::sleep(self.again_after) => {
                    self.say(&mut client).await?;
                    continue;
                }
            };
            let Some(directive) = directive else {
                return Ok(());
            };
            match directive.directive {
                Some(Kind::Opened(opened)) => {
                    self.pass = opened.session_pass;
                    if !std::mem::replace(is_opened, true) {
                        self.tally.opened();
                        *turn = None;
                        self.say(&mut client).await?;
                        // As if it had been connected for long: what is idle is measured before all have said it
                        // again.
                        self.again_after = self.again_after.mul_f64(share());
                    }
                }
                Some(Kind::Policy(snapshot)) => self.adopt(snapshot, &mut client).await?,
                Some(Kind::Kept(kept)) => {
                    ensure!(kept.digest == self.digest, "another text is kept");
                    (self.generation, self.until_secs) = (kept.generation, kept.not_after_secs);
                    self.acknowledge(0, &mut client).await?;
                }
                Some(Kind::Claimed(_) | Kind::NewJournal(_) | Kind::Locked(_)) | None => {}
            }
        }
    }

    async fn adopt(
        &mut self,
        snapshot: PolicySnapshot,
        client: &mut AgentClient<Channel>,
    ) -> anyhow::Result<()> {
        let bytes = snapshot.packed.len().max(snapshot.text.len());
        self.read(&snapshot)?;
        self.generation = snapshot.generation;
        self.until_secs = snapshot.not_after_secs;
        self.digest = snapshot.digest;
        self.acknowledge(bytes, client).await
    }

    /// Unpacks what nobody has unpacked yet, and checks it.
    fn read(&self, snapshot: &PolicySnapshot) -> anyhow::Result<()> {
        let mut texts = self.texts.lock().ok().context("texts")?;
        if texts.contains_key(&snapshot.digest) {
            return Ok(());
        }
        let text = if snapshot.packed.is_empty() {
            snapshot.text.clone()
        } else {
            let base = match snapshot.packed_from.as_slice() {
                [] => None,
                from => Some(Arc::clone(texts.get(from).context("no base")?)),
            };
            packing::unpack(&snapshot.packed, base.as_deref(), snapshot.text_bytes)?
        };
        ensure!(*Sha256::digest(&text) == *snapshot.digest, "another digest");
        texts.insert(snapshot.digest.clone(), text.into());
        Ok(())
    }

    async fn acknowledge(
        &mut self,
        bytes: usize,
        client: &mut AgentClient<Channel>,
    ) -> anyhow::Result<()> {
        self.say(client).await?;
        self.tally.applied(self.number, bytes);
        Ok(())
    }

    /// What it enforces, as an agent says it also without news.
    async fn say(&mut self, client: &mut AgentClient<Channel>) -> anyhow::Result<()> {
        let request = AcknowledgeRequest {
            generation: self.generation,
            policy_digest: self.digest.clone(),
            ..AcknowledgeRequest::default()
        };
        let answer = client.acknowledge(request).await?.into_inner();
        self.again_after = heartbeat::again_after(answer.heartbeat_secs, share());
        Ok(())
    }
}

/// From 0 to 1; without randomness everybody comes at once.
fn share() -> f64 {
    let mut random = [0; 2];
    let _ = getrandom::fill(&mut random);
    f64::from(u16::from_le_bytes(random)) / 65_536.0
}
