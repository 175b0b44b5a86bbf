//! The layers of the configuration as people wrote them, before anything in them is judged.
//!
//! What must be done whatever is wrong with a configuration (hiding what was hidden) needs the few
//! keys that can be read of one with mistakes.

use std::env;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use program::files::ReadError;
use toml::{Table, Value};

use super::fwknopd::Meaning;
use super::{Config, ConfigError, DEFAULT_FILE, Mistake, RawConfig, environment, fwknopd};
use crate::fwknopd::DEFAULT_CONF;
use crate::fwknopd::read::{Files, Note};
use crate::membership::has_joined;

/// File, environment and flags, laid over each other.
#[derive(Debug)]
pub struct Layers {
    /// What is good of all of them.
    good: RawConfig,
    /// What is wrong with the files and the environment by themselves.
    mistakes: Vec<Mistake>,
    /// A file that was named and cannot be read.
    unreadable: Option<ReadError>,
    /// What can be read, of a file that is no TOML line by line.
    readable: RawConfig,
    file: Option<PathBuf>,
    environment: RawConfig,
    flags: RawConfig,
    /// What the files of fwknopd mean that were read, if any were.
    of_fwknopd: Option<Meaning>,
    /// That nobody named them.
    found: bool,
}

/// The files of a configuration; where neither is named, those that are there.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// Our own.
    pub file: Option<PathBuf>,
    /// Those of fwknopd, over which our own is laid where it is named too.
    pub fwknopd: Option<Files>,
}

/// Where a configuration came from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    named: Named,
    flags: RawConfig,
    /// What it was made of when it was read.
    in_force: RawConfig,
}

// === impl ConfigSource ===

impl ConfigSource {
    /// That of a configuration that was made of `in_force`.
    #[must_use]
    pub fn new(named: Named, flags: RawConfig, in_force: RawConfig) -> Self {
        Self {
            named,
            flags,
            in_force,
        }
    }

    /// Reads it again: the keys that have other values than those in force.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every mistake.
    pub fn differing(&self) -> Result<Vec<&'static str>, ConfigError> {
        let layers = Layers::of(&self.named, self.flags.clone());
        let (raw, _) = layers.raw_and_config()?;
        Ok(self.in_force.differing(&raw))
    }
}

// === impl Layers ===

impl Layers {
    /// Reads file and environment, and lays `flags` over them. Mistakes are kept for
    /// [`Self::config`].
    pub fn read(file: Option<&Path>, flags: RawConfig) -> Self {
        let named = Named {
            file: file.map(Path::to_owned),
            fwknopd: None,
        };
        Self::of(&named, flags)
    }

    /// The same with files of fwknopd under our own: those that are named; or, where nothing is, where
    /// our own says nothing and the host has not joined, those that are in fwknopd's place.
    pub fn of(named: &Named, flags: RawConfig) -> Self {
        let default = Path::new(DEFAULT_FILE);
        // One that this user may not see is there; reading it says so.
        let is_there = || default.try_exists().unwrap_or(true);
        let by_default = || (named.fwknopd.is_none() && is_there()).then_some(default);
        let file = named.file.as_deref().or_else(by_default);
        let own = Own::read(file);
        let (environment, of_environment) = environment::read(env::vars_os());
        let is_found = named.fwknopd.is_none()
            && named.file.is_none()
            && own.says_nothing()
            && nobody_else_says(&environment, &flags)
            && Path::new(DEFAULT_CONF).exists();
        let found = is_found.then(|| Files::of(DEFAULT_CONF));
        let of_fwknopd = named.fwknopd.as_ref().or(found.as_ref());
        let (of_fwknopd, unread) = match of_fwknopd.map(fwknopd::read).transpose() {
            Ok(meaning) => (meaning, None),
            Err(unread) => (None, Some(unread)),
        };
        let lower = of_fwknopd.as_ref().map(|meaning| meaning.raw.clone());
        let mut lower = lower.unwrap_or_default();
        if is_found {
            // Our unit starts so, which lets its state be written in one place only.
            lower.state_dir = None;
        }
        let over = |raw: RawConfig| {
            let raw = lower.clone().overlaid(raw);
            raw.overlaid(environment.clone()).overlaid(flags.clone())
        };
        let of_fwknopd_wrong = of_fwknopd
            .iter()
            .flat_map(|meaning| meaning.mistakes.clone());
        let mistakes = own.mistakes.into_iter().chain(of_fwknopd_wrong);
        Self {
            good: over(own.good),
            mistakes: mistakes.chain(of_environment).collect(),
            unreadable: own.unreadable.or(unread),
            readable: over(own.readable),
            file: file.map(Path::to_owned),
            environment,
            flags,
            of_fwknopd,
            found: is_found,
        }
    }

    /// What the files of fwknopd mean, where any were read.
    pub fn of_fwknopd(&self) -> Option<&Meaning> {
        self.of_fwknopd.as_ref()
    }

    /// Says in the log what there is to say about the files of fwknopd, and that they are used if
    /// nobody has named them.
    pub fn say(&self) {
        let Some(meaning) = &self.of_fwknopd else {
            return;
        };
        if self.found {
            tracing::info!(
                path = DEFAULT_CONF,
                "neither agent.toml nor a controller says anything: this host runs by the files of fwknopd"
            );
        }
        meaning.notes.iter().for_each(Note::say);
    }

    /// What can be read, whatever is wrong with the rest: of a file with mistakes, the keys that say
    /// where the state is kept and what is hidden.
    pub fn readable(&self) -> &RawConfig {
        &self.readable
    }

    /// The configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every mistake.
    pub fn config(self) -> Result<Config, ConfigError> {
        Ok(self.raw_and_config()?.1)
    }

    /// The configuration, and the keys that it was made of.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every mistake.
    pub fn raw_and_config(self) -> Result<(RawConfig, Config), ConfigError> {
        let Self {
            good,
            mut mistakes,
            unreadable,
            readable: _,
            file,
            environment,
            flags,
            of_fwknopd: _,
            found: _,
        } = self;
        if let Some(cause) = unreadable {
            return Err(cause.into());
        }
        let config = match Config::try_from(good.clone()) {
            Ok(config) if mistakes.is_empty() => return Ok((good, config)),
            other => other,
        };
        match config {
            Ok(_) => {}
            Err(unreadable @ ConfigError::Unreadable(_)) => return Err(unreadable),
            Err(ConfigError::Invalid(of_values)) => {
                let place = |key: &str| place(key, &flags, &environment, file.as_deref());
                let is_known =
                    |mistake: &Mistake| mistakes.iter().any(|known| known.hides(mistake));
                let of_values: Vec<Mistake> = of_values
                    .into_iter()
                    .filter(|mistake| !is_known(mistake))
                    .map(|mistake| mistake.found(place))
                    .collect();
                mistakes.extend(of_values);
            }
        }
        mistakes.sort_by(|one, other| one.order().cmp(&other.order()));
        Err(ConfigError::Invalid(mistakes))
    }
}

/// Our own file, before it is judged.
#[derive(Debug, Default)]
struct Own {
    good: RawConfig,
    mistakes: Vec<Mistake>,
    unreadable: Option<ReadError>,
    /// What can be read, whatever is wrong with the rest.
    readable: RawConfig,
}

// === impl Own ===

impl Own {
    fn read(file: Option<&Path>) -> Self {
        let Some(file) = file else {
            return Self::default();
        };
        let text = match program::trusted::read_text(file, RawConfig::FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(cause) => {
                return Self {
                    unreadable: Some(cause),
                    readable: readable(file),
                    ..Self::default()
                };
            }
        };
        let (good, mistakes) = RawConfig::good_of_text(file, &text);
        let readable = if mistakes.is_empty() {
            good.clone()
        } else {
            good.clone().overlaid(readable(file))
        };
        Self {
            good,
            mistakes,
            unreadable: None,
            readable,
        }
    }

    fn says_nothing(&self) -> bool {
        self.mistakes.is_empty() && self.unreadable.is_none() && self.good == RawConfig::default()
    }
}

/// Whether nothing beside our own file says who says what is permitted here, and the host has not
/// joined.
fn nobody_else_says(environment: &RawConfig, flags: &RawConfig) -> bool {
    let above = environment.clone().overlaid(flags.clone());
    let says_who = above.access_file.is_some() || above.controller.is_some();
    !says_who && !has_joined(&above.state_dir_or_default())
}

/// Where a key was given its value: the layer that wins.
fn place(key: &str, flags: &RawConfig, environment: &RawConfig, file: Option<&Path>) -> String {
    let given = |layer: &RawConfig| layer.differing(&RawConfig::default()).contains(&key);
    if given(flags) {
        return "command line".to_owned();
    }
    if given(environment) {
        return environment::variable_of(key);
    }
    file.and_then(|file| RawConfig::place_of(file, key))
        .unwrap_or_default()
}

/// What can be read of a file with mistakes, line by line if need be.
fn readable(file: &Path) -> RawConfig {
    // Half of it may have been read. Whoever wrote it: what it hides is hidden.
    let mut bytes = Vec::new();
    let _ = program::files::open_regular(file)
        .and_then(|file| file.take(RawConfig::FILE_BYTES_MAX).read_to_end(&mut bytes));
    let text = program::files::legacy_text(&bytes).unwrap_or_default();
    let table: Table = text.parse().unwrap_or_else(|_| {
        let lines = text.lines().filter_map(|line| line.parse::<Table>().ok());
        lines.flatten().collect()
    });
    let word = |key: &str| Some(table.get(key)?.as_str()?.to_owned());
    // One port is a list of one, as everywhere.
    let ports = table.get("protect").map(|ports| {
        let several = ports.as_array().map(Vec::as_slice);
        several.unwrap_or_else(|| std::slice::from_ref(ports))
    });
    RawConfig {
        state_dir: word("state_dir").map(PathBuf::from),
        backend: word("backend"),
        chain: word("chain"),
        mark: word("mark"),
        protect: ports.map(|ports| {
            let ports = ports.iter().filter_map(Value::as_str);
            ports.map(str::to_owned).collect()
        }),
        dry_run: table.get("dry_run").and_then(Value::as_bool),
        ..RawConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn readable_of(text: &str) -> RawConfig {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        let layers = Layers::read(Some(&file), RawConfig::default());
        assert!(!layers.mistakes.is_empty());
        layers.readable
    }

    #[test]
    fn of_a_file_with_mistakes_it_is_known_where_the_state_is_and_what_is_hidden() {
        let keys = "state_dir = \"/s\"\nchain = \"C\"\nprotect = [\"tcp/22\"]\n";
        for mistake in [
            "nonsense = 1\n",
            "max_age_secs = \"x\"\n",
            "[[[\n",
            "a = \u{1}\n",
        ] {
            for text in [format!("{mistake}{keys}"), format!("{keys}{mistake}")] {
                let raw = readable_of(&text);

                assert_eq!(raw.state_dir_or_default(), Path::new("/s"), "{text}");
                assert_eq!(raw.chain.as_deref(), Some("C"), "{text}");
                assert_eq!(raw.protect, Some(vec!["tcp/22".to_owned()]), "{text}");
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_told_with_the_place_where_it_was_given() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("agent.toml");
        fs::write(&file, "# ours\nmax_age_secs = 0\ngrants_max = 0\n").unwrap();
        let flags = RawConfig {
            grants_max: Some(0),
            ..RawConfig::default()
        };

        let told = Layers::read(Some(&file), flags).config().unwrap_err();

        let expected = format!(
            "the configuration is invalid\n\
             {}:2: max_age_secs: 0 is not 1 to 100000\n\
             command line: grants_max: 0 is not 1 to 131072",
            file.display()
        );
        assert_eq!(told.to_string(), expected);
    }

    #[test]
    fn keys_that_are_unknown_and_values_that_cannot_be_are_told_at_once_in_the_order_of_the_file() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("agent.toml");
        let text = "interface = \"eth0\"\nspa_port = \"abc\"\nbackend = \"nft\"\n\
                    protect = [\"tcp/99999\", 22]\nfollow = true\npcap_file = 7\n\
                    chain = \"FW\"\nhooks = \"input\"\n";
        fs::write(&file, text).unwrap();

        let layers = Layers::read(Some(&file), RawConfig::default());

        assert_eq!(layers.readable().chain.as_deref(), Some("FW"));
        let told = layers.config().unwrap_err().to_string();
        let expected = [
            "1: interface: unknown key; did you mean interfaces?",
            "2: spa_port: `abc` is no whole number",
            "3: backend: `nft` is not auto, nftables or iptables",
            "4: protect: `tcp/99999` is not like tcp/22",
            "4: protect: `22` is not like tcp/22",
            "6: pcap_file: `7` is no path",
            "8: hooks: `input` is not auto, none or like `inet filter input`",
        ];
        let lines = expected.map(|line| format!("\n{}:{line}", file.display()));
        assert_eq!(
            told,
            format!("the configuration is invalid{}", lines.concat())
        );
    }

    #[test]
    fn what_is_hidden_is_known_also_when_one_port_is_no_list_and_something_else_is_wrong() {
        let raw = readable_of("protect = \"tcp/22\"\nnonsense = 1\n");
        assert_eq!(raw.protect, Some(vec!["tcp/22".to_owned()]));
        let raw = readable_of("protect = [\"tcp/22\", true]\n");
        assert_eq!(raw.protect, Some(vec!["tcp/22".to_owned()]));
    }

    #[test]
    fn of_a_file_that_is_not_there_the_defaults_are_known() {
        let layers = Layers::read(
            Some(Path::new("/nonexistent/agent.toml")),
            RawConfig::default(),
        );

        assert_eq!(
            layers.readable().state_dir_or_default(),
            Path::new(crate::STATE_DIR)
        );
        assert!(layers.config().is_err());
    }
}
