//! SYNs, for stanzas with REQUIRE_OS: shown to the engine before the packets that came after them.

use std::sync::Arc;

use gate::{CompiledPolicy, Now};
use policy::OsSignatures;

use super::GateThread;
use crate::capture::Arrival;
use crate::os_signatures::faults;

// === impl GateThread ===

impl GateThread {
    pub(super) fn look_at_syns(&mut self, now: Now) {
        let engine = &mut self.engine;
        self.host
            .syns
            .next_batch(now.steady, &mut |arrival| match arrival {
                Arrival::Frame(link, frame) | Arrival::Seen(link, frame) => {
                    engine.note_syn(frame, link, now);
                }
                // A socket has none.
                Arrival::Datagram(_) => {}
            });
    }

    /// Looks at SYNs while a stanza asks, and says what a policy requires in vain.
    pub(super) fn follow_syns(&mut self, compiled: &CompiledPolicy) {
        let policy = compiled.policy();
        let wanted = policy.stanzas.iter().any(|stanza| stanza.os.is_some());
        self.host.syns.follow(wanted);
        for fault in faults(policy, &self.host.os_signatures) {
            tracing::warn!("{fault}: it opens nothing");
        }
    }

    pub(super) fn use_os_signatures(&mut self, signatures: Arc<OsSignatures>) {
        self.engine.set_os_signatures(Arc::clone(&signatures));
        self.host.os_signatures = signatures;
        let compiled = Arc::clone(self.engine.compiled());
        self.follow_syns(&compiled);
    }

    /// What keeps stanzas with REQUIRE_OS from opening anything, for people.
    pub(super) fn os_faults(&self) -> Vec<String> {
        let mut all = faults(self.engine.compiled().policy(), &self.host.os_signatures);
        let unseen = self.host.syns.faults();
        all.extend(unseen.map(|fault| format!("no SYN is seen: {fault}")));
        all
    }
}
