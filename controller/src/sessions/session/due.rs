//! What a host is to hear when all are, as soon as there is room for it.

use tokio::sync::oneshot;

use crate::sessions::flow::{self, Flow, Passage};

/// What a host is to hear as soon as there is room for it on the way.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(super) due: Due,
    /// For so many bytes.
    pub(super) bytes: usize,
    pub(super) passage: oneshot::Receiver<Passage>,
}

/// Of what a host is told when all are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// The policy alone: the pass that it has is a good one.
    Policy,
    Pass,
    /// A pass first.
    PassAndPolicy,
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn new(due: Due, bytes: usize, flow: &Flow) -> Self {
        Self {
            due,
            bytes: flow::counted(bytes),
            passage: flow.ask(bytes),
        }
    }
}

// === impl Due ===

impl Due {
    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        if self == other {
            self
        } else {
            Self::PassAndPolicy
        }
    }
}

/// What waits, once it has its room; never when nothing does.
pub(super) async fn arrived(waiting: &mut Option<Waiting>) -> (Due, Passage) {
    if let Some(waits) = waiting
        && let Ok(passage) = (&mut waits.passage).await
        && let Some(Waiting { due, .. }) = waiting.take()
    {
        return (due, passage);
    }
    std::future::pending().await
}
