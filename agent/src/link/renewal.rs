//! A fresh certificate before the old one runs out.

use std::time::Duration;

use member::Membership;

use super::Addresses;
use super::backoff::Backoff;
use super::keys::OwnKeys;
use crate::clock;
use crate::link_state::LinkState;

/// However the clocks stand, at least this long is waited between two looks at the certificate.
const LOOK_AGAIN_MIN: Duration = Duration::from_secs(60);
/// The wall clock may jump, also while a machine sleeps; so no wait is longer than this.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(15 * 60);
const RETRY_FIRST: Duration = Duration::from_secs(30);
const RETRY_LAST: Duration = Duration::from_secs(10 * 60);

/// Renews for as long as the link lives, whoever the member is by then. Failing is no reason to stop: at the next connection an
/// expired certificate is renewed anyway.
pub(super) async fn keep(
    (first, keys): (Membership, OwnKeys),
    addresses: Addresses,
    state: LinkState,
) {
    let mut backoff = Backoff::between(RETRY_FIRST, RETRY_LAST);
    loop {
        let member = keys.member().unwrap_or_else(|| first.clone());
        let left = member
            .renew_at_secs()
            .saturating_sub(clock::now().wall_secs);
        if left > 0 {
            let wait = Duration::from_secs(left).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX);
            tokio::time::sleep(wait).await;
            continue;
        }
        match member.renew_at(&addresses.current()).await {
            Ok(()) => {
                state.certificate(member.expires_at_secs());
                backoff = Backoff::between(RETRY_FIRST, RETRY_LAST);
            }
            Err(error) => {
                tracing::warn!(error = %program::one_line(&error), "the certificate is not renewed");
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}
