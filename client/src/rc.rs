//! `~/.fwknoprc`: the stanzas of fwknop's client, read strictly.
//!
//! A line is `VARIABLE value` or `VARIABLE: value`; the value ends at a blank, `;` or `#`, so keys with these characters
//! must be base64. `[default]` applies to every stanza, a named stanza on top of it, the command line
//! on top of both. Where fwknop passes over what it does not understand, we say so, with the line.

mod variables;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use self::variables::{Meaning, VARIABLES, is_yes};
use crate::error::{CommandError, Result};

/// A file's stanzas.
#[derive(Debug, Default)]
pub(crate) struct RcFile {
    /// By name in lower case; fwknop does not tell cases apart either.
    stanzas: BTreeMap<String, Stanza>,
    exposed: bool,
}

/// The variables of a stanza. Values may be keys, so they cannot be printed.
#[derive(Clone, Default)]
pub(crate) struct Stanza {
    file: String,
    variables: BTreeMap<&'static str, Value>,
}

#[derive(Clone)]
struct Value {
    text: Zeroizing<String>,
    line: usize,
}

// === impl RcFile ===

impl RcFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Exit code 1 when it cannot be read, 64 with every mistake in it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |cause| CommandError::unreadable(path, cause);
        let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        let mut file = Self::parse(&name, &text).map_err(|mistakes| invalid(&name, &mistakes))?;
        file.exposed = mode & 0o077 != 0;
        Ok(file)
    }

    /// Reads a text; `name` stands in mistakes.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Vec<String>> {
        let mut file = Self::default();
        let mut current: Option<String> = None;
        let mut mistakes = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let read = match heading(line) {
                Some(stanza) => {
                    file.stanzas
                        .entry(stanza.clone())
                        .or_insert_with(|| Stanza::new(name));
                    current = Some(stanza);
                    Ok(())
                }
                None => match current.as_ref().and_then(|c| file.stanzas.get_mut(c)) {
                    Some(stanza) => stanza.add(line, number),
                    None => Err("stands before the first [stanza]".to_owned()),
                },
            };
            if let Err(mistake) = read {
                mistakes.push(format!("{name}:{number}: {mistake}"));
            }
        }
        if mistakes.is_empty() {
            Ok(file)
        } else {
            Err(mistakes)
        }
    }

    /// `[default]` with the named stanza on top of it.
    pub(crate) fn stanza(&self, name: Option<&str>) -> Option<Stanza> {
        let base = self.stanzas.get("default");
        let Some(name) = name else {
            return Some(base.cloned().unwrap_or_default());
        };
        let named = self.stanzas.get(&name.to_ascii_lowercase())?;
        let mut merged = base.cloned().unwrap_or_default();
        merged.file.clone_from(&named.file);
        merged.variables.extend(named.variables.clone());
        Some(merged)
    }

    /// Whether there is a stanza of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.stanzas.contains_key(&name.to_ascii_lowercase())
    }

    /// The names of the stanzas, without `[default]`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.stanzas
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "default")
    }

    /// Whether others than its owner may read a file that holds keys.
    pub(crate) fn is_exposed(&self) -> bool {
        let has_key = |stanza: &Stanza| stanza.variables.keys().any(|name| name.contains("KEY"));
        self.exposed && self.stanzas.values().any(has_key)
    }
}

fn heading(line: &str) -> Option<String> {
    let name = line.strip_prefix('[')?.split(']').next()?.trim();
    Some(name.to_ascii_lowercase())
}

// === impl Stanza ===

impl Stanza {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            variables: BTreeMap::new(),
        }
    }

    fn add(&mut self, line: &str, number: usize) -> Result<(), String> {
        let (name, rest) = line
            .split_once(|c: char| c.is_whitespace() || c == ':')
            .unwrap_or((line, ""));
        let value = rest
            .trim_start()
            .split([' ', '\t', ';', '#'])
            .next()
            .unwrap_or_default();
        let known = variables::known(name, !value.is_empty())?;
        if value.is_empty() {
            return Err(format!("{name}: has no value"));
        }
        let value = Value {
            text: Zeroizing::new(value.to_owned()),
            line: number,
        };
        self.variables.insert(known, value);
        Ok(())
    }

    /// The value of a variable.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        debug_assert!(VARIABLES.iter().any(|(known, _)| *known == name), "{name}");
        self.variables.get(name).map(|value| value.text.as_str())
    }

    /// The value of a variable, read as what it must be.
    ///
    /// # Errors
    ///
    /// Exit code 64 with file, line and variable; the value is not repeated.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        self.variables
            .get(name)
            .map(|value| {
                read(&value.text).map_err(|problem| {
                    let mistake = self.mistake(name, value, &problem);
                    invalid(&self.file, &[mistake])
                })
            })
            .transpose()
    }

    /// A boolean: a word that begins with y, as fwknop reads it.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(is_yes)
    }

    /// Refuses variables that ask for what this version cannot do.
    ///
    /// # Errors
    ///
    /// Exit code 64 with each of them.
    pub(crate) fn require_supported(&self) -> Result {
        let mistakes: Vec<String> = self
            .variables
            .iter()
            .filter_map(|(name, value)| {
                let (_, meaning) = VARIABLES.iter().find(|(known, _)| known == name)?;
                let Meaning::Unsupported(unsupported) = meaning else {
                    return None;
                };
                unsupported
                    .refuses(&value.text)
                    .then(|| self.mistake(name, value, unsupported.why()))
            })
            .collect();
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(invalid(&self.file, &mistakes))
    }

    fn mistake(&self, name: &str, value: &Value, problem: &str) -> String {
        format!("{}:{}: {name}: {problem}", self.file, value.line)
    }
}

impl std::fmt::Debug for Stanza {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stanza")
            .field("file", &self.file)
            .field("variables", &self.variables.keys())
            .finish_non_exhaustive()
    }
}

fn invalid(file: &str, mistakes: &[String]) -> CommandError {
    CommandError::invalid(format!("{file} is invalid\n{}", mistakes.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_stanza_lies_on_top_of_the_default() {
        let text = "# mine\n[default]\nDIGEST_TYPE SHA1\nACCESS tcp/22 ; ssh\n\
                    [Office]\nACCESS\ttcp/443 # web\nSPA_SERVER 192.0.2.1\n";

        let file = RcFile::parse("rc", text).unwrap();
        let office = file.stanza(Some("office")).unwrap();

        assert_eq!(office.text("DIGEST_TYPE"), Some("SHA1"));
        assert_eq!(office.text("ACCESS"), Some("tcp/443"));
        assert_eq!(office.text("SPA_SERVER"), Some("192.0.2.1"));
        assert_eq!(file.stanza(None).unwrap().text("SPA_SERVER"), None);
        assert!(file.stanza(Some("home")).is_none());
    }

    #[test]
    fn a_value_ends_at_a_blank_a_semicolon_or_a_hash() {
        let file = RcFile::parse("rc", "[default]\nKEY abc;def\nSPOOF_USER a#b\n").unwrap();
        let stanza = file.stanza(None).unwrap();

        assert_eq!(stanza.text("KEY"), Some("abc"));
        assert_eq!(stanza.text("SPOOF_USER"), Some("a"));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "SPA_SERVER 192.0.2.1\n[default]\nSPA_SERVR 192.0.2.1\nACCESS\nQQQQ 1\n";

        let mistakes = RcFile::parse("rc", text).unwrap_err();

        assert_eq!(
            mistakes,
            [
                "rc:1: stands before the first [stanza]",
                "rc:3: SPA_SERVR: unknown variable; did you mean SPA_SERVER?",
                "rc:4: ACCESS: has no value",
                "rc:5: QQQQ: unknown variable",
            ]
        );
    }

    #[test]
    fn a_colon_may_stand_behind_the_variable() {
        let text = "[web]\nKEY_BASE64: YWJj\nSPA_SERVER:192.0.2.1\nACCESS:\ttcp/22\nALLOW_IP 2001:db8::7\n";

        let file = RcFile::parse("rc", text).unwrap();
        let web = file.stanza(Some("web")).unwrap();

        assert_eq!(web.text("KEY_BASE64"), Some("YWJj"));
        assert_eq!(web.text("SPA_SERVER"), Some("192.0.2.1"));
        assert_eq!(web.text("ACCESS"), Some("tcp/22"));
        assert_eq!(web.text("ALLOW_IP"), Some("2001:db8::7"));
        let file = RcFile::parse("rc", "[a]\nKEY :abc\n").unwrap();
        assert_eq!(file.stanza(Some("a")).unwrap().text("KEY"), Some(":abc"));
    }

    #[test]
    fn a_key_on_a_line_of_its_own_is_not_repeated_in_the_mistake() {
        for key in [
            "U2VjcmV0S2V5VGhhdE1lbk5ldmVyU2VlMDEyMzQ1Njc=",
            "HUNTER2",
            "hunter two",
        ] {
            let text = format!("[web]\nKEY_BASE64\n{key}\n");

            let mistakes = RcFile::parse("rc", &text).unwrap_err();

            let unknown = "rc:3: the line does not begin with a known variable";
            assert_eq!(mistakes, ["rc:2: KEY_BASE64: has no value", unknown]);
        }
    }

    #[test]
    fn only_variables_that_would_change_the_packet_are_refused() {
        let text = "[a]\nUSE_GPG N\nWGET_CMD /usr/bin/wget\nGPG_RECIPIENT me\n\
                    [b]\nUSE_GPG Y\nSPOOF_SOURCE_IP 192.0.2.7\n";
        let file = RcFile::parse("rc", text).unwrap();

        assert!(file.stanza(Some("a")).unwrap().require_supported().is_ok());
        let refused = file.stanza(Some("b")).unwrap().require_supported();
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("rc:7: SPOOF_SOURCE_IP: "), "{text}");
        assert!(text.contains("rc:6: USE_GPG: "), "{text}");
    }

    #[test]
    fn debug_shows_no_value() {
        let file = RcFile::parse("rc", "[default]\nKEY hunter2\n").unwrap();

        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
