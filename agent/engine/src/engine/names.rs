//! Host names to which packets are to be led: they are looked up before anything is recorded.

use std::net::IpAddr;

use gate::{Grant, Now};

use super::Engine;
use crate::effect::Effect;

// === impl Engine ===

impl Engine {
    /// Takes what a host name of [`Effect::LookUp`] means: its addresses, or why there are none. An
    /// answer that comes too late is ignored.
    pub fn name_answered(&mut self, seq: u64, answer: Result<&[IpAddr], &str>, now: Now) {
        let Some(grant) = self.names.answered(seq) else {
            return;
        };
        let resolved = match answer {
            Ok(addresses) => grant.resolved(addresses),
            Err(cause) => {
                let name = grant.permit().unresolved().unwrap_or_default();
                let reason = format!("the name {name} cannot be looked up: {cause}");
                return self.refuse_grant(&grant, &reason, now);
            }
        };
        match resolved {
            Ok(grant) => self.permit(grant, now),
            Err(refused) => {
                let (grant, denied) = *refused;
                self.refuse_grant(&grant, &denied.to_string(), now);
            }
        }
    }

    pub(super) fn look_up(&mut self, name: String, grant: Grant, now: Now) {
        match self.names.ask(name, grant, now.steady) {
            Ok(ask) => self.effects.push_back(Effect::LookUp(ask)),
            Err(grant) => {
                self.refuse_over_limit(&grant, "too many names are looked up on this host", now);
            }
        }
    }

    pub(super) fn give_up_names(&mut self, now: Now) {
        while let Some(grant) = self.names.take_overdue(now.steady) {
            self.refuse_grant(&grant, "its name was not looked up in time", now);
        }
    }
}
