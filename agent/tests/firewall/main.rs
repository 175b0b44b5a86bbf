//! Packet filters against what must hold of them: every back end by the same sentences, and each by
//! what administrators see of it.
//!
//! The kernel's are tried in a lab: real packets of two machines, real services, the programs that
//! administrators use.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod beside_owner;
mod conformance;
mod guard;
mod iptables;
mod owner;
mod save;
mod sockets;
mod succession;
mod translated;
mod worlds;

use agent::config::{BackendChoice, FirewallConfig};

/// The chain of all tests; every test has a network namespace of its own.
const CHAIN: &str = "PT_TEST";

/// One line for each back end: how a sentence of the conformance suite is tried with it.
mod back_ends {
    use super::conformance::suite;
    use super::worlds::{in_kernel, in_memory, in_older_kernel};
    use super::{BackendChoice, CHAIN, FirewallConfig};

    suite!(memory, in_memory);
    suite!(iptables, |sentence| in_kernel(
        &FirewallConfig {
            backend: BackendChoice::Iptables,
            ..FirewallConfig::of_chain(CHAIN)
        },
        sentence
    ));
    suite!(nftables, |sentence| in_kernel(
        &FirewallConfig {
            backend: BackendChoice::Nftables,
            ..FirewallConfig::of_chain(CHAIN)
        },
        sentence
    ));
    suite!(nftables_without_owner, |sentence| in_older_kernel(
        &FirewallConfig {
            backend: BackendChoice::Nftables,
            ..FirewallConfig::of_chain(CHAIN)
        },
        sentence
    ));
}
