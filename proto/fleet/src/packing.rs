//! How a host's policy is packed on its way: a zstd frame, alone or as what differs from a text that
//! the other side has.
//!
//! Whoever unpacks checks the digest of what comes out: a text that is packed for another base than
//! the one at hand unpacks to something else, or to nothing.

pub use prost::bytes::Bytes;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter};

/// More costs a hundred times as much for a hundredth of the size.
const LEVEL: i32 = 1;
/// Exponents of the window: zstd's least, and what is 64 MiB for two texts of the largest size.
const WINDOW_LOG: std::ops::RangeInclusive<u32> = 10..=27;
/// The largest text that is unpacked, bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What cannot be unpacked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPacking {
    /// It says that it is larger than any text.
    #[error("it is of {0} bytes, and {TEXT_BYTES_MAX} are the most")]
    TooLarge(u64),
    /// It is no zstd frame, of another base, or of another size than it says.
    #[error("it does not unpack")]
    Broken,
}

/// Packs a text, as what differs from `base` where there is one; `None` when zstd cannot, which is
/// for want of memory.
#[must_use]
pub fn pack(text: &str, base: Option<&str>) -> Option<Bytes> {
    let text = text.as_bytes();
    let mut context = CCtx::try_create()?;
    let mut set = |parameter| context.set_parameter(parameter).ok();
    set(CParameter::CompressionLevel(LEVEL))?;
    if let Some(base) = base {
        // Without this a prefix is looked for in the newest part of the window only, and a
        // difference is no smaller than the text.
        set(CParameter::EnableLongDistanceMatching(true))?;
        set(CParameter::WindowLog(window_log(text.len() + base.len())))?;
        context.ref_prefix(base.as_bytes()).ok()?;
    }
    let mut packed = vec![0; zstd_safe::compress_bound(text.len())];
    let length = context.compress2(packed.as_mut_slice(), text).ok()?;
    packed.truncate(length);
    packed.shrink_to_fit();
    Some(packed.into())
}

/// Unpacks a text of `text_bytes` bytes.
///
/// # Errors
///
/// [`InvalidPacking`].
pub fn unpack(
    packed: &[u8],
    base: Option<&str>,
    text_bytes: u64,
) -> Result<String, InvalidPacking> {
    let too_large = || InvalidPacking::TooLarge(text_bytes);
    let size = usize::try_from(text_bytes).map_err(|_| too_large())?;
    if size > TEXT_BYTES_MAX {
        return Err(too_large());
    }
    let broken = |_| InvalidPacking::Broken;
    let mut context = DCtx::try_create().ok_or(InvalidPacking::Broken)?;
    let most = DParameter::WindowLogMax(*WINDOW_LOG.end());
    context.set_parameter(most).map_err(broken)?;
    if let Some(base) = base {
        context.ref_prefix(base.as_bytes()).map_err(broken)?;
    }
    let mut text = vec![0; size];
    let length = context.decompress(text.as_mut_slice(), packed);
    if length != Ok(size) {
        return Err(InvalidPacking::Broken);
    }
    String::from_utf8(text).map_err(|_| InvalidPacking::Broken)
}

/// The exponent of the smallest window that holds so many bytes.
fn window_log(bytes: usize) -> u32 {
    let log = usize::BITS - bytes.leading_zeros();
    log.clamp(*WINDOW_LOG.start(), *WINDOW_LOG.end())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Stanzas that have nothing in common but their form.
    fn text(stanzas: u32) -> String {
        let mut text = String::new();
        let mut random = 1_u64;
        for number in 0..stanzas {
            let _ = write!(text, "NAME stanza-{number}\nSOURCE ANY\nKEY_BASE64 ");
            for _ in 0..6 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let _ = write!(text, "{random:016x}");
            }
            text.push_str("\nOPEN_PORTS tcp/22\n\n");
        }
        text
    }

    fn size(text: &str) -> u64 {
        u64::try_from(text.len()).unwrap()
    }

    #[test]
    fn a_text_comes_out_as_it_went_in_and_is_smaller_on_the_way() {
        let text = text(2_000);

        let packed = pack(&text, None).unwrap();

        assert!(packed.len() * 3 < text.len() * 2, "{}", packed.len());
        assert_eq!(unpack(&packed, None, size(&text)).unwrap(), text);
        assert_eq!(unpack(&pack("", None).unwrap(), None, 0).unwrap(), "");
    }

    #[test]
    fn an_edit_of_a_long_text_is_a_few_hundred_bytes_wherever_it_is() {
        let base = text(10_000);
        for near in ["stanza-7\n", "stanza-5000\n", "stanza-9999\n"] {
            let edited = base.replace(near, &format!("{near}# edited\n"));
            let gone = base.replacen(&format!("NAME {near}SOURCE ANY\n"), "", 1);
            for new in [edited, gone] {
                let packed = pack(&new, Some(&base)).unwrap();
                assert!(packed.len() < 1_000, "{} bytes", packed.len());
                assert_eq!(unpack(&packed, Some(&base), size(&new)).unwrap(), new);
            }
        }
    }

    #[test]
    fn what_is_packed_for_another_base_never_comes_out_as_the_text() {
        let (base, new) = (text(500), format!("{}# edited\n", text(500)));
        let packed = pack(&new, Some(&base)).unwrap();

        for other in [None, Some(""), Some("another text")] {
            let unpacked = unpack(&packed, other, size(&new));
            assert_ne!(unpacked, Ok(new.clone()));
        }
    }

    #[test]
    fn what_says_another_size_or_is_cut_off_is_refused() {
        let text = text(100);
        let packed = pack(&text, None).unwrap();

        for (packed, bytes) in [
            (&*packed, size(&text) - 1),
            (&*packed, size(&text) + 1),
            (packed.split_at(packed.len() / 2).0, size(&text)),
            (b"no frame".as_slice(), 3),
            (b"".as_slice(), 3),
        ] {
            assert_eq!(unpack(packed, None, bytes), Err(InvalidPacking::Broken));
        }
        let huge = u64::MAX;
        assert_eq!(
            unpack(&packed, None, huge),
            Err(InvalidPacking::TooLarge(huge))
        );
    }
}
