//! fwknop's key files: lines of the form `HOST: key`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::ui::Ui;

/// The key of `host` in the file. The last line for the host counts, and the key is the rest of it.
///
/// # Errors
///
/// Exit code 1 when the file cannot be read or has no line for the host.
pub(super) fn read(ui: &Ui, path: &Path, host: &str) -> Result<Zeroizing<String>> {
    let name = path.display();
    let failed = |cause| CommandError::unreadable(path, cause);
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        ui.warn(format_args!(
            "others can read the keys in {name}; run `chmod 600 {name}`"
        ));
    }
    find(&text, host).ok_or_else(|| {
        CommandError::refused(format!("{name} has no key for {host}"))
            .with_hint("a line has the form `HOST: key`, with HOST as on the command line")
    })
}

fn find(text: &str, host: &str) -> Option<Zeroizing<String>> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.strip_prefix(host)?.trim_start().strip_prefix(':'))
        .map(|key| key.trim_start().trim_end_matches(['\r', '\n']))
        .rfind(|key| !key.is_empty())
        .map(|key| Zeroizing::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_for_a_host_counts_and_the_key_is_the_rest_of_it() {
        let text = "# comment\n127.0.0.1: old\n127.0.0.10: other\n127.0.0.1: filepass 99\n2001:db8::1: six\n";

        let key = |host| find(text, host).map(|key| key.to_string());

        assert_eq!(key("127.0.0.1").as_deref(), Some("filepass 99"));
        assert_eq!(key("127.0.0.10").as_deref(), Some("other"));
        assert_eq!(key("2001:db8::1").as_deref(), Some("six"));
        assert_eq!(key("127.0.0").as_deref(), None);
    }
}
