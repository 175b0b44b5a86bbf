//! For tests: holes that are opened through a channel, as the gate's process does, in one process.

use std::thread::JoinHandle;

use engine::{Capabilities, Connection, Hole, Rule};
use policy::NatSettings;

use super::limits::Limits;
use super::link::Link;
use super::remote::{RemoteHoles, heard};
use super::service::Serving;
use super::{Facts, Running};
use crate::domains::channel::Channel;
use crate::firewall::{Backend, FirewallError, Holes};

/// The gate's end, and the thread at the other one.
#[derive(Debug)]
struct Looped {
    holes: Option<RemoteHoles>,
    thread: Option<JoinHandle<Option<Box<dyn Running>>>>,
}

/// The same back end, with its holes behind a channel; in the network of the calling thread.
///
/// # Errors
///
/// When the system gives no sockets, or no thread.
pub fn through_channel(backend: Backend) -> Result<Backend, FirewallError> {
    let limits = Limits {
        capabilities: backend.holes.capabilities(),
        nat: NatSettings {
            forward: true,
            local: true,
            destination_rule: true,
            ..NatSettings::default()
        },
        grants_max: 16_384,
        protect: Vec::new(),
    };
    let facts = Facts {
        backend: backend.name,
        why: backend.why.clone(),
        capabilities: limits.capabilities,
        hidden: None,
        watchdog: None,
    };
    let cannot = |cause: std::io::Error| FirewallError::Thread(cause.to_string());
    let (near, far) = Channel::pair().map_err(cannot)?;
    let serving = Serving::of_holes(backend.holes, facts, limits);
    let thread = serving.start(Link::of(far).map_err(cannot)?)?;
    let heard = heard(near).map_err(|_| FirewallError::Lost)?;
    let holes = Looped {
        holes: Some(heard.1),
        thread: Some(thread),
    };
    Ok(Backend {
        holes: Box::new(holes),
        ..backend
    })
}

// === impl Looped ===

impl Looped {
    fn holes(&mut self) -> Result<&mut RemoteHoles, FirewallError> {
        self.holes.as_mut().ok_or(FirewallError::Lost)
    }
}

impl Drop for Looped {
    /// What holds the packet filter has let go of it afterwards.
    fn drop(&mut self) {
        self.holes = None;
        if let Some(thread) = self.thread.take() {
            // Whoever panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Holes for Looped {
    fn capabilities(&self) -> Capabilities {
        self.holes
            .as_ref()
            .map_or(Capabilities::ALL, Holes::capabilities)
    }

    fn open(&mut self, holes: &[Hole]) -> Result<(), FirewallError> {
        self.holes()?.open(holes)
    }

    fn close(&mut self, rules: &[Rule], connections: &[Connection]) -> Result<(), FirewallError> {
        self.holes()?.close(rules, connections)
    }

    fn end(&mut self, rules: &[Rule]) -> Result<(), FirewallError> {
        self.holes()?.end(rules)
    }

    fn list(&mut self) -> Result<Vec<Hole>, FirewallError> {
        self.holes()?.list()
    }

    fn flush(&mut self) -> Result<(), FirewallError> {
        self.holes()?.flush()
    }
}
