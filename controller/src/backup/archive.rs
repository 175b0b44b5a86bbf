//! The archive: an ordinary tar file (POSIX ustar), so that anybody can look into it with `tar -tvf`.
//!
//! Written and read here because it is little: plain files in one folder, nothing else. What is not
//! such a file is refused.

use std::io::{self, Read, Write};

/// The unit of the format, bytes.
pub(super) const BLOCK: usize = 512;
/// Sizes from here do not fit into eleven octal digits, and are written as GNU tar does.
const OCTAL_MAX: u64 = 0o777_7777_7777;
/// Where the fields of a header are.
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;

/// Writes one file's header and contents. `bytes` gives exactly `size` bytes.
pub(super) fn write_file(
    archive: &mut impl Write,
    name: &str,
    (size, at_secs): (u64, u64),
    bytes: &mut impl Read,
) -> io::Result<()> {
    archive.write_all(&header(name, size, at_secs)?)?;
    let copied = io::copy(&mut bytes.take(size), archive)?;
    if copied != size {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter",
        ));
    }
    archive.write_all(&vec![0; padding(size)])
}

/// Two empty blocks.
pub(super) fn write_end(archive: &mut impl Write) -> io::Result<()> {
    archive.write_all(&[0; 2 * BLOCK])
}

/// Reads the next header: name and size of a file; `None` at the end. Its contents follow, and then
/// [`skip_padding`].
pub(super) fn next_file(archive: &mut impl Read) -> io::Result<Option<(String, u64)>> {
    let mut block = [0; BLOCK];
    archive.read_exact(&mut block)?;
    if block == [0; BLOCK] {
        return Ok(None);
    }
    let sum = number(field(&block, CHECKSUM));
    if sum != Some(checksum(&block)) || !field(&block, MAGIC).starts_with(b"ustar") {
        return Err(invalid(
            "it is no archive of `postern-controller backup`, or it is damaged",
        ));
    }
    if !matches!(block.get(TYPE), Some(b'0' | 0)) {
        return Err(invalid("it holds something that is no file"));
    }
    let name = field(&block, NAME)
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let name = str::from_utf8(name).map_err(|_| invalid("a name in it is no text"))?;
    let size = number(field(&block, SIZE)).ok_or_else(|| invalid("a size in it is no number"))?;
    Ok(Some((name.to_owned(), size)))
}

/// Reads what stands between a file of this size and the next header.
pub(super) fn skip_padding(archive: &mut impl Read, size: u64) -> io::Result<()> {
    archive.read_exact(&mut vec![0; padding(size)])
}

fn header(name: &str, size: u64, at_secs: u64) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    if name.len() >= NAME.len() {
        return Err(invalid("a name is too long"));
    }
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in block.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(NAME.start, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(SIZE.start, &size_field(size));
    put(136, format!("{:011o}\0", at_secs.min(OCTAL_MAX)).as_bytes());
    put(TYPE, b"0");
    put(MAGIC.start, b"ustar\x0000");
    let sum = checksum(&block);
    let sum = format!("{sum:06o}\0 ");
    for (to, from) in block.iter_mut().skip(CHECKSUM.start).zip(sum.as_bytes()) {
        *to = *from;
    }
    Ok(block)
}

fn size_field(size: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    if size <= OCTAL_MAX {
        let digits = format!("{size:011o}\0");
        for (to, from) in bytes.iter_mut().zip(digits.as_bytes()) {
            *to = *from;
        }
        return bytes;
    }
    // The highest bit says that the rest is a number in base 256.
    let digits = [&[0x80, 0, 0, 0], &size.to_be_bytes()[..]].concat();
    for (to, from) in bytes.iter_mut().zip(digits) {
        *to = from;
    }
    bytes
}

/// Of all bytes, those of the field itself being spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let each = block.iter().enumerate();
    each.map(|(at, byte)| {
        let byte = if CHECKSUM.contains(&at) { b' ' } else { *byte };
        u64::from(byte)
    })
    .sum()
}

fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, digits)) = field.split_first() {
        return digits.iter().try_fold(0_u64, |number, digit| {
            number.checked_mul(256)?.checked_add(u64::from(*digit))
        });
    }
    let text = str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

fn field(block: &[u8; BLOCK], range: std::ops::Range<usize>) -> &[u8] {
    block.get(range).unwrap_or_default()
}

fn padding(size: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - size % block) % block).unwrap_or(0)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, bytes) in files {
            let mut bytes = *bytes;
            write_file(
                &mut archive,
                name,
                (bytes.len() as u64, 1_795_000_000),
                &mut bytes,
            )
            .unwrap();
        }
        write_end(&mut archive).unwrap();
        archive
    }

    #[test]
    fn what_is_written_is_read_by_tar_and_by_us() {
        let dir = tempfile::TempDir::new().unwrap();
        let long = vec![b'x'; 1_000];
        let files: [(&str, &[u8]); 3] = [("a.txt", b"one"), ("empty", b""), ("b.bin", &long)];
        let bytes = archive(&files);
        std::fs::write(dir.path().join("x.tar"), &bytes).unwrap();

        let tar = Command::new("tar")
            .args(["-xf", "x.tar"])
            .current_dir(dir.path())
            .output();
        assert!(tar.unwrap().status.success());
        let mut ours = bytes.as_slice();
        for (name, contents) in files {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), contents);
            let (found, size) = next_file(&mut ours).unwrap().unwrap();
            assert_eq!((found.as_str(), size), (name, contents.len() as u64));
            let mut read = Vec::new();
            ours.by_ref().take(size).read_to_end(&mut read).unwrap();
            assert_eq!(read, contents);
            skip_padding(&mut ours, size).unwrap();
        }
        assert_eq!(next_file(&mut ours).unwrap(), None);
    }

    #[test]
    fn what_is_no_archive_or_is_damaged_or_cut_is_refused() {
        let good = archive(&[("a", b"one")]);
        let mut damaged = good.clone();
        damaged[5] ^= 1;

        assert!(next_file(&mut damaged.as_slice()).is_err());
        assert!(next_file(&mut &good[..100]).is_err());
        assert!(next_file(&mut &[b'x'; 512][..]).is_err());
    }

    #[test]
    fn a_size_beyond_eight_gigabytes_is_written_and_read() {
        for size in [0, OCTAL_MAX, OCTAL_MAX + 1, 1 << 40] {
            assert_eq!(number(&size_field(size)), Some(size));
        }
    }
}
