//! Hearing of what others do to our table, where the kernel lets them.

use super::message::{
    ELEMENTS_SET, HEADER_LEN, MSG_DELSETELEM, MSG_NEWSETELEM, NFNL_SUBSYS_NFTABLES, NFPROTO_INET,
    TABLE_NAME,
};
use super::ruleset::Set;
use super::table::text;
use crate::netlink::{Listener, Notice};

/// Multicast group of all changes (linux/netfilter/nfnetlink.h).
const NFNLGRP_NFTABLES: u32 = 7;

/// Starts to listen; `None` where nothing can be heard.
pub(super) fn listen() -> Option<Listener> {
    let listener = Listener::netfilter(&[NFNLGRP_NFTABLES]);
    let listener = listener.inspect_err(|cause| {
        tracing::info!(error = %program::one_line(cause), "changes of the firewall are not told");
    });
    listener.ok()
}

/// Whether a notice is about what is laid in our table: not about holes.
pub(super) fn concerns(notice: Notice<'_>, table: &str) -> bool {
    let [message, subsystem] = notice.kind.to_ne_bytes();
    let said = notice.attributes(HEADER_LEN);
    // Every message names its table first.
    let is_ours = subsystem == NFNL_SUBSYS_NFTABLES
        && notice.body.first() == Some(&NFPROTO_INET)
        && said.find(TABLE_NAME).map(text) == Some(table);
    match message {
        MSG_NEWSETELEM | MSG_DELSETELEM => {
            is_ours && said.find(ELEMENTS_SET).map(text) == Some(Set::Protected.name())
        }
        _ => is_ours,
    }
}
