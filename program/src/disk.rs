//! The disk that a file is on, in words, for errors that are the disk's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::stat::{major, minor};
use nix::sys::statvfs::{FsFlags, statvfs};

/// Where a file is and how much room is there: `0 KiB of 2.0 MiB free on tmpfs, mounted at /x`. Also
/// of a file that is gone.
#[must_use]
pub fn of(path: &Path) -> String {
    let there = path.ancestors().find(|ancestor| ancestor.exists());
    there
        .and_then(describe)
        .unwrap_or_else(|| "its disk says nothing".to_owned())
}

/// Free bytes on the disk that a file is on; `None` where it does not say.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|ancestor| ancestor.exists())?;
    let room = statvfs(there).ok()?;
    Some(room.blocks_available().saturating_mul(room.fragment_size()))
}

fn describe(path: &Path) -> Option<String> {
    let room = statvfs(path).ok()?;
    let bytes = |blocks: u64| size(blocks.saturating_mul(room.fragment_size()));
    let (free, all) = (bytes(room.blocks_available()), bytes(room.blocks()));
    let read_only = if room.flags().contains(FsFlags::ST_RDONLY) {
        ", read-only"
    } else {
        ""
    };
    let inodes = match (room.files(), room.files_available()) {
        (1.., 0) => ", no inode left",
        _ => "",
    };
    let (source, point) = mount_of(fs::metadata(path).ok()?.dev())?;
    Some(format!(
        "{free} of {all} free on {source}, mounted at {point}{read_only}{inodes}"
    ))
}

/// Bytes as people read them: `2.0 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = bytes / 1_024 * 10;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while tenths >= 10_240
        && let Some(next) = units.next()
    {
        tenths /= 1_024;
        unit = Some(next);
    }
    let (whole, rest) = (tenths / 10, tenths % 10);
    format!("{whole}.{rest} {}", unit.unwrap_or(&""))
}

/// What is mounted, and where; of several mounts of one file system the last.
fn mount_of(dev: u64) -> Option<(String, String)> {
    let wanted = format!("{}:{}", major(dev), minor(dev));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELDS..] - TYPE SOURCE OPTIONS: proc(5).
    let of_line = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(2);
        let (device, point) = (front.next()?, front.nth(1)?);
        let source = back.split(' ').nth(1)?;
        (device == wanted).then(|| (source.to_owned(), point.to_owned()))
    };
    mounts.lines().rev().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_named_with_its_room_also_for_a_file_that_is_gone() {
        let dir = tempfile::TempDir::new().unwrap();

        let text = of(&dir.path().join("gone/journal.db"));

        assert!(text.contains(" free on "), "{text}");
        assert!(free_bytes(&dir.path().join("gone/journal.db")).is_some());
        assert!(text.contains(", mounted at /"), "{text}");
    }

    #[test]
    fn sizes_are_read_by_people() {
        let sizes = [0, 1_023, 1_536, 2 << 20, 5 << 30, 3 << 50].map(size);

        let expected = [
            "0.0 KiB",
            "0.0 KiB",
            "1.0 KiB",
            "2.0 MiB",
            "5.0 GiB",
            "3072.0 TiB",
        ];
        assert_eq!(sizes, expected);
    }
}
