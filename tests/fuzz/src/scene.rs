//! A gate, its replay memory and a clock, for the targets that go through all of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gate::{CompiledPolicy, Gate, MemoryReplayLog, Now, Settings, SharedKeys};
use policy::{Dialect, NoIncludes};

/// The time at which targets play.
pub(crate) const NOW_SECS: u64 = 1_795_423_534;

/// Memory where there is some: files of a fuzzer would wear a disk out.
pub(crate) fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// A gate at work.
pub(crate) struct Scene {
    pub(crate) gate: Gate,
    pub(crate) replays: MemoryReplayLog,
    pub(crate) now: Now,
}

// === impl Scene ===

impl Scene {
    pub(crate) fn new(access_conf: &str, settings: Settings) -> Self {
        let now = Now {
            wall_secs: NOW_SECS,
            wall_nanos: 0,
            steady: Duration::from_secs(1_000),
        };
        Self {
            gate: Gate::new(settings, compiled(access_conf, now)),
            replays: MemoryReplayLog::default(),
            now,
        }
    }

    pub(crate) fn adopt(&mut self, access_conf: &str) {
        self.gate.replace(compiled(access_conf, self.now));
    }

    pub(crate) fn later(&mut self, secs: u64) {
        self.now.wall_secs += secs;
        self.now.steady += Duration::from_secs(secs);
    }
}

fn compiled(access_conf: &str, now: Now) -> Arc<CompiledPolicy> {
    let policy = policy::parse_as(Dialect::Alone, "access.conf", access_conf, &NoIncludes)
        .unwrap_or_else(|invalid| panic!("{invalid}\n{access_conf}"));
    let compiled = CompiledPolicy::new(&Arc::new(policy), None, 7, SharedKeys::None, now);
    Arc::new(compiled.expect("a policy that was parsed"))
}
