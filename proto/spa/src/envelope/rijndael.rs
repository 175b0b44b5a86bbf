//! fwknop's own envelope: AES-256 under a key derived as OpenSSL's `enc -md md5` derives it.
//!
//! ```text
//! "Salted__" (8), salt (8), whole blocks of ciphertext
//! ```

use aes::Aes256;
use aes::cipher::{
    Block, BlockModeDecrypt as _, BlockModeEncrypt as _, KeyInit as _, KeyIvInit as _,
    StreamCipher as _,
};
use md5::{Digest as _, Md5};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::error::OpenError;
use crate::mode::EncryptionMode;
use crate::text;

/// The base64 of the magic up to the character that carries salt too; known, so never sent.
pub(super) const PREFIX: &[u8] = b"U2FsdGVkX1";
/// What OpenSSL writes before the salt.
const MAGIC: &[u8; 8] = b"Salted__";
/// The four bits of the last magic byte that the first character sent carries.
const MAGIC_REST: u8 = 0b1111;
/// Magic and salt, in bytes.
const SALT_HEADER_LEN: usize = 16;
/// The block of AES, in bytes.
const BLOCK_LEN: usize = 16;
/// The longest encryption key in bytes; fwknop's limit.
pub(crate) const ENCRYPTION_KEY_LEN_MAX: usize = 32;

/// What legacy mode cuts or fills its key to, and with what.
const LEGACY_KEY_LEN: u8 = 16;
const LEGACY_FILLER: u8 = b'0';

/// An encryption key as the key derivation takes it, in place: no pointer to follow in a trial.
pub(crate) struct RijndaelKey {
    bytes: [u8; ENCRYPTION_KEY_LEN_MAX],
    len: u8,
    mode: EncryptionMode,
}

/// The head of a packet: as much as shows whether a key without an HMAC key is the right one.
pub(crate) struct Head {
    salt: [u8; 8],
    first_block: [u8; BLOCK_LEN],
}

/// The AES key and initialisation vector of one packet.
#[derive(ZeroizeOnDrop)]
struct Derived {
    key: [u8; 32],
    iv: [u8; BLOCK_LEN],
}

/// Reports whether a packet without its prefix begins as one of this envelope: with the bits that
/// belong to the magic bytes.
pub(super) fn begins(text: &[u8]) -> bool {
    text.first()
        .and_then(|&first| text::value_of(first))
        .is_some_and(|bits| bits >> 2 == MAGIC_REST)
}

/// Reports whether so many bytes are a salt header and whole blocks for so long a plaintext.
pub(super) fn is_whole_blocks(len_bytes: usize, plaintext_len_min: usize) -> bool {
    len_bytes.is_multiple_of(BLOCK_LEN)
        && len_bytes >= SALT_HEADER_LEN + plaintext_len_min.next_multiple_of(BLOCK_LEN)
}

/// Encrypts whole blocks in place.
fn encrypt(mode: EncryptionMode, derived: &Derived, bytes: &mut [u8]) {
    let (key, iv) = (&derived.key.into(), &derived.iv.into());
    match mode {
        EncryptionMode::Cbc | EncryptionMode::Legacy => {
            cbc::Encryptor::<Aes256>::new(key, iv).encrypt_blocks(blocks(bytes));
        }
        EncryptionMode::Ctr => ctr::Ctr128BE::<Aes256>::new(key, iv).apply_keystream(bytes),
        EncryptionMode::Cfb => cfb_mode::Encryptor::<Aes256>::new(key, iv).encrypt(bytes),
        EncryptionMode::Ofb => ofb::Ofb::<Aes256>::new(key, iv).apply_keystream(bytes),
        EncryptionMode::Ecb => ecb::Encryptor::<Aes256>::new(key).encrypt_blocks(blocks(bytes)),
    }
}

/// Decrypts whole blocks in place.
fn decrypt(mode: EncryptionMode, derived: &Derived, bytes: &mut [u8]) {
    let (key, iv) = (&derived.key.into(), &derived.iv.into());
    match mode {
        EncryptionMode::Cbc | EncryptionMode::Legacy => {
            cbc::Decryptor::<Aes256>::new(key, iv).decrypt_blocks(blocks(bytes));
        }
        EncryptionMode::Ctr => ctr::Ctr128BE::<Aes256>::new(key, iv).apply_keystream(bytes),
        EncryptionMode::Cfb => cfb_mode::Decryptor::<Aes256>::new(key, iv).decrypt(bytes),
        EncryptionMode::Ofb => ofb::Ofb::<Aes256>::new(key, iv).apply_keystream(bytes),
        EncryptionMode::Ecb => ecb::Decryptor::<Aes256>::new(key).decrypt_blocks(blocks(bytes)),
    }
}

/// Pads to whole blocks with 1 to 16 bytes that say how many they are (RFC 5652 section 6.3).
fn pad(bytes: &mut Vec<u8>) {
    let padding = BLOCK_LEN - bytes.len() % BLOCK_LEN;
    let filler = u8::try_from(padding).expect("a block has 16 bytes");
    bytes.resize(bytes.len() + padding, filler);
}

/// Takes the padding off. Stricter than fwknop, which keeps the whole when the padding is wrong.
///
/// The Android client of 2012 does not pad a plaintext of whole blocks. A plaintext ends in a
/// character of its digest, which is no length of a padding, so each text still has one reading.
fn unpad(bytes: &[u8]) -> Option<&[u8]> {
    let &filler = bytes.last()?;
    if filler.is_ascii_graphic() {
        return Some(bytes);
    }
    let padding = usize::from(filler);
    if !(1..=BLOCK_LEN).contains(&padding) {
        return None;
    }
    let (rest, tail) = bytes.split_at_checked(bytes.len().checked_sub(padding)?)?;
    tail.iter().all(|&byte| byte == filler).then_some(rest)
}

fn blocks(bytes: &mut [u8]) -> &mut [Block<Aes256>] {
    let (blocks, _) = Block::<Aes256>::slice_as_chunks_mut(bytes);
    blocks
}

// === impl RijndaelKey ===

impl RijndaelKey {
    /// Takes a passphrase of at most [`ENCRYPTION_KEY_LEN_MAX`] bytes.
    pub(crate) fn new(passphrase: &[u8], mode: EncryptionMode) -> Self {
        let mut bytes = [0; ENCRYPTION_KEY_LEN_MAX];
        let mut len = 0;
        for (to, &from) in bytes.iter_mut().zip(passphrase) {
            *to = from;
            len += 1;
        }
        if mode == EncryptionMode::Legacy {
            bytes
                .iter_mut()
                .skip(usize::from(len))
                .for_each(|byte| *byte = LEGACY_FILLER);
            len = LEGACY_KEY_LEN;
        }
        Self { bytes, len, mode }
    }

    /// Returns the passphrase in the form that the cipher sees.
    pub(crate) fn passphrase(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Encrypts a plaintext; gives the envelope as bytes.
    pub(crate) fn seal(&self, mut plain: Vec<u8>, salt: [u8; 8]) -> Vec<u8> {
        pad(&mut plain);
        encrypt(self.mode, &self.derive(&salt), &mut plain);
        [MAGIC, &salt[..], &plain].concat()
    }

    /// Decrypts an envelope in place; gives the plaintext.
    ///
    /// # Errors
    ///
    /// [`OpenError::Ciphertext`] and [`OpenError::Padding`].
    pub(crate) fn open<'r>(&self, raw: &'r mut [u8]) -> Result<&'r [u8], OpenError> {
        let (magic, rest) = raw.split_first_chunk_mut().ok_or(OpenError::Ciphertext)?;
        let (salt, ciphertext) = rest.split_first_chunk_mut().ok_or(OpenError::Ciphertext)?;
        if magic != MAGIC || !ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(OpenError::Ciphertext);
        }
        decrypt(self.mode, &self.derive(salt), ciphertext);
        unpad(ciphertext).ok_or(OpenError::Padding)
    }

    /// Decrypts the first block, in which the sixteen random digits must stand. Another key gives
    /// digits once in 10^22 packets.
    pub(crate) fn matches(&self, head: &Head) -> bool {
        let mut block = head.first_block;
        decrypt(self.mode, &self.derive(&head.salt), &mut block);
        block.iter().all(u8::is_ascii_digit)
    }

    /// Derives the key and the vector of one packet: `EVP_BytesToKey` with MD5 and one iteration.
    fn derive(&self, salt: &[u8; 8]) -> Derived {
        let mut derived = Derived {
            key: [0; 32],
            iv: [0; BLOCK_LEN],
        };
        let (halves, _) = derived.key.as_chunks_mut::<BLOCK_LEN>();
        let mut before = Zeroizing::new([0; BLOCK_LEN]);
        let mut hash = Md5::new();
        for part in halves.iter_mut().chain([&mut derived.iv]) {
            hash.update(self.passphrase());
            hash.update(salt);
            *before = hash.finalize_reset().into();
            *part = *before;
            hash.update(*before);
        }
        derived
    }
}

impl Drop for RijndaelKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.len.zeroize();
    }
}

// === impl Head ===

impl Head {
    /// Reads the head of a text with its prefix in place.
    pub(crate) fn read(prefixed: &[u8]) -> Option<Self> {
        /// Eleven groups of four characters: magic, salt, the first block, and one byte.
        const HEAD_LEN: usize = 44;
        let mut head = [0; HEAD_LEN / 4 * 3];
        let head = text::decode_into(prefixed.get(..HEAD_LEN)?, &mut head)?;
        let (_, salted) = head.split_first_chunk::<{ MAGIC.len() }>()?;
        let (salt, rest) = salted.split_first_chunk()?;
        Some(Self {
            salt: *salt,
            first_block: *rest.first_chunk()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_must_say_its_own_length() {
        assert_eq!(unpad(b"abc\x01"), Some(&b"abc"[..]));
        assert_eq!(unpad(&[16; 16]), Some(&[][..]));
        for wrong in [&b""[..], b"abc\0", b"ab\x01\x02", b"\x02", &[17; 32]] {
            assert_eq!(unpad(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_plaintext_of_whole_blocks_may_have_no_padding_as_the_old_android_client_sends_it() {
        assert_eq!(unpad(b"0123456789abcdef"), Some(&b"0123456789abcdef"[..]));
    }
}
