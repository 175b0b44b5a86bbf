//! A host of E14.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fleet::packing;
use fleet::wire::agent_client::AgentClient;
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{AcknowledgeRequest, PolicySnapshot, SessionRequest};
use member::Membership;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::clock;

/// An agent's waits.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(15);
const DIAL: Duration = Duration::from_secs(20);
/// As agents take it.
const DIRECTIVE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a host says of itself to whoever measures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) host: usize,
    pub(super) said: Said,
    pub(super) at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    /// It has a session.
    Opened,
    /// It has what it was sent, and the controller has noted that.
    Applied {
        generation: u64,
        /// What travelled.
        bytes: usize,
    },
}

/// Texts by digest, shared by all hosts.
pub(super) type Texts = Arc<Mutex<HashMap<Vec<u8>, Arc<str>>>>;

/// A host that listens.
pub(super) struct Host {
    number: usize,
    member: Membership,
    texts: Texts,
    tell: mpsc::Sender<Heard>,
    run_id: Vec<u8>,
    pass: Vec<u8>,
    generation: u64,
    digest: Vec<u8>,
    until_secs: u64,
}

// === impl Host ===

impl Host {
    pub(super) fn new(
        number: usize,
        member: Membership,
        texts: Texts,
        tell: mpsc::Sender<Heard>,
    ) -> Self {
        Self {
            number,
            member,
            texts,
            tell,
            run_id: number.to_le_bytes().repeat(2),
            pass: Vec::new(),
            generation: 0,
            digest: Vec::new(),
            until_secs: 0,
        }
    }

    /// Listens, and comes back whenever the controller goes.
    pub(super) async fn keep(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = clock::now();
            let _ = self.session().await;
            if began.elapsed() > Duration::from_secs(10) {
                wait = FIRST_WAIT;
            }
            let mut random = [0; 2];
            let _ = getrandom::fill(&mut random);
            let part = f64::from(u16::from_le_bytes(random)) / 65_536.0;
            tokio::time::sleep(wait.mul_f64(1.0 + part)).await;
            wait = (wait * 2).min(LAST_WAIT);
            if self.tell.is_closed() {
                return;
            }
        }
    }

    async fn session(&mut self) -> anyhow::Result<()> {
        let channel = tokio::time::timeout(DIAL, self.member.channel()).await??;
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
        let opening = tokio::time::timeout(Duration::from_secs(10), client.session(request));
        let mut directives = opening.await??.into_inner();
        let mut is_opened = false;
        while let Some(directive) = directives.message().await? {
            match directive.directive {
                Some(Kind::Opened(opened)) => {
                    self.pass = opened.session_pass;
                    if !std::mem::replace(&mut is_opened, true) {
                        self.say(Said::Opened).await?;
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
        Ok(())
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
        &self,
        bytes: usize,
        client: &mut AgentClient<Channel>,
    ) -> anyhow::Result<()> {
        let request = AcknowledgeRequest {
            generation: self.generation,
            policy_digest: self.digest.clone(),
            ..AcknowledgeRequest::default()
        };
        client.acknowledge(request).await?;
        let generation = self.generation;
        self.say(Said::Applied { generation, bytes }).await
    }

    async fn say(&self, said: Said) -> anyhow::Result<()> {
        let heard = Heard {
            host: self.number,
            said,
            at: clock::now(),
        };
        Ok(self.tell.send(heard).await?)
    }
}
