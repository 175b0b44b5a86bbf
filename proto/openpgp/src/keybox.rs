//! `pubring.kbx`: the keybox in which GnuPG keeps public keys (its `kbx/keybox-blob.c` describes it).

/// The kind of blob that holds an OpenPGP key.
const OPENPGP: u8 = 2;

/// Returns the OpenPGP keys of a keybox, each by itself; `None` for what is no keybox.
pub(crate) fn keys_in(keybox: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    let mut rest = keybox;
    let mut is_first = true;
    while !rest.is_empty() {
        let len = number(rest, 0)?;
        // A blob has at least its head.
        if len < 16 {
            return None;
        }
        let (blob, behind) = rest.split_at_checked(len)?;
        if is_first && blob.get(8..12) != Some(b"KBXf") {
            return None;
        }
        is_first = false;
        if blob.get(4) == Some(&OPENPGP) {
            let (start, len) = (number(blob, 8)?, number(blob, 12)?);
            keys.push(blob.get(start..start.checked_add(len)?)?.to_vec());
        }
        rest = behind;
    }
    (!is_first).then_some(keys)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keybox_that_lies_about_its_lengths_is_none() {
        let head = [&[0, 0, 0, 32, 1, 1, 0, 2][..], b"KBXf", &[0; 20]].concat();
        assert_eq!(keys_in(&head), Some(Vec::new()));
        for blob in [
            &[0, 0, 0, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 200, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 16, 2, 1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1],
            &[
                0, 0, 0, 16, 2, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
        ] {
            let text = [&head[..], blob].concat();
            assert_eq!(keys_in(&text), None, "{blob:?}");
        }
        assert_eq!(keys_in(b""), None);
        assert_eq!(keys_in(b"\x99\x01\x0d\x04"), None);
    }
}
