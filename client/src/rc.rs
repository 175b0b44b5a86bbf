//! `~/.fwknoprc`: the stanzas of fwknop's client, read strictly.
//!
//! A line is `VARIABLE value` or `VARIABLE: value`; the value ends at a blank, `;` or `#`, so keys with
//! these characters must be base64. `[default]` applies to every stanza, a named stanza on top of it, the
//! command line on top of both. A line that is not understood is a mistake of whoever uses its stanza, and
//! of nobody else. Bytes that are no UTF-8 may stand in comments, and in passphrases.

mod source;
pub(crate) mod table;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use self::table::{KEY_SOURCE, is_yes, variable};
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
    /// In lower case; empty for `[default]` alone.
    name: String,
    variables: BTreeMap<&'static str, Value>,
    /// Lines that are not understood.
    mistakes: Vec<String>,
}

#[derive(Clone)]
struct Value {
    /// Passphrases may be of any bytes; everything else is UTF-8.
    bytes: Zeroizing<Vec<u8>>,
    at: At,
}

/// Where a value was said.
#[derive(Clone, Copy)]
enum At {
    Line(usize),
    /// The long name of an option of the command line.
    Option(&'static str),
}

// === impl RcFile ===

impl RcFile {
    /// No such file comes near this.
    pub(crate) const BYTES_MAX: u64 = 16 << 20;

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Exit code 1 when it cannot be read, 64 with every mistake in it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |cause| CommandError::unreadable(path, cause);
        let read = program::trusted::read(path, Self::BYTES_MAX).map_err(failed)?;
        let text = program::files::without_mark(&read.bytes).map_err(failed)?;
        let mut file = Self::parse(&name, text).map_err(|mistakes| invalid(&name, &mistakes))?;
        file.exposed = read.is_readable_by_others();
        Ok(file)
    }

    /// Reads a text; `name` stands in mistakes.
    ///
    /// # Errors
    ///
    /// What concerns everybody: mistakes outside of stanzas and in `[default]`.
    pub(crate) fn parse(name: &str, text: impl AsRef<[u8]>) -> Result<Self, Vec<String>> {
        let mut file = Self::default();
        let mut current: Option<String> = None;
        let mut mistakes = Vec::new();
        // Behind a key's name alone on its line stands the key, perhaps.
        let mut may_be_a_key = false;
        for (index, line) in text.as_ref().split(|b| *b == b'\n').enumerate() {
            let number = index + 1;
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
                continue;
            }
            let mistake = |what: &str| format!("{name}:{number}: {what}");
            if let Some(stanza) = heading(line) {
                let new = || Stanza::new(name);
                file.stanzas.entry(stanza.clone()).or_insert_with(new);
                current = Some(stanza);
                may_be_a_key = false;
                continue;
            }
            match current.as_ref().and_then(|c| file.stanzas.get_mut(c)) {
                None => mistakes.push(mistake("stands before the first [stanza]")),
                Some(stanza) => match stanza.add(line, number) {
                    Ok(()) => may_be_a_key = false,
                    Err(_) if may_be_a_key => stanza
                        .mistakes
                        .push(mistake("the line does not begin with a known variable")),
                    Err(what) => {
                        may_be_a_key = what.contains("KEY: has no value")
                            || what.contains("KEY_BASE64: has no value");
                        stanza.mistakes.push(mistake(&what));
                    }
                },
            }
        }
        let default = file.stanzas.get_mut("default");
        mistakes.extend(
            default
                .map(|own| std::mem::take(&mut own.mistakes))
                .into_iter()
                .flatten(),
        );
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
        merged.name = name.to_ascii_lowercase();
        merged.make_way_for(named);
        merged.variables.extend(named.variables.clone());
        merged.mistakes.clone_from(&named.mistakes);
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
        let is_key = |name: &&str| name.contains("KEY") && *name != KEY_SOURCE;
        let has_key = |stanza: &Stanza| stanza.variables.keys().copied().any(|name| is_key(&name));
        self.exposed && self.stanzas.values().any(has_key)
    }
}

fn heading(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(b"[")?;
    let name = rest.get(..rest.iter().position(|b| *b == b']')?)?;
    let name = String::from_utf8_lossy(name.trim_ascii());
    Some(name.to_ascii_lowercase())
}

// === impl Stanza ===

impl Stanza {
    fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            ..Self::default()
        }
    }

    fn add(&mut self, line: &[u8], number: usize) -> Result<(), String> {
        let is_end = |b: &u8| b.is_ascii_whitespace() || *b == b':';
        let (name, rest) = match line.iter().position(is_end) {
            Some(at) => line.split_at(at),
            None => (line, &[][..]),
        };
        let value = rest.get(1..).unwrap_or_default().trim_ascii_start();
        let value = value
            .split(|b| matches!(b, b' ' | b'\t' | b';' | b'#'))
            .next()
            .unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let known = variables::known(&name, !value.is_empty())?;
        if value.is_empty() {
            return Err(format!("{known}: has no value"));
        }
        let is_passphrase = matches!(known, "KEY" | "HMAC_KEY" | "GPG_SIGNING_PW");
        if !is_passphrase && std::str::from_utf8(value).is_err() {
            return Err(format!("{known}: is not UTF-8"));
        }
        let value = Value {
            bytes: Zeroizing::new(value.to_vec()),
            at: At::Line(number),
        };
        self.variables.insert(known, value);
        Ok(())
    }

    /// Says a variable on the command line, on top of what the stanza says; `option` is the long name
    /// of the option that said it.
    pub(crate) fn set(&mut self, name: &'static str, value: &str, option: &'static str) {
        debug_assert!(variable(name).is_some(), "{name}");
        let value = Value {
            bytes: Zeroizing::new(value.as_bytes().to_vec()),
            at: At::Option(option),
        };
        self.variables.insert(name, value);
    }

    /// Forgets a variable.
    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// A passphrase, of any bytes.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        debug_assert!(variable(name).is_some(), "{name}");
        self.variables.get(name).map(|value| value.bytes.as_slice())
    }

    /// The value of a variable.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let bytes = self.bytes(name)?;
        std::str::from_utf8(bytes).ok()
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
                let text = std::str::from_utf8(&value.bytes);
                let read = text.map_err(|_| "is not UTF-8".to_owned()).and_then(read);
                read.map_err(|problem| match value.at {
                    At::Line(_) => {
                        let mistake = self.mistake(name, value, &problem);
                        invalid(&self.file, &[mistake])
                    }
                    At::Option(option) => CommandError::usage(format!("--{option}: {problem}")),
                })
            })
            .transpose()
    }

    /// A boolean.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(is_yes)
    }

    /// Refuses lines that are not understood, and variables that ask for what this version cannot do.
    ///
    /// # Errors
    ///
    /// Exit code 64 with each of them.
    pub(crate) fn require_supported(&self) -> Result {
        let refused = self.variables.iter().filter_map(|(name, value)| {
            let why = variable(name)?.verdict.refuses()?;
            Some(self.mistake(name, value, why))
        });
        let mistakes = self.mistakes.iter().cloned().chain(refused);
        let mistakes: Vec<String> = mistakes.chain(self.two_sources()).collect();
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(invalid(&self.file, &mistakes))
    }

    fn mistake(&self, name: &str, value: &Value, problem: &str) -> String {
        match value.at {
            At::Line(line) => format!("{}:{line}: {name}: {problem}", self.file),
            At::Option(option) => format!("--{option}: {problem}"),
        }
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
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_was_written_on_windows_says_what_it_says_and_utf_16_is_refused() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("rc");
        fs::write(
            &path,
            b"\xef\xbb\xbf[default]\r\nACCESS tcp/22\r\nKEY abc\r\n",
        )
        .unwrap();
        let stanza = RcFile::read(&path).unwrap().stanza(None).unwrap();
        assert_eq!(stanza.text("ACCESS"), Some("tcp/22"));
        assert_eq!(stanza.bytes("KEY"), Some(&b"abc"[..]));

        fs::write(&path, b"\xff\xfe[\0d\0").unwrap();
        let refused = RcFile::read(&path).map(drop).unwrap_err();
        assert!(format!("{refused:?}").contains("UTF-16"), "{refused:?}");
    }

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
            "HUNTER:TWO",
            "KEYhunter2",
            "KEY_BASE64U2VjcmV0",
            "HMAC_KEYS HUNTER",
        ] {
            let text = format!("[web]\nKEY_BASE64\n{key}\n");

            let file = RcFile::parse("rc", &text).unwrap();
            let web = file.stanza(Some("web")).unwrap();
            let mistakes = web.require_supported().unwrap_err().to_string();

            let unknown = "rc:3: the line does not begin with a known variable";
            let told = format!("rc is invalid\nrc:2: KEY_BASE64: has no value\n{unknown}");
            assert_eq!(mistakes, told);
        }
    }

    #[test]
    fn variables_of_gpg_and_of_wget_are_taken() {
        let text = "[a]\nUSE_GPG N\nWGET_CMD /usr/bin/wget\nGPG_RECIPIENT me\n\
                    [b]\nUSE_GPG Y\n";
        let file = RcFile::parse("rc", text).unwrap();

        assert!(file.stanza(Some("a")).unwrap().require_supported().is_ok());
        assert!(file.stanza(Some("b")).unwrap().require_supported().is_ok());
    }

    #[test]
    fn a_mistake_in_another_stanza_or_a_comment_of_other_bytes_disables_nothing() {
        let text =
            b"# f\xfcr das B\xfcro\n[web]\nKEY p\xe4ss ; \xe4\n[other]\nNO_SUCH 1\nACCESS \xfc\n";

        let file = RcFile::parse("rc", text).unwrap();
        let web = file.stanza(Some("web")).unwrap();
        let other = file.stanza(Some("other")).unwrap().require_supported();

        assert_eq!(web.bytes("KEY"), Some(&b"p\xe4ss"[..]));
        assert!(web.require_supported().is_ok());
        let told = "rc is invalid\nrc:5: NO_SUCH: unknown variable\nrc:6: ACCESS: is not UTF-8";
        assert_eq!(other.unwrap_err().to_string(), told);
    }

    #[test]
    fn debug_shows_no_value() {
        let file = RcFile::parse("rc", "[default]\nKEY hunter2\n").unwrap();

        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
