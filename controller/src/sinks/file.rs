//! A file that grows by one line for each record.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fleet::export::Record;

use super::error::{Answer, DeliveryError};
use super::text;
use crate::settings::Format;

/// Appends to a file, which is opened anew each time: whoever rotates it moves it away.
#[derive(Clone, Debug)]
pub(crate) struct FileSink {
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

// === impl FileSink ===

impl FileSink {
    pub(super) async fn send(&self, records: &[Record]) -> Result<Answer, DeliveryError> {
        let mut lines = String::new();
        for record in records {
            lines.push_str(&text::line(record, self.format));
            lines.push('\n');
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, &lines)).await;
        let failed = |source| DeliveryError::File {
            path: self.path.clone(),
            source,
        };
        written
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)?;
        Ok(Answer("written and synced".to_owned()))
    }
}

fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if !ends_a_line(&mut file)? {
        // A machine that stopped in the middle of a line: the record is written again, whole.
        file.write_all(b"\n")?;
    }
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
