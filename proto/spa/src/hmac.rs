//! HMAC with the key already hashed in (RFC 2104 section 4 suggests it), for trying many keys.
//!
//! For SHA-256, by far the most used, a key is two bare hash states, and the packet is padded once
//! for all keys: a trial is nothing but compressions. The other six hashes go the ordinary way.

use ::hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use sha1::Sha1;
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::digest::DigestType;
use crate::length::PREFIXED_LEN_MAX;
use crate::text;

const BLOCK_LEN: usize = 64;
/// The longest text, the byte that ends it and its length in eight bytes.
pub(crate) const BLOCKS_MAX: usize = (PREFIXED_LEN_MAX + 9).div_ceil(BLOCK_LEN);
/// The initial state of SHA-256 (FIPS 180-4 section 5.3.3).
const SHA256_START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// An HMAC key, hashed in.
pub(crate) enum HmacState {
    None,
    Sha256(Sha256State),
    /// Boxed, so that the rare ones do not make every key large.
    Other(Box<OtherState>),
}

/// The states of SHA-256 after the inner and the outer padded key.
#[derive(Clone)]
pub(crate) struct Sha256State {
    inner: [u32; 8],
    outer: [u32; 8],
}

pub(crate) enum OtherState {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    Sha3_256(Hmac<Sha3_256>),
    Sha3_512(Hmac<Sha3_512>),
}

/// A text in the blocks that SHA-256 wants behind one block of key.
pub(crate) struct PaddedText {
    blocks: [[u8; BLOCK_LEN]; BLOCKS_MAX],
    used: usize,
}

// === impl HmacState ===

impl HmacState {
    pub(crate) fn new(digest: DigestType, key: &[u8]) -> Self {
        macro_rules! other {
            ($variant:ident) => {
                Self::Other(Box::new(OtherState::$variant(
                    Hmac::new_from_slice(key).expect("HMAC takes keys of any length"),
                )))
            };
        }
        match digest {
            DigestType::Md5 => other!(Md5),
            DigestType::Sha1 => other!(Sha1),
            DigestType::Sha256 => Self::Sha256(Sha256State::new(key)),
            DigestType::Sha384 => other!(Sha384),
            DigestType::Sha512 => other!(Sha512),
            DigestType::Sha3_256 => other!(Sha3_256),
            DigestType::Sha3_512 => other!(Sha3_512),
        }
    }

    pub(crate) fn digest_type(&self) -> Option<DigestType> {
        match self {
            Self::None => None,
            Self::Sha256(_) => Some(DigestType::Sha256),
            Self::Other(other) => Some(other.digest_type()),
        }
    }

    /// Returns the key if it is one of HMAC-SHA256.
    pub(crate) fn sha256(&self) -> Option<&Sha256State> {
        match self {
            Self::Sha256(state) => Some(state),
            Self::None | Self::Other(_) => None,
        }
    }

    /// Appends the HMAC of `text`, as base64, to `onto`; nothing without a key.
    pub(crate) fn append_mac(&self, text: &[u8], onto: &mut String) {
        match self {
            Self::None => {}
            Self::Sha256(state) => text::encode_onto(&state.mac(text), onto),
            Self::Other(other) => other.append_mac(text, onto),
        }
    }

    /// Reports, in constant time, whether `mac` is the HMAC of `text`; without a key, whether it is
    /// empty.
    pub(crate) fn verifies(&self, text: &[u8], mac: &[u8]) -> bool {
        match self {
            Self::None => mac.is_empty(),
            Self::Sha256(state) => state.mac(text).ct_eq(mac).into(),
            Self::Other(other) => other.verifies(text, mac),
        }
    }
}

// === impl Sha256State ===

impl Sha256State {
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut padded = [0; BLOCK_LEN];
        if key.len() > BLOCK_LEN {
            padded
                .iter_mut()
                .zip(Sha256::digest(key))
                .for_each(|(to, from)| *to = from);
        } else {
            padded
                .iter_mut()
                .zip(key)
                .for_each(|(to, &from)| *to = from);
        }
        let after = |pad: u8| {
            let mut state = SHA256_START;
            let mut block = padded.map(|byte| byte ^ pad);
            compress256(&mut state, &[block]);
            block.zeroize();
            state
        };
        let states = Self {
            inner: after(0x36),
            outer: after(0x5c),
        };
        padded.zeroize();
        states
    }

    /// Returns the state after the inner padded key.
    pub(crate) fn inner(&self) -> &[u32; 8] {
        &self.inner
    }

    /// Returns the state after the outer padded key.
    pub(crate) fn outer(&self) -> &[u32; 8] {
        &self.outer
    }

    /// Returns the HMAC of a short or long text.
    pub(crate) fn mac(&self, text: &[u8]) -> [u8; 32] {
        self.mac_of(&PaddedText::new(text))
    }

    /// Returns the HMAC of a text padded before.
    pub(crate) fn mac_of(&self, text: &PaddedText) -> [u8; 32] {
        let mut state = self.inner;
        compress256(&mut state, text.blocks());

        let mut last = [[0; BLOCK_LEN]];
        let [block] = &mut last;
        put_words(&state, block);
        // The end of a message of one block of key and 32 bytes: 768 bits.
        if let Some(end) = block.get_mut(32) {
            *end = 0x80;
        }
        put_bit_len(BLOCK_LEN + 32, block);
        state = self.outer;
        compress256(&mut state, &last);

        let mut mac = [0; 32];
        put_words(&state, &mut mac);
        mac
    }
}

impl Drop for Sha256State {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

// === impl OtherState ===

impl OtherState {
    fn digest_type(&self) -> DigestType {
        match self {
            Self::Md5(_) => DigestType::Md5,
            Self::Sha1(_) => DigestType::Sha1,
            Self::Sha384(_) => DigestType::Sha384,
            Self::Sha512(_) => DigestType::Sha512,
            Self::Sha3_256(_) => DigestType::Sha3_256,
            Self::Sha3_512(_) => DigestType::Sha3_512,
        }
    }

    fn append_mac(&self, text: &[u8], onto: &mut String) {
        macro_rules! append {
            ($hmac:expr) => {
                text::encode_onto(
                    &$hmac.clone().chain_update(text).finalize().into_bytes(),
                    onto,
                )
            };
        }
        match self {
            Self::Md5(hmac) => append!(hmac),
            Self::Sha1(hmac) => append!(hmac),
            Self::Sha384(hmac) => append!(hmac),
            Self::Sha512(hmac) => append!(hmac),
            Self::Sha3_256(hmac) => append!(hmac),
            Self::Sha3_512(hmac) => append!(hmac),
        }
    }

    fn verifies(&self, text: &[u8], mac: &[u8]) -> bool {
        macro_rules! verify {
            ($hmac:expr) => {
                $hmac.clone().chain_update(text).verify_slice(mac).is_ok()
            };
        }
        match self {
            Self::Md5(hmac) => verify!(hmac),
            Self::Sha1(hmac) => verify!(hmac),
            Self::Sha384(hmac) => verify!(hmac),
            Self::Sha512(hmac) => verify!(hmac),
            Self::Sha3_256(hmac) => verify!(hmac),
            Self::Sha3_512(hmac) => verify!(hmac),
        }
    }
}

// === impl PaddedText ===

impl PaddedText {
    /// Pads `text`, of which no more than [`PREFIXED_LEN_MAX`] bytes are looked at.
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut blocks = [[0; BLOCK_LEN]; BLOCKS_MAX];
        let len = text.len().min(PREFIXED_LEN_MAX);
        let used = (len + 9).div_ceil(BLOCK_LEN);
        let bytes = blocks.as_flattened_mut();
        bytes
            .iter_mut()
            .zip(text.iter().take(len).chain(&[0x80]))
            .for_each(|(to, &from)| *to = from);
        if let Some(last) = blocks.get_mut(used - 1) {
            put_bit_len(BLOCK_LEN + len, last);
        }
        Self { blocks, used }
    }

    pub(crate) fn blocks(&self) -> &[[u8; BLOCK_LEN]] {
        self.blocks.get(..self.used).unwrap_or_default()
    }
}

fn put_words(state: &[u32; 8], bytes: &mut [u8]) {
    let (words, _) = bytes.as_chunks_mut::<4>();
    for (to, word) in words.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
}

fn put_bit_len(len_bytes: usize, block: &mut [u8; BLOCK_LEN]) {
    if let Some(end) = block.last_chunk_mut() {
        *end = (len_bytes as u64 * 8).to_be_bytes();
    }
}
