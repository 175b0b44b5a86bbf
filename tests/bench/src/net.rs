//! Doing things inside a network namespace from a thread of this process.

use std::fs::File;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};

/// Runs `work` in network namespace `name`; sockets it makes stay in that namespace.
///
/// The work runs on a thread of its own, because entering a namespace is per thread and cannot be
/// undone safely on a thread that others share.
pub(crate) fn within<T: Send>(
    name: &str,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let path = format!("/run/netns/{name}");
                let namespace = File::open(&path).with_context(|| format!("opening {path}"))?;
                setns(&namespace, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering {name}"))?;
                work()
            })
            .join()
            .map_err(|_| anyhow::anyhow!("a thread in namespace {name} panicked"))?
    })
}
