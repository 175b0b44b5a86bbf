//! A capture file that another program is still writing: in however many pieces it comes, the same
//! frames come out, and no reader loses its place.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use agent::capture::{self, Arrival, Capture, CaptureConfig, CaptureSource, Filter};

use crate::scene::memory;

pub(crate) fn check(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let path = memory().join(format!("postern-fuzz-{}.pcap", std::process::id()));
    let forget = || fs::remove_file(path.with_extension("bookmark"));
    fs::write(&path, bytes).expect("a file can be written");
    let at_once = frames(&path, |_| {});
    let _ = forget();
    let cut = usize::from(cut) * bytes.len() / 256;
    let (first, rest) = bytes.split_at(cut);
    fs::write(&path, first).expect("a file can be written");
    let in_pieces = frames(&path, |file| {
        file.write_all(rest).expect("it can be added to")
    });
    assert_eq!(at_once, in_pieces, "cut at {cut}");
    let _ = forget();
    fs::remove_file(&path).expect("our file");
}

/// The frames that a reader gets which follows the file; `grow` adds to it after the first look.
fn frames(path: &Path, grow: impl FnOnce(&mut File)) -> Option<Vec<Vec<u8>>> {
    let config = CaptureConfig {
        source: CaptureSource::File {
            path: path.to_owned(),
            follow: true,
        },
        filter: Filter::for_port(62_201),
        buffer_bytes: 65_536,
        promiscuous: false,
        any_direction: false,
        bookmark: path.with_extension("bookmark"),
    };
    let mut capture = capture::open(&config).ok()?;
    let mut frames = Vec::new();
    let first = read_all(capture.as_mut(), &mut frames);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("our file");
    grow(&mut file);
    let second = read_all(capture.as_mut(), &mut frames);
    (first.is_some() && second.is_some()).then_some(frames)
}

/// `None` when the file turns out to be none.
fn read_all(capture: &mut dyn Capture, frames: &mut Vec<Vec<u8>>) -> Option<()> {
    loop {
        let read = capture.next_batch(64, Duration::from_secs(1), &mut |arrival| {
            if let Arrival::Frame(_, frame) = arrival {
                frames.push(frame.to_vec());
            }
        });
        if read.ok()? == 0 {
            return Some(());
        }
    }
}
