//! A kind of host, as the lines that its owner types.

/// A host's firewall by the hands of its owner. Everything is lines of a shell, run as root in the
/// host's network with the owner's own files; they are what the manual shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    /// Makes the firewall: it lets in SPA packets and what answers, and nothing to TCP 22.
    pub(crate) lay: &'static str,
    /// What is told to the agent, if anything has to be.
    pub(crate) hooks: &'static [&'static str],
    /// Blocks address `$WHO` at once, for connections that live too.
    pub(crate) ban: &'static str,
    /// Takes that back.
    pub(crate) unban: &'static str,
    /// Loads the owner's rules anew, as the program does after an edit.
    pub(crate) reload: &'static str,
    /// Empties what can be emptied.
    pub(crate) flush: &'static str,
    /// Who answers on TCP 22.
    pub(crate) service: Service,
}

/// Who answers on the host's TCP 22.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    /// A program of the host.
    Own,
    /// A container behind the host's bridge `docker0`, on its own TCP 80.
    Container,
}

/// What iptables' users do in an emergency.
pub(crate) const FLUSH_IPTABLES: &str = "iptables -P INPUT ACCEPT; iptables -F
ip6tables -P INPUT ACCEPT; ip6tables -F";

/// What nftables' users do in every file that they load.
pub(crate) const FLUSH_NFT: &str = "nft flush ruleset";

/// Takes an address off at the top.
pub(crate) const BAN_IPTABLES: &str = "iptables -I INPUT 1 -s $WHO -j DROP";

/// And lets it in again.
pub(crate) const UNBAN_IPTABLES: &str = "iptables -D INPUT -s $WHO -j DROP";
