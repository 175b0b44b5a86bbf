//! How long the log keeps what its records say.

use std::time::Duration;

use crate::access::caller::RequestId;
use crate::context::Context;
use crate::error::Error;
use crate::settings::RetentionSettings;
use crate::store::model::{Expired, Origin};
use crate::timestamp::Timestamp;

/// Empties some records that are old enough, of noise or of everything. 0 when there are none.
///
/// What a sink has not taken yet stays, however old it is.
pub(crate) async fn step(context: &Context, is_noise: bool, now: Timestamp) -> Result<u64, Error> {
    let RetentionSettings { keep, keep_noise } = context.settings.retention;
    let Some(keep) = (if is_noise { keep_noise } else { keep }) else {
        return Ok(0);
    };
    let before_ms = now.ms().saturating_sub(millis(keep));
    let mut to = u64::MAX;
    for sink in &context.settings.sinks {
        let cursor = context.store.sink_cursor(sink.name.clone()).await?;
        to = to.min(cursor.map_or(0, |cursor| cursor.delivered_id));
    }
    let found = Origin::controller(RequestId::new()?.to_string());
    let expired = Expired {
        before_ms,
        is_noise,
    };
    let looked = context.store.retain_step(expired, to, found, now.ms());
    Ok(looked.await?)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
