//! Included files, from the disk.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use policy::{ReadError, Source};

/// The disk, as the place that `%include` reads from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

/// No access.conf comes near this: 10,000 stanzas are about 2 MB. Guards against a device or a log
/// given by mistake.
const FILE_BYTES_MAX: u64 = 64 << 20;

// === impl Files ===

impl Source for Files {
    fn read(&self, path: &Path) -> Result<String, ReadError> {
        Ok(read_text(path)?)
    }

    fn list_conf(&self, dir: &Path) -> Result<Vec<PathBuf>, ReadError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
                && path.is_file()
            {
                files.push(path);
            }
        }
        Ok(files)
    }
}

/// Reads a file of text. Old files have names in Latin-1 in their comments, so bytes that are not
/// UTF-8 are replaced; where that matters, the parser finds a value that is none.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 64 MiB",
        ));
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}
