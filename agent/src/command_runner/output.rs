//! What a command writes, as far as the audit keeps it.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

use fleet::export::printable;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Of what a command writes the audit keeps so many bytes; the rest is read and dropped, so that the
/// command does not wait for a reader.
const KEPT_BYTES: usize = 1024;

/// Standard output and standard error of one command, in the order in which they were written.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` when nothing more comes.
    reader: Option<PipeReader>,
    kept: Vec<u8>,
    bytes: u64,
}

// === impl Output ===

impl Output {
    pub(super) fn of(reader: PipeReader) -> io::Result<Self> {
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            reader: Some(reader),
            kept: Vec::new(),
            bytes: 0,
        })
    }

    /// Readable when something was written; `None` when nothing more comes.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there now, and of a command that writes without end a part.
    pub(super) fn read(&mut self) {
        const READS_MAX: usize = 64;
        let mut buffer = [0; 4096];
        for _ in 0..READS_MAX {
            let Some(reader) = &mut self.reader else {
                return;
            };
            match reader.read(&mut buffer) {
                Ok(0) => self.reader = None,
                Ok(count) => {
                    self.bytes += count as u64;
                    let room = KEPT_BYTES.saturating_sub(self.kept.len()).min(count);
                    self.kept.extend(buffer.iter().take(room));
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.reader = None,
            }
        }
    }

    /// As the audit keeps it: one line, without control characters.
    pub(super) fn text(&self) -> String {
        let kept = String::from_utf8_lossy(&self.kept);
        let lines = kept.trim().lines().map(str::trim_end);
        let mut text = printable(&lines.collect::<Vec<_>>().join(" | "));
        if self.bytes > self.kept.len() as u64 {
            text.push_str(&format!(" [{} bytes in all]", self.bytes));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text_of(written: &[u8]) -> String {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(written).unwrap();
        drop(writer);
        let mut output = Output::of(reader).unwrap();
        output.read();
        assert!(output.fd().is_none());
        output.text()
    }

    #[test]
    fn output_is_one_line_without_control_characters() {
        assert_eq!(text_of(b"one\ntwo\r\n"), "one | two");
        assert_eq!(text_of(b"\x1b[2Jx\x07"), "#033[2Jx#007");
        assert_eq!(text_of(b"\xff!"), "\u{fffd}!");
        assert_eq!(text_of(b""), "");
    }

    #[test]
    fn output_is_cut_and_the_audit_says_how_much_there_was() {
        let text = text_of(&[b'a'; 9_000]);

        assert!(text.ends_with("a [9000 bytes in all]"), "{text}");
        assert!(text.len() < KEPT_BYTES + 40);
    }
}
