//! The list of ports that were in force, in a small file of its own: hidden at every start before
//! anything that can fail.
//!
//! A journal may be damaged, an access file may have a mistake, a disk may be full; none of that may
//! open a port that was hidden yesterday. So the list is kept apart from all of it, in text, with a
//! sum at its end, replaced whole whenever it changes. Of a damaged file every line that can be read
//! is believed: a port too many is hidden until the policy is read, none is left open.
//!
//! There is no file as long as nothing was ever hidden. Then a first protection waits until the agent
//! can let people in (see `firewall::monitor`); a file means that it once could.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use spa::Service;

use crate::config::FORMER_CHAIN;

/// The file in the state directory.
pub const FILE_NAME: &str = "protected-ports";
/// Longer files are not ours: 131,070 ports fit.
const LEN_MAX: u64 = 2 << 20;
const HEAD: &str =
    "# Ports that postern-agent hides: written by it, and laid at every start before all else.\n";

/// The file that remembers which ports are hidden.
#[derive(Clone, Debug)]
pub struct ProtectionFile {
    path: PathBuf,
    chain: String,
}

/// What the file says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Remembered {
    /// The chain that hid them, where it can be read.
    pub chain: Option<String>,
    /// The ports that were hidden.
    pub ports: BTreeSet<Service>,
    /// Why not all of it can be believed.
    pub damage: Option<String>,
    /// Whether it is not damaged, but this user may not read it.
    pub is_denied: bool,
}

// === impl ProtectionFile ===

impl ProtectionFile {
    /// The file of an agent that keeps its state there and manages this chain.
    pub fn new(state_dir: &Path, chain: &str) -> Self {
        Self {
            path: state_dir.join(FILE_NAME),
            chain: chain.to_owned(),
        }
    }

    /// Reads the file of a state directory; `None` when nothing was ever hidden.
    pub fn read(state_dir: &Path) -> Option<Remembered> {
        let path = state_dir.join(FILE_NAME);
        let mut bytes = Vec::new();
        let read = program::files::open_regular(&path)
            .and_then(|file| file.take(LEN_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Some(parse(&bytes)),
            Err(cause) if never_was(cause.kind()) => None,
            // Half of it may have been read.
            Err(cause) => Some(Remembered {
                damage: Some(cause.to_string()),
                is_denied: program::is_denied(&cause),
                ..parse(&bytes)
            }),
        }
    }

    /// Remembers these ports; with none, that nothing is hidden.
    ///
    /// # Errors
    ///
    /// What the disk says; then the file is as it was.
    pub fn write(&self, ports: &[Service]) -> io::Result<()> {
        if ports.is_empty() {
            return self.remove();
        }
        program::files::replace(&self.path, 0o600, render(&self.chain, ports).as_bytes())
    }

    /// Forgets that anything was hidden.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            Err(cause) => Err(cause),
            Ok(()) => {
                program::files::sync_dir(self.path.parent().unwrap_or_else(|| Path::new("/")))
            }
        }
    }

    /// For people.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether there never was a file: a state that is no directory never held one.
fn never_was(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn render(chain: &str, ports: &[Service]) -> String {
    let mut text = format!("{HEAD}name {chain}\n");
    for port in ports {
        let _ = writeln!(text, "{port}");
    }
    let sum = sum(text.as_bytes());
    let _ = writeln!(text, "sum {sum}");
    text
}

/// Reads as much as can be read.
pub(crate) fn parse(bytes: &[u8]) -> Remembered {
    let text = String::from_utf8_lossy(bytes);
    let mut remembered = Remembered {
        damage: Some("it is cut off".to_owned()),
        ..Remembered::default()
    };
    let mut read = 0;
    for line in text.split_inclusive('\n') {
        let word = line.trim_end();
        if let Some(chain) = word.strip_prefix("name ") {
            remembered.chain = Some(chain.to_owned());
        } else if let Some(chain) = word.strip_prefix("chain ") {
            // Written by an earlier version: its default is ours by another name.
            let is_own = chain != FORMER_CHAIN;
            remembered.chain = is_own.then(|| chain.to_owned());
        } else if let Some(found) = word.strip_prefix("sum ") {
            let expected = text.get(..read).map(|text| sum(text.as_bytes()));
            let is_whole = expected.as_deref() == Some(found) && line.ends_with('\n');
            let says_more = read + line.len() < text.len();
            remembered.damage = (!is_whole || says_more).then(|| "its sum is wrong".to_owned());
        } else if let Ok(port) = word.parse() {
            remembered.ports.insert(port);
        }
        read += line.len();
    }
    remembered
}

fn sum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .take(16)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn ports(texts: &[&str]) -> Vec<Service> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_hidden_is_remembered_until_nothing_is() {
        let dir = TempDir::new().unwrap();
        let file = ProtectionFile::new(dir.path(), "P");
        assert_eq!(ProtectionFile::read(dir.path()), None);

        let hidden = ports(&["tcp/22", "udp/53"]);
        file.write(&hidden).unwrap();

        let expected = Remembered {
            chain: Some("P".to_owned()),
            ports: hidden.into_iter().collect(),
            damage: None,
            is_denied: false,
        };
        assert_eq!(ProtectionFile::read(dir.path()), Some(expected));
        file.write(&[]).unwrap();
        assert_eq!(ProtectionFile::read(dir.path()), None);
        file.remove().unwrap();
    }

    #[test]
    fn the_list_of_an_earlier_version_is_read_and_its_default_name_is_todays() {
        let of = |chain: &str| {
            let text = format!("{HEAD}chain {chain}\ntcp/22\n");
            parse(format!("{text}sum {}\n", sum(text.as_bytes())).as_bytes())
        };

        let found = of(FORMER_CHAIN);
        assert_eq!((found.chain, found.damage), (None, None));
        assert_eq!(found.ports.len(), 1);
        assert_eq!(of("MINE").chain.as_deref(), Some("MINE"));
    }

    #[test]
    fn a_pipe_or_a_folder_in_place_of_the_list_is_damage_and_keeps_no_start_waiting() {
        let (pipe, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        nix::unistd::mkfifo(&pipe.path().join(FILE_NAME), mode).unwrap();
        std::fs::create_dir(folder.path().join(FILE_NAME)).unwrap();

        for dir in [pipe, folder] {
            let found = ProtectionFile::read(dir.path()).unwrap();

            assert!(found.damage.is_some());
            assert!(found.ports.is_empty());
        }
    }

    #[test]
    fn a_list_that_cannot_be_written_stays_as_it_was() {
        let dir = TempDir::new().unwrap();
        let file = ProtectionFile::new(&dir.path().join("gone"), "P");

        assert!(file.write(&ports(&["tcp/22"])).is_err());
    }

    #[test]
    fn a_list_that_is_cut_off_anywhere_is_damaged_and_what_stands_in_it_is_believed() {
        let whole = render("P", &ports(&["tcp/22", "udp/53"]));
        let second_at = whole.find("udp").unwrap();
        for length in 0..whole.len() {
            let found = parse(&whole.as_bytes()[..length]);

            assert!(found.damage.is_some(), "{length}");
            let first = "tcp/22".parse().unwrap();
            assert!(
                length < second_at || found.ports.contains(&first),
                "{length}"
            );
        }
        assert_eq!(parse(whole.as_bytes()).damage, None);
        assert!(
            parse(format!("{whole}tcp/80\n").as_bytes())
                .damage
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed_and_any_bytes_are_read(
            at in 0..120_usize, byte in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let whole = render("P", &ports(&["tcp/22", "udp/53"]));
            let mut bytes = whole.clone().into_bytes();
            bytes[at] = byte;

            let found = parse(&bytes);

            prop_assert_eq!(found.damage.is_none(), bytes == whole.as_bytes());
            parse(&noise);
        }
    }
}
