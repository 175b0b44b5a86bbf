//! This host's own keys, as the link uses them: a rotation gives others in their place while it runs.

use std::sync::Arc;

use member::Membership;
use parking_lot::Mutex;
use spa::ExchangeSecret;
use tokio::sync::{MutexGuard, watch};

use crate::clock;
use crate::policies::{self, AdoptedPolicy, PolicyText, PolicyVersion};

/// The keys of the link. Its copies are one.
#[derive(Clone)]
pub(super) struct OwnKeys(Arc<Inner>);

struct Inner {
    /// Who speaks to the controller; `None` in tests without certificates.
    member: Mutex<Option<Membership>>,
    opening: tokio::sync::Mutex<Opening>,
    /// How often the member was another.
    switches: watch::Sender<u64>,
    /// With which of them the session that is open was dialled.
    in_use: watch::Sender<u64>,
}

/// With which secrets policies are compiled. Whoever compiles one holds it until that one is ordered, so that
/// none that was compiled with fewer secrets is ordered after one with more.
pub(super) struct Opening {
    pub(super) secrets: Arc<[ExchangeSecret]>,
    /// The policy that was ordered last.
    pub(super) ordered: Option<PolicyVersion>,
}

// === impl OwnKeys ===

impl OwnKeys {
    pub(super) fn new(member: Option<Membership>, secrets: Vec<ExchangeSecret>) -> Self {
        Self(Arc::new(Inner {
            member: Mutex::new(member),
            opening: tokio::sync::Mutex::new(Opening {
                secrets: secrets.into(),
                ordered: None,
            }),
            switches: watch::Sender::new(0),
            in_use: watch::Sender::new(0),
        }))
    }

    /// Who speaks to the controller from now on; `None` in tests without certificates.
    pub(super) fn member(&self) -> Option<Membership> {
        self.0.member.lock().clone()
    }

    /// Holds back everybody else who compiles a policy.
    pub(super) async fn opening(&self) -> MutexGuard<'_, Opening> {
        self.0.opening.lock().await
    }

    /// Another member speaks from now on: a session is opened with its certificate. Which one it is.
    pub(super) fn switch(&self, member: Membership) -> u64 {
        *self.0.member.lock() = Some(member);
        self.0.switches.send_modify(|switches| *switches += 1);
        *self.0.switches.borrow()
    }

    /// Hears of switches.
    pub(super) fn switches(&self) -> watch::Receiver<u64> {
        self.0.switches.subscribe()
    }

    /// A session is open that was dialled after so many switches.
    pub(super) fn speaks(&self, switches: u64) {
        self.0.in_use.send_replace(switches);
    }

    /// Waits for a session that was dialled after so many switches.
    pub(super) async fn spoken_with(&self, switches: u64) {
        let mut in_use = self.0.in_use.subscribe();
        // Its other end is here.
        let _ = in_use.wait_for(|now| *now >= switches).await;
    }
}

// === impl Opening ===

impl Opening {
    /// Compiles a policy with these secrets, off the async threads; or every reason why that cannot be.
    pub(super) async fn compile(&self, text: PolicyText) -> Result<AdoptedPolicy, Vec<String>> {
        let secrets = Arc::clone(&self.secrets);
        let compile =
            tokio::task::spawn_blocking(move || policies::compile(text, &*secrets, clock::now()));
        let compiled = compile.await;
        compiled.unwrap_or_else(|error| Err(vec![error.to_string()]))
    }
}
