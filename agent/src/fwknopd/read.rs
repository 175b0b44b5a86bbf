//! fwknopd.conf line by line, and the files that are laid over it.
//!
//! A line is a name, blanks, and a value up to `;` or its end. Only the first character says
//! whether it is a comment. A value that begins with `$NAME` begins with what NAME was given
//! before. What
//! fwknopd passes over with a word in its log is passed over here with one too; what it refuses,
//! and what it would take for something that nobody can have meant, is a mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use fleet::export::printable;
use program::files::ReadError;
use program::trusted;
use zeroize::Zeroizing;

use super::values;
use super::variables::{self, Variable};

/// The file, and those laid over it, the last of which wins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    pub conf: PathBuf,
    pub overrides: Vec<PathBuf>,
    /// What the command line gives variables, over all of them.
    pub switches: Vec<(&'static str, String)>,
}

/// What one variable was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// As it was written, expanded, without blanks around it.
    pub value: String,
    /// `file:line`, or `command line`.
    pub place: String,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// It is as it should be, and worth a line.
    Information,
    /// It may not be what was meant.
    Warning,
}

/// Something about a line that is not a mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    pub weight: Weight,
    /// The line, the variable and what there is to say.
    pub text: String,
}

/// Why nothing of what was read is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// `file:line`, or `command line`.
    pub place: String,
    /// The variable; empty where it is about none.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

/// What was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reading {
    /// By the variable's name.
    pub given: BTreeMap<&'static str, Given>,
    pub notes: Vec<Note>,
    /// What keeps all of it from being used.
    pub mistakes: Vec<Mistake>,
}

/// What fwknopd reads of a line at once; it takes the rest for a line of its own.
const LINE_BYTES_MAX: usize = 1_023;
/// That of the reference has 24 kB. Guards against a device or a log given by mistake.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Of a file that is none, the first will do.
const SAID_MAX: usize = 100;

// === impl Files ===

impl Files {
    /// One file with nothing laid over it.
    #[must_use]
    pub fn of(conf: impl Into<PathBuf>) -> Self {
        Self {
            conf: conf.into(),
            overrides: Vec::new(),
            switches: Vec::new(),
        }
    }

    /// The same with these laid over it; commas stand between several, as with fwknopd.
    #[must_use]
    pub fn with_overrides(mut self, lists: impl IntoIterator<Item = String>) -> Self {
        for list in lists {
            let names = list.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty()).map(PathBuf::from);
            self.overrides.extend(names);
        }
        self
    }

    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// [`ReadError`] for the first that cannot be read. Mistakes are in the reading.
    pub fn read(&self) -> Result<Reading, ReadError> {
        let mut reading = Reading::default();
        let read = |path: &Path| text_of(path).map_err(|cause| ReadError::of(path, cause));
        let text = read(&self.conf)?;
        if self.overrides.is_empty() {
            reading.add_alone(&self.conf, &text);
        } else {
            reading.add(&self.conf, &text);
        }
        for path in &self.overrides {
            reading.add(path, &read(path)?);
        }
        for (name, value) in &self.switches {
            if let Some(variable) = variables::of_name(name) {
                reading.give(variable, value.clone(), "command line".to_owned());
            }
        }
        Ok(reading)
    }
}

// === impl Note ===

impl Note {
    /// Says it in the log.
    pub fn say(&self) {
        match self.weight {
            Weight::Information => tracing::info!("{}", self.text),
            Weight::Warning => tracing::warn!("{}", self.text),
        }
    }
}

// === impl Mistake ===

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        f.write_str(&self.message)
    }
}

// === impl Reading ===

impl Reading {
    /// Lays a file over what was read before.
    pub fn add(&mut self, path: &Path, text: &str) {
        for (index, line) in text.split('\n').enumerate() {
            let place = format!("{}:{}", path.display(), index + 1);
            self.line(line.trim_end_matches('\r'), place);
        }
    }

    /// Reads a file over which no other is laid. fwknopd reads such a one twice, so that a value
    /// may begin with a variable that is given one further down.
    pub fn add_alone(&mut self, path: &Path, text: &str) {
        let mut first = Self::default();
        first.add(path, text);
        self.given.extend(first.given);
        self.add(path, text);
    }

    /// Gives a variable a value as if a file had it, in the last place.
    pub fn give(&mut self, variable: &'static Variable, value: String, place: String) {
        match values::check(variable, &value) {
            Ok(None) => {}
            Ok(Some(note)) => self.warn(&place, variable.name, &note),
            Err(mistake) => self.mistake(place.clone(), variable.name, mistake),
        }
        self.given.insert(variable.name, Given { value, place });
    }

    /// What a variable was given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// A mistake at a place, about a variable.
    pub fn mistake(&mut self, place: String, name: &str, message: impl fmt::Display) {
        if self.mistakes.len() < SAID_MAX {
            self.mistakes.push(Mistake {
                place,
                name: name.to_owned(),
                message: message.to_string(),
            });
        }
    }

    /// Something that is worth a warning.
    pub fn warn(&mut self, place: &str, name: &str, text: &str) {
        self.note(Weight::Warning, place, name, text);
    }

    /// Something that is worth a line.
    pub fn inform(&mut self, place: &str, name: &str, text: &str) {
        self.note(Weight::Information, place, name, text);
    }

    fn note(&mut self, weight: Weight, place: &str, name: &str, text: &str) {
        if self.notes.len() < SAID_MAX {
            let text = format!("{place}: {name}: {text}");
            self.notes.push(Note { weight, text });
        }
    }

    fn line(&mut self, line: &str, place: String) {
        if line.len() > LINE_BYTES_MAX {
            let message = format!(
                "longer than {LINE_BYTES_MAX} bytes: fwknopd reads the rest as another line"
            );
            return self.mistake(place, "", message);
        }
        let text = line.trim_start_matches([' ', '\t']);
        if line.starts_with(['#', ';', '\0']) || text.is_empty() || text.starts_with('#') {
            return;
        }
        let (name, rest) = match text.split_once([' ', '\t']) {
            Some((name, rest)) => (name, rest.trim_start_matches([' ', '\t'])),
            None => (text, ""),
        };
        let (value, after) = match rest.split_once(';') {
            Some((value, after)) => (value, Some(after.trim())),
            None => (rest, None),
        };
        let Some(variable) = variables::of_name(name) else {
            return self.unknown(name, &place);
        };
        let value = value.trim_end();
        if value.is_empty() {
            return self.warn(&place, name, "has no value; the line is passed over");
        }
        if let Some(after) = after.filter(|after| !after.is_empty() && !after.starts_with('#')) {
            let text = format!("what stands behind the `;` is not read: {}", brief(after));
            self.warn(&place, name, &text);
        }
        match self.expanded(value) {
            Ok(value) => match values::shape(&value, after.is_some()) {
                Ok(()) => self.give(variable, value, place),
                Err(mistake) => self.mistake(place, name, mistake),
            },
            Err(missing) => {
                let text = format!(
                    "${missing} has no value above this line; the line is passed over, as with fwknopd"
                );
                self.warn(&place, name, &text);
            }
        }
    }

    fn unknown(&mut self, name: &str, place: &str) {
        let bare = name.trim_end_matches([':', ';', '=']);
        let text = match variables::of_name(bare) {
            Some(_) if bare != name => format!(
                "fwknopd knows no `{name}`: blanks stand between a name and its value; passed over"
            ),
            Some(_) | None => {
                let near = variables::did_you_mean(bare);
                format!("no variable of fwknopd; passed over{near}")
            }
        };
        self.warn(place, &brief(name), &text);
    }

    /// The value with what stands in the place of a variable at its beginning, or the name of that
    /// which has no value.
    fn expanded(&self, value: &str) -> Result<String, String> {
        let Some(rest) = value.strip_prefix('$') else {
            return Ok(value.to_owned());
        };
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if name.is_empty() {
            return Ok(value.to_owned());
        }
        match self.given.get(name) {
            Some(given) => Ok(format!("{}{rest}", given.value)),
            None => Err(name.to_owned()),
        }
    }
}

/// A name or value that nobody knows, for a line of the log: short, and without what moves a
/// cursor. It may be a key that slipped into the wrong file, so most of it is left out.
fn brief(text: &str) -> String {
    const SHOWN: usize = 30;
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if text.chars().nth(SHOWN).is_some() {
        ".."
    } else {
        ""
    };
    format!("{}{more}", printable(&shown))
}

/// Who can write such a file opens this host, so that only trusted hands can have written one that is
/// read.
fn text_of(path: &Path) -> io::Result<Zeroizing<String>> {
    trusted::read(path, FILE_BYTES_MAX)?.legacy_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reading {
        let mut reading = Reading::default();
        reading.add(Path::new("f"), text);
        reading
    }

    fn value(text: &str, name: &str) -> Option<String> {
        let reading = read(text);
        assert_eq!(reading.mistakes, Vec::new(), "{text:?}");
        reading.get(name).map(|given| given.value.clone())
    }

    #[test]
    fn a_line_is_a_name_blanks_and_a_value_up_to_its_semicolon_or_end() {
        for text in [
            "PCAP_INTF eth1;",
            "PCAP_INTF eth1",
            "PCAP_INTF\teth1;",
            "  PCAP_INTF   eth1 ; # ours",
            "PCAP_INTF eth1;\r\n",
            "PCAP_INTF eth1\r\n",
            "PCAP_INTF eth0;\nPCAP_INTF eth1;",
            "# PCAP_INTF eth0;\n;PCAP_INTF eth0;\nPCAP_INTF eth1;\n  # PCAP_INTF eth0;",
        ] {
            assert_eq!(
                value(text, "PCAP_INTF").as_deref(),
                Some("eth1"),
                "{text:?}"
            );
        }
        assert_eq!(
            value("PCAP_FILTER tcp port 80  or udp;", "PCAP_FILTER").as_deref(),
            Some("tcp port 80  or udp")
        );
    }

    #[test]
    fn what_fwknopd_passes_over_is_passed_over_with_a_word() {
        for (text, said) in [
            ("PCAP_INTF: eth1;", "fwknopd knows no `PCAP_INTF:`"),
            (
                "pcap_intf eth1;",
                "f:1: pcap_intf: no variable of fwknopd; passed over; did you mean PCAP_INTF?",
            ),
            ("PCAP_INTF;", "fwknopd knows no `PCAP_INTF;`"),
            ("PCAP_INTF ;", "f:1: PCAP_INTF: has no value"),
            ("MAX_SPA_PACKET_AGEE 7;", "did you mean MAX_SPA_PACKET_AGE?"),
            (
                "GPG_EXE $NOPE/x;",
                "f:1: GPG_EXE: $NOPE has no value above this line",
            ),
            (
                "PCAP_INTF eth1; PCAP_FILTER x;",
                "behind the `;` is not read: PCAP_FILTER x;",
            ),
        ] {
            let reading = read(text);

            assert_eq!(reading.mistakes, Vec::new(), "{text}");
            let notes: Vec<_> = reading.notes.iter().map(|note| &note.text).collect();
            assert!(
                notes.iter().any(|note| note.contains(said)),
                "{text}: {notes:?}"
            );
        }
    }

    #[test]
    fn a_variable_at_the_beginning_of_a_value_stands_for_what_it_was_given_before() {
        let text = "FWKNOP_RUN_DIR /x;\nFWKNOP_PID_FILE $FWKNOP_RUN_DIR/p;\n\
                    DIGEST_FILE /a/$FWKNOP_RUN_DIR/d;\nSYSLOG_IDENTITY $FWKNOP_RUN_DIR-y;\n";

        assert_eq!(value(text, "FWKNOP_PID_FILE").as_deref(), Some("/x/p"));
        assert_eq!(
            value(text, "DIGEST_FILE").as_deref(),
            Some("/a/$FWKNOP_RUN_DIR/d")
        );
        assert_eq!(value(text, "SYSLOG_IDENTITY").as_deref(), Some("/x-y"));
        // The default of a variable is no value that it was given.
        assert_eq!(value("GPG_EXE $FWKNOP_CONF_DIR/x;", "GPG_EXE"), None);
        // Of one file, also what stands further down; as far as twice reading it goes.
        let mut alone = Reading::default();
        let text = "LOCALE $GPG_EXE;\nGPG_EXE $PCAP_INTF;\nPCAP_INTF x;\n";
        alone.add_alone(Path::new("f"), text);
        assert_eq!(alone.get("GPG_EXE").unwrap().value, "x");
        assert_eq!(alone.get("LOCALE"), None);
    }

    #[test]
    fn what_nobody_can_have_meant_is_a_mistake_with_file_line_and_variable() {
        for (text, mistake) in [
            ("PCAP_INTF = eth1;", "f:1: PCAP_INTF: `=`"),
            ("PCAP_INTF \"eth1\";", "f:1: PCAP_INTF: quotes"),
            ("\nPCAP_INTF eth1 # ours", "f:2: PCAP_INTF: no `;`"),
            (
                "MAX_SPA_PACKET_AGE 0;",
                "f:1: MAX_SPA_PACKET_AGE: 0 is not 1 to 100000",
            ),
            (
                "MAX_SPA_PACKET_AGE x;",
                "f:1: MAX_SPA_PACKET_AGE: `x` is no number",
            ),
            (
                "SYSLOG_FACILITY LOG_KERN;",
                "f:1: SYSLOG_FACILITY: `LOG_KERN` is none of",
            ),
            (
                "IPT_INPUT_ACCESS ACCEPT, filter;",
                "f:1: IPT_INPUT_ACCESS: not six fields",
            ),
        ] {
            let told: Vec<_> = read(text)
                .mistakes
                .iter()
                .map(ToString::to_string)
                .collect();

            assert!(told.concat().starts_with(mistake), "{text}: {told:?}");
        }
        let long = format!("SYSLOG_IDENTITY {};", "y".repeat(1_100));
        assert_eq!(read(&long).mistakes.len(), 1);
    }

    #[test]
    fn a_key_that_slipped_into_the_file_is_not_in_the_log() {
        let key = "wB0nrhRgdC1Hr5lJ7TnIBu0Ca5Z1Zr4AkmRB0uW2BRA";
        for text in [format!("{key} x"), format!("PCAP_INTF eth0; {key}")] {
            let notes: String = read(&text).notes.iter().map(|n| n.text.clone()).collect();
            assert!(!notes.contains(key), "{notes}");
        }
    }

    #[test]
    fn a_file_that_was_written_on_windows_says_what_it_says_and_utf_16_is_refused() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("fwknopd.conf");
        std::fs::write(&path, b"\xef\xbb\xbfPCAP_INTF lo;\r\nVERBOSE 1\r\n").unwrap();
        let reading = Files::of(&path).read().unwrap();
        assert_eq!(reading.get("PCAP_INTF").unwrap().value, "lo");
        assert_eq!(reading.get("VERBOSE").unwrap().value, "1");
        assert_eq!((reading.notes, reading.mistakes), (Vec::new(), Vec::new()));

        std::fs::write(&path, b"\xff\xfeP\0C\0").unwrap();
        let refused = Files::of(&path).read().unwrap_err();
        let said = program::one_line(&refused).to_string();
        assert!(said.contains("UTF-16"), "{said}");
    }

    #[test]
    fn files_laid_over_the_first_win_in_their_order() {
        let files = Files::of("a").with_overrides(["b,c".to_owned(), "d".to_owned()]);
        let names: Vec<_> = files
            .overrides
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        assert_eq!(names, ["b", "c", "d"]);

        let mut reading = read("PCAP_INTF a;\nVERBOSE 1;");
        reading.add(Path::new("g"), "PCAP_INTF b;\nSYSLOG_IDENTITY $VERBOSE;");
        assert_eq!(reading.get("PCAP_INTF").unwrap().value, "b");
        assert_eq!(reading.get("PCAP_INTF").unwrap().place, "g:1");
        assert_eq!(reading.get("SYSLOG_IDENTITY").unwrap().value, "1");
    }
}
