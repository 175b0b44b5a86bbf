//! Packet filters against what must hold of them: every back end by the same sentences, and each by
//! what administrators see of it.
//!
//! The kernel's are tried in a lab: real packets of two machines, real services, the programs that
//! administrators use.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod adopting;
mod beside_owner;
mod conformance;
mod guard;
mod iptables;
mod owner;
mod save;
mod sockets;
mod succession;
mod support;
mod translated;
mod worlds;

/// The chain of all tests; every test has a network namespace of its own.
const CHAIN: &str = "PT_TEST";

/// One line for each back end: how a sentence of the conformance suite is tried with it.
mod back_ends {
    use super::conformance::suite;
    use agent::config::BackendChoice;

    use super::support::config;
    use super::worlds::{
        in_kernel, in_kernel_through_channel, in_memory, in_memory_through_channel, in_older_kernel,
    };

    suite!(memory, in_memory);
    suite!(iptables, |sentence| in_kernel(
        &config(BackendChoice::Iptables),
        sentence
    ));
    suite!(nftables, |sentence| in_kernel(
        &config(BackendChoice::Nftables),
        sentence
    ));
    suite!(memory_through_channel, in_memory_through_channel);
    suite!(nftables_through_channel, |sentence| {
        in_kernel_through_channel(&config(BackendChoice::Nftables), sentence);
    });
    suite!(iptables_through_channel, |sentence| {
        in_kernel_through_channel(&config(BackendChoice::Iptables), sentence);
    });
    suite!(nftables_without_owner, |sentence| in_older_kernel(
        &config(BackendChoice::Nftables),
        sentence
    ));
}
