//! The layers of the configuration as people wrote them, before anything in them is judged.
//!
//! What must be done whatever is wrong with a configuration (hiding what was hidden) needs the few
//! keys that can be read of one with mistakes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, DEFAULT_FILE, RawConfig, environment};

/// File, environment and flags, laid over each other.
#[derive(Debug)]
pub struct Layers {
    whole: Result<RawConfig, ConfigError>,
    readable: RawConfig,
}

// === impl Layers ===

impl Layers {
    /// Reads file and environment, and lays `flags` over them. Mistakes are kept for
    /// [`Self::config`].
    pub fn read(file: Option<&Path>, flags: RawConfig) -> Self {
        let default = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default.exists().then_some(default));
        let whole = file.map(RawConfig::read_file).transpose();
        let (environment, mistakes) = environment::read(env::vars_os());
        let readable = match &whole {
            Ok(raw) => raw.clone().unwrap_or_default(),
            Err(_) => file.map(readable).unwrap_or_default(),
        };
        let readable = readable
            .overlaid(environment.clone())
            .overlaid(flags.clone());
        let whole = whole.and_then(|file| {
            if !mistakes.is_empty() {
                return Err(ConfigError::Malformed(mistakes.join("\n")));
            }
            let file = file.unwrap_or_default();
            Ok(file.overlaid(environment).overlaid(flags))
        });
        Self { whole, readable }
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
        self.whole?.try_into()
    }
}

/// What can be read of a file with mistakes, line by line if need be.
fn readable(file: &Path) -> RawConfig {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let table: Table = text.parse().unwrap_or_else(|_| {
        let lines = text.lines().filter_map(|line| line.parse::<Table>().ok());
        lines.flatten().collect()
    });
    let word = |key: &str| Some(table.get(key)?.as_str()?.to_owned());
    let ports = table.get("protect").and_then(Value::as_array);
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
    use tempfile::TempDir;

    use super::*;

    fn readable_of(text: &str) -> RawConfig {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        let layers = Layers::read(Some(&file), RawConfig::default());
        assert!(layers.whole.is_err());
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
