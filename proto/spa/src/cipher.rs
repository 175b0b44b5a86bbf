//! AES-256 in fwknop's modes, under a key derived as OpenSSL's `enc -md md5` derives it.

use aes::Aes256;
use aes::cipher::{
    Block, BlockModeDecrypt as _, BlockModeEncrypt as _, KeyInit as _, KeyIvInit as _,
    StreamCipher as _,
};
use md5::{Digest as _, Md5};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::keys::{EncryptionKey, EncryptionMode};

/// What OpenSSL writes before the salt.
pub(crate) const MAGIC: &[u8; 8] = b"Salted__";
/// Magic and salt, in bytes.
pub(crate) const SALT_HEADER_LEN: usize = 16;
/// The block of AES, in bytes.
pub(crate) const BLOCK_LEN: usize = 16;
/// The longest encryption key in bytes; fwknop's limit.
pub(crate) const ENCRYPTION_KEY_LEN_MAX: usize = 32;

/// What legacy mode cuts or fills its key to, and with what.
const LEGACY_KEY_LEN: u8 = 16;
const LEGACY_FILLER: u8 = b'0';

/// An encryption key as the key derivation takes it, in place: no pointer to follow in a trial.
pub(crate) struct Passphrase {
    bytes: [u8; ENCRYPTION_KEY_LEN_MAX],
    len: u8,
}

/// The AES key and initialisation vector of one packet.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Derived {
    key: [u8; 32],
    iv: [u8; BLOCK_LEN],
}

/// Encrypts whole blocks in place.
pub(crate) fn encrypt(mode: EncryptionMode, derived: &Derived, bytes: &mut [u8]) {
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
pub(crate) fn decrypt(mode: EncryptionMode, derived: &Derived, bytes: &mut [u8]) {
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
pub(crate) fn pad(bytes: &mut Vec<u8>) {
    let padding = BLOCK_LEN - bytes.len() % BLOCK_LEN;
    let filler = u8::try_from(padding).expect("a block has 16 bytes");
    bytes.resize(bytes.len() + padding, filler);
}

/// Takes the padding off. Stricter than fwknop, which keeps the whole when the padding is wrong.
pub(crate) fn unpad(bytes: &[u8]) -> Option<&[u8]> {
    let &filler = bytes.last()?;
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

// === impl Passphrase ===

impl Passphrase {
    pub(crate) fn new(key: &EncryptionKey, mode: EncryptionMode) -> Self {
        let mut bytes = [0; ENCRYPTION_KEY_LEN_MAX];
        let mut len = 0;
        for (to, &from) in bytes.iter_mut().zip(key.as_bytes()) {
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
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Derives the key and the vector of one packet: `EVP_BytesToKey` with MD5 and one iteration.
    pub(crate) fn derive(&self, salt: &[u8; 8]) -> Derived {
        let mut derived = Derived {
            key: [0; 32],
            iv: [0; BLOCK_LEN],
        };
        let (halves, _) = derived.key.as_chunks_mut::<BLOCK_LEN>();
        let mut before = Zeroizing::new([0; BLOCK_LEN]);
        let mut hash = Md5::new();
        for part in halves.iter_mut().chain([&mut derived.iv]) {
            hash.update(self.as_bytes());
            hash.update(salt);
            *before = hash.finalize_reset().into();
            *part = *before;
            hash.update(*before);
        }
        derived
    }
}

impl Drop for Passphrase {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.len.zeroize();
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
}
