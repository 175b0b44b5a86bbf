//! The only file of the agent that reads a clock.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gate::Now;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// What steady time counts from.
static START: LazyLock<Instant> = LazyLock::new(instant);

/// Reads both clocks.
pub fn now() -> Now {
    let wall = wall();
    Now {
        wall_secs: wall.as_secs(),
        wall_nanos: wall.subsec_nanos(),
        steady: steady(),
    }
}

/// Time since this program first asked; never goes back.
pub fn steady() -> Duration {
    let start = *START;
    instant().saturating_duration_since(start)
}

/// Time since this machine was started, the same for each of its processes; stands still while it sleeps.
pub fn since_boot() -> Duration {
    let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    read.map_or(Duration::ZERO, Duration::from)
}

/// The processor time of this thread and of every process that it, or another thread, has waited for: what
/// work costs, which on a busy machine is less than the time that goes by.
pub fn worked() -> Duration {
    let of = |who| {
        getrusage(who).map_or(Duration::ZERO, |used| {
            [used.user_time(), used.system_time()]
                .iter()
                .map(spent)
                .sum()
        })
    };
    of(UsageWho::RUSAGE_THREAD) + of(UsageWho::RUSAGE_CHILDREN)
}

fn spent(time: &TimeVal) -> Duration {
    let micros = time.num_microseconds();
    Duration::from_micros(micros.try_into().unwrap_or_default())
}

/// Time since the Unix epoch; zero for a clock before it.
fn wall() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the shell")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whether the kernel says that its clock is kept right by something: by NTP, as a rule. Setting the
/// clock by hand takes that back.
pub fn is_synchronised() -> bool {
    use nix::libc::{STA_UNSYNC, TIME_ERROR, adjtimex, timex};

    let mut read = std::mem::MaybeUninit::<timex>::zeroed();
    #[expect(unsafe_code, reason = "nobody else asks the kernel for this")]
    // SAFETY: a timex is numbers, valid as zeros; with no modes set the call only fills it in.
    let (state, read) = unsafe { (adjtimex(read.as_mut_ptr()), read.assume_init()) };
    state >= 0 && state != TIME_ERROR && read.status & STA_UNSYNC == 0
}

fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of the shell")]
    let now = Instant::now();
    now
}
