//! Which kind of text is being read.

/// Which text is being read: what may stand in it depends on who wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The fleet's policy, as an operator writes it.
    #[default]
    Operator,
    /// The policy of one host, as the controller compiled it: no includes, groups or HOSTS; pairwise
    /// stanzas name their user's public key.
    Compiled,
    /// The access.conf of an agent without a controller: every stanza has its KEY, none has HOSTS.
    Alone,
}
