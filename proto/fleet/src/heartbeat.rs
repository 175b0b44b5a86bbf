//! When a host that has no news says again what it enforces.

use std::time::Duration;

/// Where a controller does not say how often, and at least so long after the time before.
pub const LEAST: Duration = Duration::from_secs(30);
/// A controller hears of a host at least this often, whatever it says.
const MOST: Duration = Duration::from_secs(3_600);

/// When it is to be said again, for a controller that wants it this often (`AcknowledgeResponse.heartbeat_secs`; 0 for
/// one that does not say); `share` of chance, from 0 to 1, so that hosts that came at one time are not heard at one time.
#[must_use]
pub fn again_after(heartbeat_secs: u32, share: f64) -> Duration {
    let wanted = Duration::from_secs(heartbeat_secs.into());
    if wanted <= LEAST {
        return LEAST;
    }
    wanted.min(MOST).mul_f64(0.75 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_heard_as_often_as_its_controller_wants_within_a_quarter_and_never_more_than_twice_a_minute()
     {
        let wanted = |secs| [0.0, 1.0].map(|share| again_after(secs, share).as_secs());

        assert_eq!([0, 1, 30].map(wanted), [[30, 30]; 3]);
        assert_eq!(wanted(300), [225, 375]);
        assert_eq!(wanted(u32::MAX), [2_700, 4_500]);
    }
}
