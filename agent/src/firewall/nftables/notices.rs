//! Hearing of what others do to our table, where the kernel lets them.

use super::super::numbers::nf_tables as nf;
use super::ruleset::Set;
use super::table::text;
use crate::netlink::{Listener, Notice};

/// Starts to listen; `None` where nothing can be heard.
pub(super) fn listen() -> Option<Listener> {
    let listener = Listener::netfilter(&[nf::GROUP]);
    let listener = listener.inspect_err(|cause| {
        tracing::info!(error = %program::one_line(cause), "changes of the firewall are not told");
    });
    listener.ok()
}

/// Whether a notice is about what is laid in our table: not about holes.
pub(super) fn concerns(notice: Notice<'_>, table: &str) -> bool {
    let [message, subsystem] = notice.kind.to_ne_bytes();
    let said = notice.attributes(nf::HEADER_LEN);
    // Every message names its table first.
    let is_ours = subsystem == nf::SUBSYSTEM
        && notice.body.first() == Some(&nf::NFPROTO_INET)
        && said.find(nf::TABLE_NAME).map(text) == Some(table);
    match message {
        nf::NEWSETELEM | nf::DELSETELEM => {
            is_ours && said.find(nf::ELEMENTS_SET).map(text) == Some(Set::Protected.name())
        }
        _ => is_ours,
    }
}
