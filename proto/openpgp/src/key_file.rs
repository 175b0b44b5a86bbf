//! A file of `private-keys-v1.d`: one private key, plain or under a passphrase.
//!
//! Formats: `agent/keyformat.txt` of GnuPG. The file does not say whose key it is; its public
//! numbers do.

use aes::Aes128;
use aes::cipher::{Array, BlockModeDecrypt as _, KeyIvInit as _};
use sha1::{Digest as _, Sha1};
use zeroize::Zeroizing;

use crate::error::KeyFault;
use crate::sexp::Sexp;

/// What a hash is fed at once while a passphrase is stretched, in bytes.
const CHUNK_LEN: usize = 64 * 1024;
/// GnuPG calibrates this to a tenth of a second; what is far beyond it is no file of GnuPG's.
const COUNT_MAX: u64 = 1 << 33;
/// The key of AES-128, in bytes.
const KEY_LEN: usize = 16;

/// A file as it was read.
pub(crate) struct KeyFile {
    /// `(rsa ...)` or `(ecc ...)`.
    key: Sexp,
    protection: Protection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    Plain,
    Passphrase,
    /// On a card, or elsewhere.
    Shadowed,
}

/// What stands in a file, as OpenPGP writes it (RFC 9580, section 5.5.3).
pub(crate) enum Secret {
    /// The secret numbers of a key, in their order.
    Numbers(Vec<Zeroizing<Vec<u8>>>),
    /// The rest of a secret key packet that is still under its passphrase, from the octet on that says
    /// how.
    Protected(Vec<u8>),
}

// === impl KeyFile ===

impl KeyFile {
    /// Reads a file; `None` for what is not one of GnuPG's.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = expression_in(text);
        let whole = Sexp::parse(&text)?;
        let Sexp::List(items) = whole else {
            return None;
        };
        let mut items = items.into_iter();
        let protection = match items.next()?.atom()? {
            b"private-key" => Protection::Plain,
            b"protected-private-key" => Protection::Passphrase,
            b"shadowed-private-key" => Protection::Shadowed,
            _ => return None,
        };
        let key = items.next()?;
        Some(Self { key, protection })
    }

    /// Returns the number that no other key has: the modulus, or the point.
    pub(crate) fn public_number(&self) -> Option<&[u8]> {
        let items = self.key.list()?;
        let number = Sexp::find(items, b"n").or_else(|| Sexp::find(items, b"q"))?;
        number.first()?.atom()
    }

    /// Returns the secret numbers.
    ///
    /// # Errors
    ///
    /// [`KeyFault`]; stretching the passphrase takes a tenth of a second or more.
    pub(crate) fn unlock(&self, passphrase: Option<&[u8]>) -> Result<Secret, KeyFault> {
        if let Some(native) = self.native() {
            return native_secret(native).ok_or(KeyFault::Protection);
        }
        match self.protection {
            Protection::Plain => numbers(self.key.list().unwrap_or_default()),
            Protection::Shadowed => Err(KeyFault::OnCard),
            Protection::Passphrase => {
                let passphrase = passphrase.ok_or(KeyFault::PassphraseNeeded)?;
                let plain = self.decrypt(passphrase)?;
                // In two lists: ((d ..)(p ..)) and the hash, if there is one.
                let read = Sexp::parse(&plain).ok_or(KeyFault::WrongPassphrase)?;
                let inner = read.list().and_then(<[Sexp]>::first);
                numbers(inner.and_then(Sexp::list).unwrap_or_default())
            }
        }
    }

    /// As gpg leaves a key that it has imported: in OpenPGP's own terms.
    fn native(&self) -> Option<&[Sexp]> {
        let protected = Sexp::find(self.key.list()?, b"protected")?;
        let [mode, key] = protected else {
            return None;
        };
        (mode.atom()? == b"openpgp-native").then(|| key.named(b"openpgp-private-key"))?
    }

    fn decrypt(&self, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
        let items = self.key.list().unwrap_or_default();
        let protected = Sexp::find(items, b"protected").ok_or(KeyFault::Format)?;
        let [mode, parameters, ciphertext] = protected else {
            return Err(KeyFault::Protection);
        };
        let mode = mode.atom().ok_or(KeyFault::Format)?;
        let is_ocb = match mode {
            b"openpgp-s2k3-ocb-aes" => true,
            b"openpgp-s2k3-sha1-aes-cbc" => false,
            _ => return Err(KeyFault::Protection),
        };
        let (salt, count, iv) = parameters_of(parameters).ok_or(KeyFault::Format)?;
        let ciphertext = ciphertext.atom().ok_or(KeyFault::Format)?;
        let key = stretched(passphrase, salt, count);
        if is_ocb {
            let mut associated = Vec::new();
            self.key.write_canonical(b"protected", &mut associated);
            open_ocb(&key, iv, &associated, ciphertext)
        } else {
            let plain = open_cbc(&key, iv, ciphertext)?;
            self.check_hash(&plain)?;
            Ok(plain)
        }
    }

    /// The hash covers the key as it was before it was protected, and the time of that.
    fn check_hash(&self, plain: &[u8]) -> Result<(), KeyFault> {
        let read = Sexp::parse(plain).ok_or(KeyFault::WrongPassphrase)?;
        let [secret, hash] = read.list().unwrap_or_default() else {
            return Err(KeyFault::WrongPassphrase);
        };
        let [_, expected] = hash.named(b"hash").unwrap_or_default() else {
            return Err(KeyFault::WrongPassphrase);
        };
        let mut hashed = Zeroizing::new(vec![b'(']);
        for item in self.key.list().unwrap_or_default() {
            if item.named(b"protected").is_some() {
                for number in secret.list().unwrap_or_default() {
                    number.write_canonical(b"", &mut hashed);
                }
            } else {
                item.write_canonical(b"", &mut hashed);
            }
        }
        hashed.push(b')');
        let is_right = expected.atom() == Some(&*Sha1::digest(&*hashed));
        is_right.then_some(()).ok_or(KeyFault::WrongPassphrase)
    }
}

/// `((sha1 SALT COUNT) IV)`.
fn parameters_of(parameters: &Sexp) -> Option<(&[u8], u64, &[u8])> {
    let [stretching, iv] = parameters.list()? else {
        return None;
    };
    let [salt, count] = stretching.named(b"sha1")? else {
        return None;
    };
    let count = std::str::from_utf8(count.atom()?).ok()?.parse().ok()?;
    (count <= COUNT_MAX).then_some((salt.atom()?, count, iv.atom()?))
}

/// The iterated and salted S2K of OpenPGP with SHA-1 (RFC 9580, section 3.7.1.3): salt and passphrase
/// again and again, `count` bytes of it.
fn stretched(passphrase: &[u8], salt: &[u8], count: u64) -> Zeroizing<[u8; KEY_LEN]> {
    let once = Zeroizing::new([salt, passphrase].concat());
    // Whole repetitions in each chunk, so that chunk follows chunk.
    let repetitions = (CHUNK_LEN / once.len().max(1)).max(1);
    let chunk = Zeroizing::new(once.repeat(repetitions));
    let mut left = count.max(once.len() as u64);
    let mut hash = Sha1::new();
    while left > 0 {
        let len = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let part = chunk.get(..len).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        hash.update(part);
        left -= part.len() as u64;
    }
    let digest = hash.finalize();
    let mut key = Zeroizing::new([0; KEY_LEN]);
    key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    key
}

fn open_ocb(
    key: &[u8; KEY_LEN],
    nonce: &[u8],
    associated: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    use ocb3::aead::consts::U12;
    use ocb3::aead::generic_array::GenericArray;
    use ocb3::aead::{AeadInPlace as _, KeyInit as _};

    let nonce: [u8; 12] = nonce.try_into().map_err(|_| KeyFault::Format)?;
    let (body, tag) = ciphertext.split_last_chunk().ok_or(KeyFault::Format)?;
    let tag: [u8; 16] = *tag;
    let cipher = ocb3::Ocb3::<aes_of_ocb3::Aes128, U12>::new(GenericArray::from_slice(key));
    let mut plain = Zeroizing::new(body.to_vec());
    cipher
        .decrypt_in_place_detached(
            GenericArray::from_slice(&nonce),
            associated,
            &mut plain,
            GenericArray::from_slice(&tag),
        )
        .map_err(|_| KeyFault::WrongPassphrase)?;
    Ok(plain)
}

fn open_cbc(
    key: &[u8; KEY_LEN],
    iv: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let iv: [u8; 16] = iv.try_into().map_err(|_| KeyFault::Format)?;
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    let (blocks, rest) = Array::slice_as_chunks_mut(&mut plain);
    if !rest.is_empty() {
        return Err(KeyFault::Format);
    }
    let mut cipher = cbc::Decryptor::<Aes128>::new(&Array(*key), &Array(iv));
    cipher.decrypt_blocks(blocks);
    Ok(plain)
}

/// RSA has d, p, q and u; elliptic curves have d.
fn numbers(items: &[Sexp]) -> Result<Secret, KeyFault> {
    let number = |name: &[u8]| {
        let value = Sexp::find(items, name)?.first()?.atom()?;
        Some(Zeroizing::new(value.to_vec()))
    };
    let d = number(b"d").ok_or(KeyFault::Format)?;
    let of_rsa: Option<Vec<_>> = [&b"p"[..], b"q", b"u"].into_iter().map(number).collect();
    let rest = of_rsa.unwrap_or_default();
    Ok(Secret::Numbers([vec![d], rest].concat()))
}

/// `(algo A)(skey _ N _ N e N)(protection HOW CIPHER IV S2K HASH SALT COUNT)`, where what is marked with
/// `_` is a number and with `e` still encrypted.
fn native_secret(key: &[Sexp]) -> Option<Secret> {
    let algorithm = Sexp::find(key, b"algo")?.first()?.atom()?;
    let public_count = if algorithm.eq_ignore_ascii_case(b"RSA") {
        2
    } else {
        1
    };
    let marked = Sexp::find(key, b"skey")?.chunks_exact(2).skip(public_count);
    let protection = Sexp::find(key, b"protection")?;
    let how = protection.first()?.atom()?;
    if how == b"none" {
        let numbers = marked.map(|pair| Some(Zeroizing::new(pair.last()?.atom()?.to_vec())));
        return numbers.collect::<Option<_>>().map(Secret::Numbers);
    }
    let [_, cipher, iv, kind, hash, salt, count] = protection else {
        return None;
    };
    let encrypted = marked.into_iter().find_map(|pair| match pair {
        [mark, value] if mark.atom()? == b"e" => value.atom(),
        _ => None,
    })?;
    // With a hash, or with the sum that was before it.
    let usage = if how == b"sha1" { 254 } else { 255 };
    let count: u8 = number(count)?;
    let head = [
        usage,
        cipher_id(cipher.atom()?)?,
        number(kind)?,
        hash_id(hash.atom()?)?,
    ];
    let iterated = head.get(2) == Some(&3);
    let [salt, count, iv] = [salt.atom()?, &[count], iv.atom()?];
    iterated.then(|| Secret::Protected([&head, salt, count, iv, encrypted].concat()))
}

fn number(atom: &Sexp) -> Option<u8> {
    std::str::from_utf8(atom.atom()?).ok()?.parse().ok()
}

/// RFC 9580, section 9.3, by the names of libgcrypt.
fn cipher_id(name: &[u8]) -> Option<u8> {
    Some(match name.to_ascii_uppercase().as_slice() {
        b"3DES" => 2,
        b"CAST5" => 3,
        b"AES" | b"AES128" => 7,
        b"AES192" => 8,
        b"AES256" => 9,
        b"TWOFISH" => 10,
        _ => return None,
    })
}

/// RFC 9580, section 9.5.
fn hash_id(name: &[u8]) -> Option<u8> {
    Some(match name.to_ascii_uppercase().as_slice() {
        b"SHA1" => 2,
        b"SHA256" => 8,
        b"SHA384" => 9,
        b"SHA512" => 10,
        _ => return None,
    })
}

/// The expression in a file: all of it, or in the newer form the value of `Key:`, whose further lines
/// begin with a blank that is not part of it.
fn expression_in(text: &[u8]) -> Zeroizing<Vec<u8>> {
    if text.trim_ascii_start().starts_with(b"(") {
        return Zeroizing::new(text.to_vec());
    }
    let mut value = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut is_key = false;
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(more) = line.strip_prefix(b" ").or_else(|| line.strip_prefix(b"\t")) {
            if is_key {
                value.extend_from_slice(more);
            }
            continue;
        }
        let begun = line
            .get(..4)
            .filter(|name| name.eq_ignore_ascii_case(b"Key:"));
        is_key = begun.is_some();
        if is_key {
            value.extend_from_slice(line.get(4..).unwrap_or_default());
        }
    }
    value
}
