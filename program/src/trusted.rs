//! Files that say what a program permits, or hold its keys: read only where nobody else can have
//! written them.
//!
//! Whoever can write such a file, or put another one into its place, decides what is permitted. So the
//! file, each folder and each link on the way to it must be in the hands of root or of the user whom
//! this program runs as, and writable by nobody else. What was looked at is what is read: the file is
//! asked through its descriptor, and nobody who is not trusted can change the way to it meanwhile.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Uid, User, geteuid};
use zeroize::Zeroizing;

use crate::files::{self, ReadError, open_regular};

const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
/// What others than the owner may do.
const OTHERS: u32 = 0o077;
/// In such a folder everybody may write, and nobody may remove or rename what is another's.
const STICKY: u32 = 0o1000;
/// As the kernel has it (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// A file that only trusted hands can have written.
pub struct Trusted {
    /// What it holds; wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its permissions.
    pub mode: u32,
}

/// Something on the way to a file, or the file itself, that others could change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Untrusted {
    /// What it is about: the file, or a folder or link on the way to it.
    pub path: PathBuf,
    /// Which of these.
    pub place: Place,
    /// Who could change it.
    pub by: Hand,
    /// Number of the user whose it is.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
}

/// What stands on the way to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
}

/// Who could change what is permitted, or read what is secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hand {
    /// Its owner, who is neither root nor the user whom this program runs as.
    Owner,
    /// Its group.
    Group,
    /// Everybody on this machine.
    Everybody,
    /// Somebody who may read a secret.
    Reader,
}

/// Opens such a file.
///
/// # Errors
///
/// What the operating system says; `InvalidInput` for what is no file, and with an [`Untrusted`] inside
/// where others could have written it.
pub fn open(path: &Path) -> io::Result<File> {
    // What it is comes first: a pipe that a shell has made has no name to follow.
    if !fs::metadata(path)?.is_file() {
        return open_regular(path);
    }
    let (place, found) = follow(path)?;
    // Before it is opened: whose it is says more than that it may not be read.
    Untrusted::refuse(&place, &found, Place::File)?;
    let file = open_regular(&place).map_err(|cause| confined(cause, &found))?;
    let meta = file.metadata()?;
    Untrusted::refuse(&place, &meta, Place::File)?;
    Ok(file)
}

/// What is refused though its owner may read it is closed to this program by what it gave up when it was
/// started: a place that it did not know then.
fn confined(cause: io::Error, meta: &Metadata) -> io::Error {
    let is_ours = meta.uid() == geteuid().as_raw() && meta.mode() & 0o400 != 0;
    if cause.kind() == ErrorKind::PermissionDenied && is_ours {
        let what = "permission denied, though its owner and mode let this program read it; a place that is \
                    new since it was started is open to it after a restart";
        return io::Error::new(ErrorKind::PermissionDenied, what);
    }
    cause
}

/// Reads such a file of at most `max` bytes.
///
/// # Errors
///
/// As [`open`]; `FileTooLarge` for more bytes.
pub fn read(path: &Path, max: u64) -> io::Result<Trusted> {
    let file = open(path)?;
    let mode = file.metadata()?.mode() & 0o7777;
    let bytes = Zeroizing::new(files::read_open(file, max)?);
    Ok(Trusted { bytes, mode })
}

/// Reads such a file of text, which is UTF-8.
///
/// # Errors
///
/// [`ReadError`] names the file.
pub fn read_text(path: &Path, max: u64) -> Result<Zeroizing<String>, ReadError> {
    let text = read(path, max).and_then(Trusted::text);
    text.map_err(|cause| ReadError::of(path, cause))
}

/// Looks at a file or folder that somebody else will read.
///
/// # Errors
///
/// As [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    let (place, meta) = follow(path)?;
    let kind = if meta.is_dir() {
        Place::Folder
    } else if meta.is_file() {
        Place::File
    } else {
        return open_regular(&place).map(drop);
    };
    Untrusted::refuse(&place, &meta, kind)
}

/// Looks at a file or folder that holds secrets, which nobody else may even read.
///
/// A secret that is mounted for a program that is not root is root's and its group's to read, or
/// nobody's to write.
///
/// # Errors
///
/// As [`check`].
pub fn check_secret(path: &Path) -> io::Result<()> {
    check(path)?;
    let meta = fs::metadata(path)?;
    let (owner, mode) = (meta.uid(), meta.mode() & 0o7777);
    let is_mounted = (owner == 0 && !geteuid().is_root()) || mode & 0o222 == 0;
    let allowed = if is_mounted { 0o040 } else { 0 };
    if mode & OTHERS & !allowed == 0 {
        return Ok(());
    }
    let place = if meta.is_dir() {
        Place::Folder
    } else {
        Place::File
    };
    let untrusted = Untrusted {
        path: path.to_owned(),
        place,
        by: Hand::Reader,
        owner,
        mode,
    };
    Err(io::Error::new(ErrorKind::InvalidInput, untrusted))
}

/// Follows a path, link by link, and answers where it ends. What is there is not judged; the folders
/// and links on the way are.
fn follow(path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let mut ahead = names(&std::path::absolute(path)?);
    let mut at = PathBuf::from("/");
    let mut meta = fs::symlink_metadata(&at)?;
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            meta = fs::symlink_metadata(&at)?;
            continue;
        }
        if meta.is_dir() {
            Untrusted::refuse(&at, &meta, Place::Folder)?;
        }
        let next = at.join(name);
        meta = fs::symlink_metadata(&next)?;
        if !meta.is_symlink() {
            at = next;
            continue;
        }
        Untrusted::refuse(&next, &meta, Place::Link)?;
        links += 1;
        if links > LINKS_MAX {
            return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        meta = fs::symlink_metadata(&at)?;
        ahead.extend(names(&target));
    }
    Ok((at, meta))
}

/// The names in a path, the last of them first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    let mut names: Vec<_> = path.components().filter_map(name).collect();
    names.reverse();
    names
}

// === impl Trusted ===

impl Trusted {
    /// Whether others than its owner may read it.
    #[must_use]
    pub fn is_readable_by_others(&self) -> bool {
        self.mode & OTHERS != 0
    }

    /// Its text, which is UTF-8; see [`files::text`].
    ///
    /// # Errors
    ///
    /// `InvalidData`.
    pub fn text(mut self) -> io::Result<Zeroizing<String>> {
        files::text(std::mem::take(&mut *self.bytes)).map(Zeroizing::new)
    }

    /// Its text, of whatever age; see [`files::legacy_text`].
    ///
    /// # Errors
    ///
    /// `InvalidData` for UTF-16.
    pub fn legacy_text(&self) -> io::Result<Zeroizing<String>> {
        files::legacy_text(&self.bytes).map(Zeroizing::new)
    }
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Trusted({} bytes, mode {:04o})",
            self.bytes.len(),
            self.mode
        )
    }
}

// === impl Untrusted ===

impl Untrusted {
    fn refuse(path: &Path, meta: &Metadata, place: Place) -> io::Result<()> {
        let me = geteuid().as_raw();
        let (owner, group, mode) = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
        let Some(by) = who_else(place, (owner, group, mode), me) else {
            return Ok(());
        };
        // As secrets and settings are mounted into containers: nobody can write what cannot be written.
        if place == Place::Folder && by != Hand::Owner && is_read_only(path) {
            return Ok(());
        }
        let untrusted = Self {
            path: path.to_owned(),
            place,
            by,
            owner,
            mode,
        };
        Err(io::Error::new(ErrorKind::InvalidInput, untrusted))
    }

    /// The one command that mends it.
    #[must_use]
    pub fn mend(&self) -> String {
        let path = self.path.display();
        let flag = if self.place == Place::Link { "-h " } else { "" };
        match self.by {
            Hand::Owner => format!("chown {flag}{} {path}", name_of(geteuid().as_raw())),
            Hand::Group | Hand::Everybody => format!("chmod go-w {path}"),
            Hand::Reader => format!("chmod go= {path}"),
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let owner = name_of(self.owner);
        let mode = self.mode;
        let mend = self.mend();
        if self.by == Hand::Reader {
            return write!(
                f,
                "others than {owner} may read what is secret ({path}, mode {mode:04o}); mend it with \
                 `{mend}`"
            );
        }
        let (what, may) = match self.place {
            Place::File => ("it", "decide what it says"),
            Place::Folder => ("a folder on the way to it", "put another in its place"),
            Place::Link => ("a link on the way to it", "put another in its place"),
        };
        let who = match self.by {
            Hand::Owner => format!("belongs to {owner}, who"),
            Hand::Group => "can be written by its group, which".to_owned(),
            Hand::Everybody | Hand::Reader => {
                "can be written by everybody on this machine, who".to_owned()
            }
        };
        write!(
            f,
            "{what} {who} may so {may} ({path}, owner {owner}, mode {mode:04o}); mend it with `{mend}`"
        )
    }
}

impl std::error::Error for Untrusted {}

/// Who else than root and user `me` could change what has this owner, group and mode.
fn who_else(place: Place, (owner, group, mode): (u32, u32, u32), me: u32) -> Option<Hand> {
    if owner != 0 && owner != me {
        return Some(Hand::Owner);
    }
    match place {
        Place::File if mode & ALL_WRITE != 0 => Some(Hand::Everybody),
        Place::File if mode & GROUP_WRITES != 0 => Some(Hand::Group),
        // In a sticky folder whose it is, which is asked of each, decides.
        Place::Folder if mode & STICKY != 0 => None,
        Place::Folder if mode & ALL_WRITE != 0 => Some(Hand::Everybody),
        // A group with the number of its user is hers alone, as most systems make them.
        Place::Folder if mode & GROUP_WRITES != 0 && group != owner && group != 0 => {
            Some(Hand::Group)
        }
        // The mode of a link means nothing.
        Place::File | Place::Folder | Place::Link => None,
    }
}

fn is_read_only(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|of| of.flags().contains(FsFlags::ST_RDONLY))
}

/// The name of a user, or the number where this machine knows none.
fn name_of(user: u32) -> String {
    let found = User::from_uid(Uid::from_raw(user)).ok().flatten();
    found.map_or_else(|| user.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use tempfile::TempDir;

    use super::*;

    /// A folder for a test, and a file with mode 0600 in it.
    fn place() -> (TempDir, PathBuf) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("access.conf");
        fs::write(&path, "KEY secret\n").unwrap();
        chmod(&path, 0o600);
        (dir, path)
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn untrusted(path: &Path) -> Untrusted {
        let refused = read(path, 100).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let inner = refused.into_inner().unwrap();
        *inner.downcast::<Untrusted>().unwrap()
    }

    #[test]
    fn whoever_else_could_change_a_file_is_found_by_owner_group_and_mode() {
        let file = |of, me| who_else(Place::File, of, me);
        let folder = |of, me| who_else(Place::Folder, of, me);

        for (of, me, expected) in [
            ((0, 0, 0o600), 0, None),
            ((0, 0, 0o644), 0, None),
            ((0, 0, 0o644), 1000, None),
            ((1000, 1000, 0o600), 1000, None),
            ((1000, 1000, 0o600), 0, Some(Hand::Owner)),
            ((1001, 1001, 0o644), 1000, Some(Hand::Owner)),
            ((0, 0, 0o660), 0, Some(Hand::Group)),
            ((1000, 1000, 0o620), 1000, Some(Hand::Group)),
            ((0, 0, 0o602), 0, Some(Hand::Everybody)),
            ((0, 0, 0o666), 0, Some(Hand::Everybody)),
        ] {
            assert_eq!(file(of, me), expected, "{of:?} {me}");
        }
        for (of, me, expected) in [
            ((0, 0, 0o755), 1000, None),
            ((0, 0, 0o1777), 1000, None),
            ((0, 0, 0o777), 0, Some(Hand::Everybody)),
            ((0, 50, 0o2775), 0, Some(Hand::Group)),
            ((0, 0, 0o775), 0, None),
            ((1000, 1000, 0o775), 1000, None),
            ((1000, 1000, 0o755), 0, Some(Hand::Owner)),
        ] {
            assert_eq!(folder(of, me), expected, "{of:?} {me}");
        }
        assert_eq!(who_else(Place::Link, (0, 0, 0o777), 7), None);
        assert_eq!(who_else(Place::Link, (8, 0, 0o777), 7), Some(Hand::Owner));
    }

    #[test]
    fn a_file_that_others_can_write_is_refused_with_owner_mode_and_the_command_that_mends_it() {
        let (_dir, path) = place();
        assert_eq!(*read(&path, 100).unwrap().bytes, b"KEY secret\n");
        for (mode, by) in [(0o660, Hand::Group), (0o606, Hand::Everybody)] {
            chmod(&path, mode);

            let refused = untrusted(&path);

            assert_eq!((refused.place, refused.by), (Place::File, by));
            let said = refused.to_string();
            let mode = format!("mode {mode:04o}");
            assert!(said.contains(&mode) && said.contains("owner "), "{said}");
            let mend = format!("chmod go-w {}", path.display());
            assert!(said.contains(&mend), "{said}");
        }
        chmod(&path, 0o644);
        assert!(read(&path, 100).unwrap().is_readable_by_others());
    }

    #[test]
    fn a_folder_in_which_others_can_write_is_refused_also_further_up_and_a_sticky_one_is_not() {
        let (dir, _) = place();
        let above = dir.path().join("above");
        let below = above.join("below");
        fs::create_dir_all(&below).unwrap();
        let path = below.join("file");
        fs::write(&path, "x").unwrap();
        for folder in [&above, &below] {
            chmod(folder, 0o777);
            let refused = untrusted(&path);
            assert_eq!((&refused.path, refused.place), (folder, Place::Folder));
            chmod(folder, 0o1777);
            assert!(read(&path, 100).is_ok());
            chmod(folder, 0o755);
        }
        assert!(read(&path, 100).is_ok());
        chmod(&below, 0o777);
        assert!(check(&below).is_err());
        chmod(&below, 0o700);
        assert!(check(&below).is_ok());
    }

    #[test]
    fn a_link_is_followed_only_where_it_and_what_it_leads_to_are_in_trusted_hands() {
        let (dir, path) = place();
        let open_to_all = dir.path().join("open");
        fs::create_dir(&open_to_all).unwrap();
        let (good, bad) = (dir.path().join("good"), open_to_all.join("bad"));
        symlink("./access.conf", &good).unwrap();
        symlink(&path, &bad).unwrap();
        chmod(&open_to_all, 0o777);

        assert!(read(&good, 100).is_ok());
        assert_eq!(untrusted(&bad).path, open_to_all);
        chmod(&path, 0o666);
        assert_eq!(untrusted(&good).path, path);
        // One whose owner is another, in a folder like /tmp.
        if geteuid().is_root() {
            chmod(&path, 0o600);
            chmod(&open_to_all, 0o1777);
            std::os::unix::fs::lchown(&bad, Some(12_345), None).unwrap();
            let refused = untrusted(&bad);
            assert_eq!((&refused.path, refused.by), (&bad, Hand::Owner));
            assert!(refused.mend().starts_with("chown -h "), "{refused}");
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let (dir, _) = place();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        symlink(&one, &other).unwrap();
        symlink(&other, &one).unwrap();

        assert!(read(&one, 100).is_err());
        assert!(follow(&one).is_err());
    }

    #[test]
    fn a_pipe_a_socket_a_device_and_a_folder_in_place_of_a_file_are_refused_at_once() {
        let (dir, _) = place();
        let pipe = dir.path().join("pipe");
        mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
        let socket = dir.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();

        for path in [&pipe, &socket, Path::new("/dev/zero"), dir.path()] {
            for refused in [
                read(path, 100).map(drop).unwrap_err(),
                open_regular(path).map(drop).unwrap_err(),
            ] {
                assert!(refused.to_string().contains("no file"), "{refused}");
            }
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_and_one_that_is_mounted_for_a_group_is_not() {
        let (dir, path) = place();
        assert!(check_secret(&path).is_ok());
        chmod(dir.path(), 0o700);
        assert!(check_secret(dir.path()).is_ok());
        chmod(dir.path(), 0o750);
        assert!(check_secret(dir.path()).is_err());
        for mode in [0o640, 0o604, 0o644] {
            chmod(&path, mode);
            let refused = check_secret(&path).unwrap_err().to_string();
            let mend = format!("`chmod go= {}`", path.display());
            assert!(refused.contains(&mend), "{refused}");
        }
        chmod(&path, 0o440);
        assert!(check_secret(&path).is_ok());
        chmod(&path, 0o444);
        assert!(check_secret(&path).is_err());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_whole() {
        let (_dir, path) = place();

        assert!(read(&path, 11).is_ok());
        let refused = read(&path, 10).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::FileTooLarge);
    }
}
