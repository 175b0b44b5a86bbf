//! fwknop's key files: lines of the form `HOST: key`. Keys, and what else stands in the file, may be of any
//! bytes.

use std::fs;
use std::io;
use std::path::Path;

use program::files;
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::ui::Ui;

/// No key file comes near this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The key of `host` in the file. The last line for the host counts, and the key is the rest of it.
///
/// # Errors
///
/// Exit code 1 when the file cannot be read or has no line for the host.
pub(super) fn read(ui: &Ui, path: &Path, host: &str) -> Result<Zeroizing<Vec<u8>>> {
    let name = path.display();
    let failed = |cause| CommandError::unreadable(path, cause);
    let (text, is_exposed) = bytes(path).map_err(failed)?;
    if is_exposed {
        ui.warn(format_args!(
            "others can read the keys in {name}; run `chmod 600 {name}`"
        ));
    }
    let text = files::without_mark(&text).map_err(failed)?;
    find(text, host).ok_or_else(|| {
        CommandError::refused(format!("{name} has no key for {host}"))
            .with_hint("a line has the form `HOST: key`, with HOST as on the command line")
    })
}

/// What the file holds, and whether others may read it.
fn bytes(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, bool)> {
    // What a shell has opened for us, as of `-G <(pass show knock)`.
    if files::is_descriptor(path) && !fs::metadata(path)?.is_file() {
        let text = files::read_named(path, FILE_BYTES_MAX).map(Zeroizing::new)?;
        return Ok((text, false));
    }
    let read = program::trusted::read(path, FILE_BYTES_MAX)?;
    let is_exposed = read.is_readable_by_others();
    Ok((read.bytes, is_exposed))
}

fn find(text: &[u8], host: &str) -> Option<Zeroizing<Vec<u8>>> {
    text.split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii_start)
        .filter(|line| !line.starts_with(b"#") && !line.starts_with(b";"))
        .filter_map(|line| {
            let rest = line.strip_prefix(host.as_bytes())?;
            rest.trim_ascii_start().strip_prefix(b":")
        })
        .map(|key| {
            let key = key.trim_ascii_start();
            key.strip_suffix(b"\r").unwrap_or(key)
        })
        .rfind(|key| !key.is_empty())
        .map(|key| Zeroizing::new(key.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_for_a_host_counts_and_the_key_is_the_rest_of_it() {
        let text = b"# B\xfcro\n127.0.0.1: old\n127.0.0.10: other\n127.0.0.1: filepass 99\r\n2001:db8::1: s\xefx\n";

        let key = |host| find(text, host).map(|key| key.to_vec());

        assert_eq!(key("127.0.0.1").as_deref(), Some(&b"filepass 99"[..]));
        assert_eq!(key("127.0.0.10").as_deref(), Some(&b"other"[..]));
        assert_eq!(key("2001:db8::1").as_deref(), Some(&b"s\xefx"[..]));
        assert_eq!(key("127.0.0").as_deref(), None);
    }
}
