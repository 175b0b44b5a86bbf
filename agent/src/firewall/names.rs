//! What is ours in the packet filter, by name. Pure.

/// What the names of our chains end in, beside the one for what comes in.
pub(super) const TRANSLATED: &str = "_IN";
pub(super) const LED_ON: &str = "_FWD";
pub(super) const OUTGOING: &str = "_OUT";

/// The names of all our chains, where the one for what comes in has this name.
pub(super) fn chains(chain: &str) -> [String; 4] {
    ["", TRANSLATED, LED_ON, OUTGOING].map(|end| format!("{chain}{end}"))
}

/// Our table, where its rules would stand in this chain.
pub(super) fn table_name(chain: &str) -> String {
    chain.to_ascii_lowercase()
}
