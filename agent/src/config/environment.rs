//! The configuration's layer from the environment: `POSTERN_AGENT_MAX_AGE_SECS=60`.

use std::ffi::OsString;

use super::error::Mistake;
use super::raw::RawConfig;

/// What the names of the variables begin with; the key follows in capitals.
const PREFIX: &str = "POSTERN_AGENT_";

/// The variable of a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

/// Reads the variables that are ours, and tells every mistake: an unknown key, a value that is not
/// what its key takes.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (RawConfig, Vec<Mistake>) {
    let mut raw = RawConfig::default();
    let mut mistakes = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let key = name.trim_start_matches(PREFIX).to_ascii_lowercase();
        let set = value
            .to_str()
            .ok_or_else(|| "the value is not UTF-8".to_owned())
            .and_then(|value| raw.set(&key, value));
        if let Err(mistake) = set {
            mistakes.push(Mistake::at(name.to_owned(), "", mistake));
        }
    }
    (raw, mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(variables: &[(&str, &str)]) -> (RawConfig, Vec<String>) {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let (raw, mistakes) = read(variables);
        let mistakes = mistakes.iter().map(ToString::to_string);
        (raw, mistakes.collect())
    }

    #[test]
    fn every_kind_of_value_is_read_and_other_programs_variables_are_left_alone() {
        let (raw, mistakes) = read_of(&[
            ("POSTERN_AGENT_INTERFACES", "eth0, eth1"),
            ("POSTERN_AGENT_MAX_AGE_SECS", "60"),
            ("POSTERN_AGENT_COMMANDS", "off"),
            ("POSTERN_AGENT_UDP_SERVER", "62201"),
            ("POSTERN_AGENT_STATE_DIR", "/tmp/x"),
            ("POSTERN_LOG", "debug"),
            ("PATH", "/bin"),
        ]);

        let expected = RawConfig {
            interfaces: Some(vec!["eth0".to_owned(), "eth1".to_owned()]),
            max_age_secs: Some(60),
            commands: Some(false),
            udp_server: Some("62201".to_owned()),
            state_dir: Some("/tmp/x".into()),
            ..RawConfig::default()
        };
        assert_eq!((raw, mistakes), (expected, Vec::new()));
    }

    #[test]
    fn every_mistake_is_told_with_its_variable() {
        let (_, mistakes) = read_of(&[
            ("POSTERN_AGENT_MAX_AGE", "60"),
            ("POSTERN_AGENT_INTERFACE", "eth0"),
            ("POSTERN_AGENT_SPA_PORT", "70000"),
            ("POSTERN_AGENT_AGEING", "perhaps"),
        ]);

        assert_eq!(
            mistakes,
            [
                "POSTERN_AGENT_MAX_AGE: unknown key",
                "POSTERN_AGENT_INTERFACE: unknown key; did you mean interfaces?",
                "POSTERN_AGENT_SPA_PORT: `70000`: number too large to fit in target type",
                "POSTERN_AGENT_AGEING: `perhaps` is not true or false",
            ]
        );
    }

    #[test]
    fn every_key_of_the_file_is_one_of_the_environment() {
        let sample = include_str!("../../../deploy/agent.toml");
        for line in sample.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
            else {
                continue;
            };
            let set = RawConfig::default().set(key, "1");
            assert_eq!(set, Ok(()), "{key}");
        }
    }
}
