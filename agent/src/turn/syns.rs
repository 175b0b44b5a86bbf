//! SYNs, for stanzas with REQUIRE_OS, and knock sequences: shown to the engine before the packets that
//! came after them.

use std::sync::Arc;

use gate::{CompiledPolicy, Now};
use policy::OsSignatures;

use super::GateThread;
use crate::capture::{Arrival, Wanted};
use crate::os_signatures::faults;

// === impl GateThread ===

impl GateThread {
    pub(super) fn look_at_syns(&mut self, now: Now) {
        let (engine, journal) = (&mut self.engine, &mut self.host.journal);
        self.host
            .syns
            .next_batch(now.steady, &mut |arrival| match arrival {
                Arrival::Frame(link, frame) | Arrival::Seen(link, frame) => {
                    engine.note_syn(frame, link, now);
                    engine.knock(frame, link, now, journal);
                }
                // A socket has none.
                Arrival::Datagram(_) => {}
            });
    }

    /// Looks at SYNs and knocks while a stanza asks, and says what a policy requires in vain.
    pub(super) fn follow_syns(&mut self, compiled: &CompiledPolicy) {
        let policy = compiled.policy();
        let wanted = Wanted {
            syns: policy.stanzas.iter().any(|stanza| stanza.os.is_some()),
            knocks: policy.stanzas.iter().any(|stanza| stanza.knock_sequence),
        };
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

    /// What keeps stanzas with REQUIRE_OS or KNOCK_SEQUENCE from opening anything by it, for people.
    pub(super) fn os_faults(&self) -> Vec<String> {
        let mut all = faults(self.engine.compiled().policy(), &self.host.os_signatures);
        let unseen = self.host.syns.faults();
        all.extend(
            unseen
                .into_iter()
                .map(|fault| format!("nothing is seen of SYNs and knock sequences: {fault}")),
        );
        all
    }
}
