//! The third room: a packet and one key. The HMAC first, then decryption, digest and fields.

use spa::{Message, OpenError, Opened, ReplayDigest, Sealed, Tag, bucket, tag};

use crate::estate::{Estate, KeyIndex};

/// Evidence: the message was sealed with this key, and reads well.
#[derive(Debug)]
pub(crate) struct Authenticated {
    opened: Opened,
    key: KeyIndex,
}

/// Why a packet is not authentic under a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unproven {
    /// The HMAC does not verify.
    Hmac,
    /// It does (or there is none), but what it covers is no message.
    Opening(OpenError),
    /// The tag is not the one of the message's minute, so somebody put it there.
    Tag,
}

// === impl Authenticated ===

impl Authenticated {
    /// Verifies and opens `sealed` with one key. `in_front` is the tag that came with it, if it came
    /// in our form.
    pub(crate) fn establish(
        sealed: Sealed<'_>,
        in_front: Option<Tag>,
        estate: &Estate,
        key: KeyIndex,
    ) -> Result<Self, Unproven> {
        let authentic = sealed
            .authenticate(estate.opening_key(key))
            .map_err(|_| Unproven::Hmac)?;
        let opened = authentic.open().map_err(Unproven::Opening)?;
        if let Some(in_front) = in_front {
            let own = estate
                .tag_key(key)
                .map(|tag_key| tag(tag_key, bucket(opened.message().timestamp_secs)));
            if own != Some(in_front) {
                return Err(Unproven::Tag);
            }
        }
        Ok(Self { opened, key })
    }

    pub(crate) fn message(&self) -> &Message {
        self.opened.message()
    }

    pub(crate) fn replay_digest(&self) -> ReplayDigest {
        self.opened.replay_digest()
    }

    pub(crate) fn key(&self) -> KeyIndex {
        self.key
    }

    pub(crate) fn into_opened(self) -> Opened {
        self.opened
    }
}
