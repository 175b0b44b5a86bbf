//! One agent per chain and network namespace.
//!
//! Two programs that believe they own the same chain undo each other's work: the second flushes the
//! first's grants, and the first's exit removes both chains, as with fwknopd. The lock is the name
//! of an abstract Unix socket: the kernel keeps those per network namespace, exactly as it keeps
//! the chains, and frees them when the process dies, however it dies.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::FirewallError;

/// Held for as long as this agent manages its chain.
#[derive(Debug)]
pub(super) struct ChainLock(#[expect(dead_code, reason = "held, not used")] UnixDatagram);

impl ChainLock {
    /// Takes the lock of `chain` in the network namespace of this thread.
    ///
    /// # Errors
    ///
    /// [`FirewallError::Locked`] when another agent holds it.
    pub(super) fn take(chain: &str) -> Result<Self, FirewallError> {
        let locked = |_| FirewallError::Locked {
            chain: chain.to_owned(),
        };
        let name = format!("postern-agent/{chain}");
        let address = SocketAddr::from_abstract_name(name).map_err(locked)?;
        UnixDatagram::bind_addr(&address).map(Self).map_err(locked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_with_the_same_chain_is_refused_until_the_first_has_gone() {
        let chain = format!("T{}", std::process::id());
        let first = ChainLock::take(&chain).unwrap();

        let second = ChainLock::take(&chain).map(|_| ());

        assert_eq!(
            second,
            Err(FirewallError::Locked {
                chain: chain.clone()
            })
        );
        drop(first);
        ChainLock::take(&chain).unwrap();
    }
}
