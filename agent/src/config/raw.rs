//! What people write: strings and numbers, everything optional.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeTable;
use toml::{Table, Value};

use super::error::{ConfigError, Mistake};
use super::values::{Written, list, number, path, switch, word};
use crate::gpg::GnupgHomes;

/// Each key once: its type in the file, and how it is read from the environment. From this come the
/// layer, how layers are laid over each other, the variables, and what "did you mean" knows.
macro_rules! keys {
    ($($key:ident: $value:ty, $read:ident;)*) => {
        /// One layer of configuration. The keys of the file, the names of the variables and the flags
        /// are the same words.
        #[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        pub struct RawConfig {
            $(pub $key: Option<$value>,)*
        }

        /// Every key.
        pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];

        impl RawConfig {
            /// This layer with `over` laid over it.
            #[must_use]
            pub fn overlaid(self, over: Self) -> Self {
                Self { $($key: over.$key.or(self.$key),)* }
            }

            /// Sets a key as a variable of the environment has it.
            pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
                $(if key == stringify!($key) {
                    self.$key = Some($read(value)?);
                    return Ok(());
                })*
                let near = did_you_mean(key, KEYS);
                Err(format!("unknown key{near}"))
            }

            /// Sets a key as the file has it.
            fn set_written(&mut self, key: &str, value: &Value) -> Result<(), String> {
                $(if key == stringify!($key) {
                    self.$key = Some(Written::of(value)?);
                    return Ok(());
                })*
                let near = did_you_mean(key, KEYS);
                Err(format!("unknown key{near}"))
            }

            /// The keys whose values differ.
            pub fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$key != other.$key {
                    keys.push(stringify!($key));
                })*
                keys
            }
        }
    };
}

keys! {
    state_dir: PathBuf, path;
    witness_dir: PathBuf, path;
    access_file: PathBuf, path;
    digest_cache: PathBuf, path;
    controller: Vec<String>, list;
    controller_return_secs: u64, number;
    interfaces: Vec<String>, list;
    pcap_file: PathBuf, path;
    follow: bool, switch;
    nflog_group: u16, number;
    udp_server: String, word;
    tcp_server: String, word;
    spa_port: u16, number;
    transports: Vec<String>, list;
    filter: String, word;
    buffer_mib: u32, number;
    promiscuous: bool, switch;
    any_direction: bool, switch;
    gateway: bool, switch;
    accept_destinations: Vec<String>, list;
    backend: String, word;
    chain: String, word;
    mark: String, word;
    hooks: Vec<String>, list;
    protect: Vec<String>, list;
    nat_forward: bool, switch;
    nat_local: bool, switch;
    nat_dns: bool, switch;
    nat_snat: bool, switch;
    snat_address: Vec<String>, list;
    destination_rule: bool, switch;
    accept_answers: bool, switch;
    flush_at_start: bool, switch;
    flush_at_exit: bool, switch;
    dry_run: bool, switch;
    ageing: bool, switch;
    max_age_secs: u64, number;
    max_future_secs: u64, number;
    os_signatures: PathBuf, path;
    commands: bool, switch;
    command_timeout_secs: u64, number;
    sudo_exe: PathBuf, path;
    gpg_home_dir: PathBuf, path;
    spa_over_http: bool, switch;
    any_user_agent: bool, switch;
    x_forwarded_for: bool, switch;
    audit_days: u32, number;
    grants_max: usize, number;
    separation: bool, switch;
    commands_running_max: usize, number;
    commands_waiting_max: usize, number;
    metrics_listen: String, word;
}

// === impl RawConfig ===

impl RawConfig {
    /// No configuration comes near this. Guards against a log given by mistake.
    pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;

    /// Reads one file and nothing else.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`] names the file, [`ConfigError::Invalid`] every mistake with file,
    /// line and key.
    pub fn read_file(path: &Path) -> Result<Self, ConfigError> {
        let text = program::trusted::read_text(path, Self::FILE_BYTES_MAX)?;
        Self::of_text(path, &text)
    }

    /// Reads a text as if it were a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] with every mistake.
    pub fn read_text(text: &str) -> Result<Self, ConfigError> {
        Self::of_text(Path::new("agent.toml"), text)
    }

    fn of_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (raw, mistakes) = Self::good_of_text(path, text);
        if mistakes.is_empty() {
            Ok(raw)
        } else {
            Err(ConfigError::Invalid(mistakes))
        }
    }

    /// What is good of a file, key by key, and every mistake with file, line and key. Of a text that is
    /// no TOML nothing is good, and there is one mistake.
    pub(super) fn good_of_text(path: &Path, text: &str) -> (Self, Vec<Mistake>) {
        let (table, spans) = match (text.parse::<Table>(), DeTable::parse(text)) {
            (Ok(table), Ok(spans)) => (table, spans),
            (Err(error), _) | (_, Err(error)) => {
                let at = error.span().map_or(0, |span| span.start);
                let mistake = Mistake::at(place(path, text, at), "", one_line(error.message()));
                return (Self::default(), vec![mistake]);
            }
        };
        let line_of = |key: &str| {
            let mut keys = spans.get_ref().keys();
            let found = keys.find(|found| found.get_ref() == key);
            place(path, text, found.map_or(0, |found| found.span().start))
        };
        let (mut raw, mut mistakes) = (Self::default(), Vec::new());
        for (key, value) in &table {
            if let Err(message) = raw.set_written(key, value) {
                mistakes.push(Mistake::at(line_of(key), key, message));
            }
        }
        mistakes.sort_by_key(Mistake::line);
        (raw, mistakes)
    }

    /// Where a key stands in a file, as `file:line`; `None` when it is not there.
    pub(super) fn place_of(path: &Path, key: &str) -> Option<String> {
        let text = program::trusted::read_text(path, Self::FILE_BYTES_MAX).ok()?;
        let spans = DeTable::parse(&text).ok()?;
        let mut keys = spans.get_ref().keys();
        let found = keys.find(|found| found.get_ref() == key)?;
        Some(place(path, &text, found.span().start))
    }

    /// Where the agent keeps its state.
    #[must_use]
    pub fn state_dir_or_default(&self) -> PathBuf {
        let default = || crate::STATE_DIR.into();
        self.state_dir.clone().unwrap_or_else(default)
    }

    /// The keyring of stanzas with GPG_* that name none.
    #[must_use]
    pub fn gnupg_homes(&self) -> GnupgHomes {
        let of_host = self.gpg_home_dir.clone();
        of_host.map_or_else(GnupgHomes::default, |of_host| GnupgHomes { of_host })
    }

    /// Whether packets are to be led on to other places, or to be let in at one address only.
    #[must_use]
    pub fn leads(&self) -> bool {
        let wants = [self.nat_forward, self.nat_local, self.destination_rule];
        wants.contains(&Some(true))
    }
}

/// For the end of an error: what may have been meant by a word that is none of those that are known.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    let near = policy::nearest_of(word, known.iter().copied());
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

/// `file:line`, as for every other file.
fn place(path: &Path, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("{}:{line}", path.display())
}

/// What the parser says in several lines.
fn one_line(message: &str) -> String {
    message
        .split('\n')
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn file(text: &str) -> (TempDir, PathBuf) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_port_to_receive_on_is_a_text_or_a_number() {
        for text in ["udp_server = 62201", "udp_server = \"62201\""] {
            let (_dir, path) = file(text);

            let raw = RawConfig::read_file(&path).unwrap();

            assert_eq!(raw.udp_server.as_deref(), Some("62201"));
        }
    }

    #[test]
    fn every_mistake_of_a_file_is_told_with_file_line_and_key_and_what_may_have_been_meant() {
        let (_dir, path) = file(
            "ageing = true\nagening = false\n\nmax_age_secs = \"x\"\nspa_port = 70000\n\
             protect = [true]\nudp_server = true\ncommands = \"yes\"\nbuffer_mib = -1\n\
             audit_days = 1.5\n[metrics]\nlisten = 1\n",
        );

        let told = RawConfig::read_file(&path).unwrap_err().to_string();

        for mistake in [
            "2: agening: unknown key; did you mean ageing?",
            "4: max_age_secs: `x` is no whole number",
            "5: spa_port: `70000` is not 0 to 65535",
            "6: protect: `true` is no text: one value, or several between [ and ]",
            "7: udp_server: `true` is no text",
            "8: commands: `yes` is not true or false",
            "9: buffer_mib: `-1` is not 0 to 4294967295",
            "10: audit_days: `1.5` is no whole number",
            "11: metrics: unknown key",
        ] {
            let line = format!("\n{}:{mistake}", path.display());
            assert!(told.contains(&line), "{line} in {told}");
        }
    }

    #[test]
    fn one_value_where_several_may_be_is_taken() {
        let (_dir, path) = file("interfaces = \"eth0\"\nprotect = [\"tcp/22\", \"udp/53\"]\n");

        let raw = RawConfig::read_file(&path).unwrap();

        assert_eq!(raw.interfaces, Some(vec!["eth0".to_owned()]));
        let ports = ["tcp/22", "udp/53"].map(str::to_owned);
        assert_eq!(raw.protect, Some(ports.to_vec()));
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_with_its_line() {
        let (_dir, path) = file("ageing = true\nageing = false\n");

        let told = RawConfig::read_file(&path).unwrap_err().to_string();

        let place = format!("{}:2: ", path.display());
        assert!(told.contains(&place), "{told}");
    }

    #[test]
    fn the_keys_that_differ_are_named() {
        let (_dir, path) = file("ageing = true\nprotect = [\"tcp/22\"]\n");
        let raw = RawConfig::read_file(&path).unwrap();

        assert_eq!(raw.differing(&RawConfig::default()), ["protect", "ageing"]);
        assert!(raw.differing(&raw.clone()).is_empty());
    }
}
