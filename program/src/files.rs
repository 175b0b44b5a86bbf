//! Files that are there whole or not at all, with the mode they should have, whatever happens to the
//! machine in between.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::OFlag;

use crate::exit::Exit;
use crate::failure::Failure;

/// Opens a file to read it. A pipe, a socket, a device or a folder in its place is refused: nothing
/// waits for somebody to write into it.
///
/// # Errors
///
/// What the operating system says; `InvalidInput` for what is no file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened: a device may do something because of that.
    refuse_others(&fs::metadata(path)?)?;
    // What has come into its place since is not waited for either, and does not become our terminal.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    refuse_others(&file.metadata()?)?;
    Ok(file)
}

/// What is no file is called by its name.
fn refuse_others(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    let what = format!("it is {what}, and no file");
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

/// Reads a file of at most `max` bytes, whoever has written it. Nothing waits for a pipe.
///
/// # Errors
///
/// As [`open_regular`]; `FileTooLarge` for more bytes.
pub fn read_bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    read_open(open_regular(path)?, max)
}

/// Whether a shell has opened this for the program it starts, as of `<(pass show knock)`: the only pipes that
/// have a name and a writer who waits for nobody.
#[must_use]
pub fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path == Path::new("/dev/stdin")
}

/// Opens what somebody names on a command line to be read: a file; `-` for standard input; or what her
/// shell has opened ([`is_descriptor`]). Nothing else: a pipe nobody may ever write into, and a device may have
/// no end. Whoever reads it has a limit, since what is no file may not end either.
///
/// # Errors
///
/// As [`open_regular`].
pub fn open_named(path: &Path) -> io::Result<File> {
    if path == Path::new("-") {
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    if is_descriptor(path) {
        return File::open(path);
    }
    open_regular(path)
}

/// Reads what somebody names on a command line, of at most `max` bytes; see [`open_named`].
///
/// # Errors
///
/// As [`open_named`]; `FileTooLarge` for more bytes.
pub fn read_named(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    read_open(open_named(path)?, max)
}

/// Reads what is open, of at most `max` bytes, into room that is made at once: grown in place, it would
/// leave copies of keys behind that nobody wipes.
pub(crate) fn read_open(file: File, max: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        let what = match max >> 20 {
            0 => format!("it is larger than {} KiB", max >> 10),
            mebi => format!("it is larger than {mebi} MiB"),
        };
        io::Error::new(ErrorKind::FileTooLarge, what)
    };
    // Before anything of it is read. Files of the kernel have no length, and some grow meanwhile.
    let meta = file.metadata()?;
    if meta.len() > max {
        return Err(too_large());
    }
    // What is no file does not say how much is coming.
    let least = if meta.is_file() { 64 } else { 64 << 10 };
    let room = usize::try_from(meta.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(room.saturating_add(least));
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// No file of text that somebody names is longer: one given by mistake is not read into memory.
const TEXT_BYTES_MAX: u64 = 256 << 20;
/// U+FEFF in UTF-8.
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// What to do where permission is missing, whatever was tried.
pub const AS_ROOT: &str = "run it as root, or as the user that may";

/// Why a file was not read, by who can do something about it.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing under this name.
    #[error("cannot read {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// It is there, or may be, and this user may not read it.
    #[error("cannot read {} as user {user}", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// The number of the user that this program runs as.
        user: u32,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Anything else: a folder, a pipe, a disk that fails, bytes that are no text.
    #[error("cannot read {}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Reads a file of text, and says of one that it cannot read whether it is not there, may not be read,
/// or what else is wrong with it. Nothing waits for a pipe.
///
/// # Errors
///
/// [`ReadError`] names the file.
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    let read = || text(read_bytes(path, TEXT_BYTES_MAX)?);
    read().map_err(|cause| ReadError::of(path, cause))
}

/// What stands in a file that people write, without the mark of the order of bytes with which editors
/// of Windows begin one. Every such file of every program is read through this, or through
/// [`text`] and [`legacy_text`], which do it.
///
/// # Errors
///
/// `InvalidData` for UTF-16, of which every character would be taken for two.
pub fn without_mark(bytes: &[u8]) -> io::Result<&[u8]> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let what = "it is written in UTF-16; save it as UTF-8";
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    }
    Ok(bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes))
}

/// The text of such a file, which is UTF-8.
///
/// # Errors
///
/// `InvalidData` for UTF-16, and what else is not UTF-8.
pub fn text(mut bytes: Vec<u8>) -> io::Result<String> {
    let without = without_mark(&bytes)?.len();
    bytes.drain(..bytes.len() - without);
    let not_text = |_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8");
    String::from_utf8(bytes).map_err(not_text)
}

/// The text of a file of fwknop. Old ones have names in Latin-1 in their comments, so bytes that are
/// not UTF-8 are replaced; where that matters, the reader finds a value that is none.
///
/// # Errors
///
/// `InvalidData` for UTF-16.
pub fn legacy_text(bytes: &[u8]) -> io::Result<String> {
    Ok(String::from_utf8_lossy(without_mark(bytes)?).into_owned())
}

/// Replaces the file at `path`, or makes it: afterwards there is the new one whole and durable, or
/// the old one. Several may do this at once; one of them wins.
///
/// # Errors
///
/// What the operating system says; then the file is as it was.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let draft = draft_of(path)?;
    // What a crash left behind under this name, with whatever mode, must not be reused.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    write_new(&draft, mode, bytes)?;
    fs::rename(&draft, path).inspect_err(|_| discard(&draft))?;
    sync_dir(dir_of(path))
}

/// Makes a file that is not there yet.
///
/// # Errors
///
/// What the operating system says: `AlreadyExists` when there is one, which stays as it is.
pub fn create(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    write_new(path, mode, bytes)?;
    sync_dir(dir_of(path))
}

/// Makes what happened to the names in a directory durable.
///
/// # Errors
///
/// What the operating system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

// === impl ReadError ===

impl ReadError {
    /// What an error of the operating system says of this file.
    #[must_use]
    pub fn of(path: &Path, cause: io::Error) -> Self {
        let (path, kind) = (path.to_owned(), cause.kind());
        if kind == ErrorKind::NotFound {
            Self::Missing { path, cause }
        } else if kind == ErrorKind::PermissionDenied {
            let user = nix::unistd::geteuid().as_raw();
            Self::Denied { path, user, cause }
        } else {
            Self::Other { path, cause }
        }
    }
}

impl Failure for ReadError {
    /// The same for every file of every program: what is wrong is on this machine, and no file that
    /// was read has a mistake.
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Denied { .. } => Some(AS_ROOT.into()),
            Self::Missing { .. } | Self::Other { .. } => None,
        }
    }
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // Again, because the process's umask may have taken something away.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .inspect_err(|_| discard(path))
}

/// Takes back half a file. If that fails too, the next attempt removes it.
fn discard(path: &Path) {
    let _ = fs::remove_file(path);
}

/// A name in the same directory that no other writer uses.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
    let mut draft = OsString::from(".");
    draft.push(name);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    draft.push(format!(".{}.{write}.new", std::process::id()));
    Ok(path.with_file_name(draft))
}

/// Removes what writers of this file left that were killed. Nobody else may write it meanwhile.
///
/// # Errors
///
/// What the operating system says.
pub fn discard_drafts(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_this = |draft: &PathBuf| draft_names(draft).as_deref() == Some(&*name);
    drafts(dir_of(path))?
        .iter()
        .filter(|draft| of_this(draft))
        .try_for_each(fs::remove_file)
}

/// What writers of whatever file in a directory have not brought to its end: those that were killed, and
/// those that write now.
///
/// # Errors
///
/// What the operating system says.
pub fn drafts(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect();
    let mut drafts = entries?;
    drafts.retain(|path| draft_names(path).is_some());
    drafts.sort_unstable();
    Ok(drafts)
}

/// The name of the file that a draft is of; `None` for what is none. See [`draft_of`].
fn draft_names(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let rest = name.strip_prefix('.')?.strip_suffix(".new")?;
    // The number of the process and of its write.
    let mut parts = rest.rsplitn(3, '.');
    let mut number = || {
        let part = parts.next().filter(|part| !part.is_empty())?;
        part.bytes().all(|b| b.is_ascii_digit()).then_some(())
    };
    number()?;
    number()?;
    let of = parts.next().filter(|of| !of.is_empty())?;
    Some(of.to_owned())
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tempfile::TempDir;

    use super::*;

    fn names(dir: &TempDir) -> Vec<String> {
        fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn what_is_no_file_is_called_by_its_name_and_a_large_one_is_not_read_at_all() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, what) in [
            (at("pipe"), "a pipe"),
            (at("socket"), "a socket"),
            (dir.path().to_owned(), "a folder"),
            ("/dev/null".into(), "a device"),
        ] {
            let refused = read_bytes(&path, 1 << 20).unwrap_err();
            assert_eq!(refused.to_string(), format!("it is {what}, and no file"));
        }
        drop(socket);
        let file = File::create(at("large")).unwrap();
        file.set_len(20 << 30).unwrap();
        let refused = read_bytes(&at("large"), 64 << 20).unwrap_err();
        assert_eq!(refused.to_string(), "it is larger than 64 MiB");
        assert_eq!(refused.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_killed_writers_left_is_removed_and_nothing_else() {
        let dir = TempDir::new().unwrap();
        let kept = [
            ".keys.json.new",
            ".keys.json.old.new",
            "keys.json",
            ".other.7.0.new",
        ];
        for name in kept
            .iter()
            .chain(&[".keys.json.7.0.new", ".keys.json.12345.17.new"])
        {
            fs::write(dir.path().join(name), "secret").unwrap();
        }

        discard_drafts(&dir.path().join("keys.json")).unwrap();

        let mut left = names(&dir);
        left.sort_unstable();
        let mut kept = kept.map(str::to_owned);
        kept.sort_unstable();
        assert_eq!(left, kept);
    }

    #[test]
    fn a_mark_of_the_order_of_bytes_is_no_part_of_a_text_and_utf_16_is_said_to_be_that() {
        for (bytes, expected) in [
            (&b"\xef\xbb\xbfSOURCE ANY\r\n"[..], "SOURCE ANY\r\n"),
            (b"SOURCE ANY\n", "SOURCE ANY\n"),
            (b"\xef\xbb\xbf", ""),
            (b"", ""),
        ] {
            assert_eq!(text(bytes.to_vec()).unwrap(), expected);
            assert_eq!(legacy_text(bytes).unwrap(), expected);
        }
        for wide in [&b"\xff\xfeS\0"[..], b"\xfe\xff\0S"] {
            let refused = text(wide.to_vec()).unwrap_err().to_string();
            assert_eq!(refused, legacy_text(wide).unwrap_err().to_string());
            assert!(refused.contains("UTF-16"), "{refused}");
        }
        assert!(text(b"M\xfcller".to_vec()).is_err());
        assert_eq!(legacy_text(b"M\xfcller").unwrap(), "M\u{fffd}ller");
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old, and longer than the new one").unwrap();

        replace(&path, 0o600, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(names(&dir), ["file"]);
    }

    #[test]
    fn a_file_that_is_not_there_one_that_may_not_be_read_and_one_that_is_none_are_told_apart() {
        let dir = TempDir::new().unwrap();
        let denied = io::Error::from(ErrorKind::PermissionDenied);

        let missing = read_text(&dir.path().join("none")).unwrap_err();
        let folder = read_text(dir.path()).unwrap_err();
        let denied = ReadError::of(dir.path(), denied);

        assert!(matches!(missing, ReadError::Missing { .. }), "{missing:?}");
        assert!(missing.to_string().ends_with("/none"), "{missing}");
        assert!(matches!(folder, ReadError::Other { .. }), "{folder:?}");
        assert!(denied.to_string().contains(" as user "), "{denied}");
        assert!(denied.hint().is_some());
        for error in [missing, folder, denied] {
            assert_eq!(error.exit(), Exit::Refused);
        }
    }

    #[test]
    fn a_replacement_that_fails_leaves_the_old_one_and_no_draft() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("taken");
        // Nothing can be renamed over a directory that is not empty.
        fs::create_dir_all(path.join("below")).unwrap();

        replace(&path, 0o600, b"new").unwrap_err();

        assert_eq!(names(&dir), ["taken"]);
        assert!(path.join("below").is_dir());
    }

    #[test]
    fn what_is_there_is_never_created_over() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        create(&path, 0o644, b"first").unwrap();

        let refused = create(&path, 0o644, b"second").unwrap_err();

        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn writers_at_the_same_time_leave_one_whole_file() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        let texts = [vec![b'a'; 10_000], vec![b'b'; 10_000]];

        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| {
                    for _ in 0..20 {
                        replace(&path, 0o600, text).unwrap();
                    }
                });
            }
        });

        assert!(texts.contains(&fs::read(&path).unwrap()));
        assert_eq!(names(&dir), ["file"]);
    }
}
