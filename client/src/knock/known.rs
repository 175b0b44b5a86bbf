//! What the controller knows of a member's own packets, and of the hosts that she may open.

use fleet::wire::{HostState, RecentEventsRequest, RecentEventsResponse};
use fleet::{Event, EventKind};

use super::asker::Asker;
use crate::connection::{Connection, ask};
use crate::error::Result;

/// What it said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Host and event, the newest first.
    pub(crate) events: Vec<(String, Event)>,
    pub(crate) hosts: Vec<HostState>,
    /// Milliseconds since the Unix epoch, by its clock.
    pub(crate) controller_time_ms: u64,
    /// Of the policy in force.
    pub(crate) generation: u64,
}

/// What is asked about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// Empty for every host that she may open.
    pub(crate) host: String,
    /// 0 for the last minute.
    pub(crate) since_ms: u64,
    /// 0 for the usual number of events.
    pub(crate) limit: u32,
}

/// Asks; `None` when the controller does not answer in time, or does not know the question.
pub(crate) async fn ask_known(asker: &mut Asker, question: Question) -> Option<Known> {
    asker
        .ask(|connection| async move { by(&connection, question).await })
        .await
}

/// Asks over this connection.
///
/// # Errors
///
/// As the controller refuses.
pub(crate) async fn by(connection: &Connection, question: Question) -> Result<Known> {
    let Question {
        host,
        since_ms,
        limit,
    } = question;
    let request = RecentEventsRequest {
        host,
        since_ms,
        limit,
    };
    let answer = connection.directory().recent_events(ask(request)).await;
    let answer = answer.map_err(|status| connection.refused(status))?;
    Ok(Known::from(answer.into_inner()))
}

// === impl Known ===

impl From<RecentEventsResponse> for Known {
    fn from(answer: RecentEventsResponse) -> Self {
        let RecentEventsResponse {
            events,
            hosts,
            controller_time_ms,
            generation,
        } = answer;
        let events = events.into_iter();
        Self {
            events: events
                .filter_map(|event| Some((event.host, Event::from_body(&event.body).ok()?)))
                .collect(),
            hosts,
            controller_time_ms,
            generation,
        }
    }
}

impl Known {
    /// What became of one of these packets; of several events the newest. That a grant has ended
    /// since, as it was to, says nothing about why it was of no use.
    pub(crate) fn of_packets(&self, digests: &[&str]) -> Option<&Event> {
        let is_one = |event: &&Event| {
            event.kind() != EventKind::GrantClosed
                && digests.contains(&event.replay_digest.as_str())
        };
        self.events.iter().map(|(_, event)| event).find(is_one)
    }

    /// How a host is.
    pub(crate) fn host(&self, name: &str) -> Option<&HostState> {
        self.hosts.iter().find(|host| host.host == name)
    }

    /// How far this machine's clock is ahead of the controller's, in milliseconds.
    pub(crate) fn ahead_ms(&self, now_ms: u64) -> i64 {
        now_ms
            .try_into()
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(self.controller_time_ms)
    }
}
