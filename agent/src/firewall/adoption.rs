//! Sessions that are older than what hides their port: they live on, or it is said which do not.

use spa::Service;

use super::owner;
use crate::connections;

/// Enters the sessions to these ports that are older than connection tracking. That it cannot be
/// done is no reason to leave the ports open.
pub(super) fn adopt(ports: &[Service]) {
    let mut strays = Vec::new();
    let zones = || {
        let tracking = owner::tracking();
        strays = tracking.strays;
        tracking.zones
    };
    match connections::adopt(ports, zones) {
        Ok(0) => {}
        Ok(sessions) if strays.is_empty() => {
            tracing::info!(sessions, "sessions that exist live on");
        }
        Ok(sessions) => tracing::warn!(
            sessions,
            chains = strays.join(", "),
            "sessions that exist live on, but for those that these chains keep out of connection \
             tracking or put into a zone that they do not name: those end"
        ),
        Err(cause) => tracing::warn!(
            error = %program::one_line(&cause),
            "sessions that exist may end: connection tracking does not take them"
        ),
    }
}
