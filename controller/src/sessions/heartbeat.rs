//! How often hosts that have no news say what they enforce.

/// Each costs a controller a call while nothing happens: so there are not more of them in a fleet than this, about.
const MOST_A_SECOND: usize = 8;
const LEAST_SECS: u32 = 30;
/// What a host says only now and then (how far its clock is off) is no older than this.
const MOST_SECS: u32 = 1_200;

/// Seconds between two of one host, where there are so many. All that have joined count: when a controller has come back,
/// the first hosts that connect to it are told what holds when all have.
pub(crate) fn secs(hosts: usize) -> u32 {
    let secs = u32::try_from(hosts / MOST_A_SECOND).unwrap_or(u32::MAX);
    secs.clamp(LEAST_SECS, MOST_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hosts_are_heard_every_half_minute_and_many_as_often_in_all() {
        assert_eq!([0, 1, 150, 247].map(secs), [30; 4]);
        assert_eq!([1_600, 8_000].map(secs), [200, 1_000]);
        assert_eq!([10_000, 100_000, usize::MAX].map(secs), [1_200; 3]);
    }
}
