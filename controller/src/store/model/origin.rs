//! Where an event of the controller's own comes from.

use fleet::{Event, EventKind, Outcome, Role};

/// Whose journal the controller's own events are in. No host may have this name.
pub(crate) const CONTROLLER: &str = "controller";

/// Who does something, and in which call, as events name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// `operator/mbr`, or [`CONTROLLER`] for what it finds or makes by itself.
    pub(crate) actor: String,
    /// The same for everything that one call causes: 32 lower-case hexadecimal digits.
    pub(crate) request_id: String,
}

// === impl Origin ===

impl Origin {
    /// A member's doing.
    pub(crate) fn member(role: Role, name: &str, request_id: String) -> Self {
        Self {
            actor: format!("{role}/{name}"),
            request_id,
        }
    }

    /// The controller's own doing.
    pub(crate) fn controller(request_id: String) -> Self {
        Self {
            actor: CONTROLLER.to_owned(),
            request_id,
        }
    }

    /// The actor without its role: `mbr`, or [`CONTROLLER`].
    pub(crate) fn name(&self) -> &str {
        let name = self.actor.split_once('/').map(|(_, name)| name);
        name.unwrap_or(&self.actor)
    }

    /// An event of something that was done, at `at_ms` (milliseconds since the Unix epoch).
    pub(crate) fn done(self, kind: EventKind, at_ms: u64) -> Event {
        let Self { actor, request_id } = self;
        let mut event = Event::new(kind, at_ms);
        event.actor = actor;
        event.request_id = request_id;
        event.set_outcome(Outcome::Success);
        event
    }
}
