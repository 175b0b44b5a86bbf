//! What one text says, shared by all hosts that have it, and the forms in which it travels.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use fleet::packing::{self, Bytes};
use parking_lot::Mutex;

/// Texts that are shorter travel whole: packing them saves nothing worth a second form.
const DIFFERENCE_MIN: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// For `policy::Dialect::Compiled`. Contains static keys.
    pub(crate) text: SecretText,
    pub(crate) digest: [u8; 32],
    pub(crate) stanzas: u32,
    /// Replay domains of its static keys, sorted.
    pub(crate) domains: Vec<[u8; 32]>,
    /// Texts of before that hosts may still have.
    bases: Arc<Bases>,
    packed: OnceLock<Option<SecretBytes>>,
    /// Differences from those, by their digest; each is made once.
    differences: Mutex<HashMap<[u8; 32], Option<SecretBytes>>>,
}

/// A compiled text; it is never printed.
pub(crate) struct SecretText(pub(crate) String);

/// The same, packed; shared by all that are sent it.
#[derive(Clone)]
pub(crate) struct SecretBytes(pub(crate) Bytes);

/// Long texts of before, by digest, for as long as somebody keeps them.
pub(super) type Bases = HashMap<[u8; 32], Weak<Compiled>>;

/// A text on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    pub(crate) bytes: SecretBytes,
    /// The digest of the text that this differs from; `None` when it stands alone.
    pub(crate) base: Option<[u8; 32]>,
}

// === impl Compiled ===

impl Compiled {
    pub(super) fn new(
        compiled: policy::HostPolicy,
        domains: Vec<[u8; 32]>,
        bases: Arc<Bases>,
    ) -> Self {
        let policy::HostPolicy {
            text,
            digest,
            stanzas,
        } = compiled;
        Self {
            text: SecretText(text),
            digest,
            stanzas: u32::try_from(stanzas).unwrap_or(u32::MAX),
            domains,
            bases,
            packed: OnceLock::new(),
            differences: Mutex::default(),
        }
    }

    /// Whether it is worth keeping for what differs from it.
    pub(super) const fn is_long(&self) -> bool {
        self.text.0.len() > DIFFERENCE_MIN
    }

    /// Packed for a host that has the text with this digest, or another, or none; `None` when it
    /// cannot be packed.
    pub(crate) fn packed_for(&self, has: &[u8]) -> Option<Packed> {
        self.difference(has).or_else(|| {
            let packed = self.packed.get_or_init(|| pack(&self.text.0, None));
            let bytes = packed.clone()?;
            Some(Packed { bytes, base: None })
        })
    }

    fn difference(&self, has: &[u8]) -> Option<Packed> {
        if !self.is_long() {
            return None;
        }
        let digest: [u8; 32] = has.try_into().ok()?;
        let base = self.bases.get(&digest)?;
        let mut differences = self.differences.lock();
        let made = differences.entry(digest).or_insert_with(|| {
            let base = base.upgrade()?;
            pack(&self.text.0, Some(&base.text.0))
        });
        let bytes = made.clone()?;
        Some(Packed {
            bytes,
            base: Some(digest),
        })
    }
}

fn pack(text: &str, base: Option<&str>) -> Option<SecretBytes> {
    packing::pack(text, base).map(SecretBytes)
}

// === impl SecretText ===

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

// === impl SecretBytes ===

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
