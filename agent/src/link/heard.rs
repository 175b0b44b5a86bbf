//! What of the controller's words is read alike wherever it stands: pure.

use fleet::Contract;
use fleet::wire::{self, JournalEnd};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::claims::FOR_EVER;
use crate::orders::{ClaimedDigest, Order};

/// Whether the controller, which its certificate has proven, says that this has become of the membership:
/// that it has ended, which a host hears that was away when it was removed or replaced, or that its
/// certificate is of an authority that counts no more.
pub(super) fn says(status: &Status, what: &str) -> bool {
    let said = status.metadata().get(fleet::MEMBERSHIP);
    said.is_some_and(|said| said == what)
}

/// What the controller says of itself.
pub(super) fn contract_of(metadata: &MetadataMap) -> Contract {
    let said = metadata.get("server");
    Contract::of_header(said.and_then(|said| said.to_str().ok()))
}

/// How far the controller has this host's journal; `None` when it has nothing of it.
pub(super) fn journal_known(end: JournalEnd) -> Option<Order> {
    let JournalEnd {
        epoch,
        seq,
        chain,
        oldest_seq: _,
    } = end;
    let chain = chain.as_slice().try_into().ok()?;
    (seq > 0).then_some(Order::JournalKnown { epoch, seq, chain })
}

/// What a sibling has claimed; `None` for what is no digest.
pub(super) fn claimed(digest: &wire::ClaimedDigest) -> Option<ClaimedDigest> {
    let wire::ClaimedDigest {
        // Which key it was is in the digest: no two keys open the same message alike.
        domain: _,
        digest,
        forget_after_secs,
    } = digest;
    Some(ClaimedDigest {
        digest: digest.as_slice().try_into().ok()?,
        forget_after_secs: match *forget_after_secs {
            FOR_EVER => i64::MAX.unsigned_abs(),
            secs => secs,
        },
    })
}
