//! An export of the log: one JSON object a line, with everything that an outsider needs.
//!
//! | line | is |
//! |---|---|
//! | `{"header":…}` | first: whose log it is, how many records it has, the key that signs it, and how that one followed others |
//! | `{"row":…}` | a record, as bytes (base64), with its chain values (hexadecimal) |
//! | `{"checkpoint":…}` | a signed note over the rows before it |
//! | `{"end":…}` | last: a file without it is not whole |

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet::audit::{AuditKey, LogRow};
use fleet::event::EventRecord;
use fleet::wire::LogBegin;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::error::{CommandError, Result};

/// The form of the file: of a log with one key,
const FORM: u32 = 1;
/// and of one that had others before, which programs that know only the first form would take for a forgery.
const FORM_WITH_SUCCESSIONS: u32 = 2;
/// A line that is longer than this is none, bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Rows that are read at once.
const ROWS_MAX: usize = 1_000;

/// A line of an export. The names are part of the interface.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Header(Header),
    Row(Row),
    Checkpoint(String),
    End(End),
}

/// See [`Line`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The form of the file.
    postern_log: u32,
    fleet: String,
    audit_key: String,
    /// How that key followed those before it, the oldest first: signed notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    successions: Vec<String>,
    records: u64,
    exported_at: String,
}

/// See [`Line`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: u64,
    host: String,
    epoch: String,
    journal: u64,
    seq: u64,
    /// A serialized `postern.v1.Event`, base64; of what retention has emptied, its SHA-256.
    body: String,
    chain: String,
    chain_version: u32,
    stored_at_ms: u64,
    #[serde(default)]
    flaw: String,
    log_chain: String,
    log_version: u32,
    #[serde(default)]
    pruned_by: u64,
    /// What the controller found wrong with the columns that the row is searched by.
    #[serde(default)]
    index_fault: String,
}

/// See [`Line`].
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
}

/// An export that is written: under its name only when it is whole.
#[derive(Debug)]
pub(in crate::commands::audit) struct Export {
    path: PathBuf,
    draft: PathBuf,
    file: BufWriter<File>,
    records: u64,
}

/// An export that is read.
#[derive(Debug)]
pub(in crate::commands::audit) struct ExportReader {
    path: PathBuf,
    lines: BufReader<File>,
    number: usize,
    /// As the header says.
    announced: u64,
    records: u64,
    /// The number of the record that was read last, and of the first that was not there before it.
    last: u64,
    missing: Option<u64>,
    is_over: bool,
}

// === impl Export ===

impl Export {
    /// A new file (mode 0600).
    ///
    /// # Errors
    ///
    /// When it is there already, or cannot be written.
    pub(in crate::commands::audit) fn create(
        path: &Path,
        begin: &LogBegin,
        at: String,
    ) -> Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        if path.symlink_metadata().is_ok() {
            let name = path.display();
            return Err(CommandError::refused(format!(
                "{name} is there already; nothing was written"
            )));
        }
        let failed =
            |cause| CommandError::failed(format!("cannot write {}", draft.display()), cause);
        program::files::replace(&draft, 0o600, b"").map_err(failed)?;
        let file = File::options().write(true).open(&draft).map_err(failed)?;
        let mut export = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            draft,
            records: 0,
        };
        export.line(&Line::Header(Header {
            postern_log: if begin.successions.is_empty() {
                FORM
            } else {
                FORM_WITH_SUCCESSIONS
            },
            fleet: begin.fleet.clone(),
            audit_key: begin.audit_key.clone(),
            successions: begin.successions.clone(),
            records: begin.records,
            exported_at: at,
        }))?;
        Ok(export)
    }

    /// What comes next.
    pub(in crate::commands::audit) fn part(&mut self, part: Part) -> Result {
        let notes = part.notes.into_iter();
        let mut notes = notes.map(|note| (covered(&note), note)).peekable();
        for row in part.rows {
            self.records += 1;
            let id = row.id;
            self.line(&Line::Row(Row::of(row)))?;
            // Right behind what it covers: whoever reads it compares it there.
            while let Some((_, note)) = notes.next_if(|(size, _)| *size <= id) {
                self.line(&Line::Checkpoint(note))?;
            }
        }
        for (_, note) in notes {
            self.line(&Line::Checkpoint(note))?;
        }
        Ok(())
    }

    /// Writes the end, and gives the file its name. How many records it has.
    pub(in crate::commands::audit) fn finish(mut self) -> Result<u64> {
        let records = self.records;
        self.line(&Line::End(End { records }))?;
        let path = self.path.clone();
        let failed =
            |cause| CommandError::failed(format!("cannot write {}", path.display()), cause);
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        std::fs::rename(&self.draft, &path).map_err(failed)?;
        Ok(records)
    }

    fn line(&mut self, line: &Line) -> Result {
        let failed = |cause: std::io::Error| {
            CommandError::failed(format!("cannot write {}", self.draft.display()), cause)
        };
        let text = serde_json::to_string(line).map_err(|cause| failed(cause.into()))?;
        writeln!(self.file, "{text}").map_err(failed)
    }
}

/// Half an export is none.
impl Drop for Export {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.draft);
    }
}

// === impl ExportReader ===

impl ExportReader {
    /// Opens an export, and says what it claims to be.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(in crate::commands::audit) fn open(path: &Path) -> Result<(LogBegin, Self)> {
        let file = program::files::open_named(path);
        let file = file.map_err(|cause| CommandError::unreadable(path, cause).unanswered())?;
        let mut reader = Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            number: 0,
            announced: 0,
            records: 0,
            last: 0,
            missing: None,
            is_over: false,
        };
        match reader.line()? {
            Some(Line::Header(header))
                if matches!(header.postern_log, FORM | FORM_WITH_SUCCESSIONS) =>
            {
                reader.announced = header.records;
                let key: Option<AuditKey> = header.audit_key.parse().ok();
                if key.is_some_and(|key| !key.is_of(&header.fleet)) {
                    return Err(reader.wrong(&format!(
                        "the header is another's: it says fleet {}, and its audit_key is of another log",
                        header.fleet
                    )));
                }
                let has_others = !header.successions.is_empty();
                if has_others != (header.postern_log == FORM_WITH_SUCCESSIONS) {
                    return Err(
                        reader.wrong("the header is another's: its form is not that of its keys")
                    );
                }
                if humantime::parse_rfc3339(&header.exported_at).is_err() {
                    return Err(reader.wrong("the header is another's: exported_at is no time"));
                }
                let begin = LogBegin {
                    fleet: header.fleet,
                    audit_key: header.audit_key,
                    successions: header.successions,
                    records: header.records,
                };
                Ok((begin, reader))
            }
            Some(Line::Header(header)) => {
                let form = header.postern_log;
                Err(reader.wrong(&format!(
                    "form {form} is of a later version of this program"
                )))
            }
            Some(Line::Row(_) | Line::Checkpoint(_) | Line::End(_)) | None => {
                Err(reader.wrong("it is no export of `postern audit export`: it has no header"))
            }
        }
    }

    /// The next part. After the last line of a file that is not whole, the end is missing.
    pub(in crate::commands::audit) fn next_part(&mut self) -> Result<Part> {
        let mut part = Part::default();
        while part.rows.len() < ROWS_MAX && part.notes.is_empty() {
            match self.line()? {
                Some(Line::Row(row)) => {
                    let row = row
                        .into_row()
                        .ok_or_else(|| self.wrong("not base64, or not hexadecimal"))?;
                    self.records += 1;
                    let next = self.last.saturating_add(1);
                    if row.id > next {
                        self.missing.get_or_insert(next);
                    }
                    self.last = row.id;
                    part.rows.push(row);
                }
                Some(Line::Checkpoint(note)) => part.notes.push(note),
                Some(Line::End(End { records })) if records == self.records => {
                    // Of one that lacks records the verdict names the first.
                    if self.announced != records && self.missing.is_none() {
                        let announced = self.announced;
                        return Err(self.wrong(&format!(
                            "the header (line 1) is another's: it says {announced} records, and there are {records}"
                        )));
                    }
                    if self.has_more()? {
                        return Err(
                            self.wrong("the export has ended, and this comes after its end")
                        );
                    }
                    self.is_over = true;
                    part.is_end = true;
                    return Ok(part);
                }
                Some(Line::End(End { records })) => {
                    let (read, next) = (self.records, self.last.saturating_add(1));
                    let first = match self.missing.unwrap_or(next) {
                        _ if read > records => String::new(),
                        first => format!(": record {first} is the first that is missing"),
                    };
                    return Err(self.wrong(&format!(
                        "it ends with {records} records and has {read}{first}"
                    )));
                }
                Some(Line::Header(_)) => return Err(self.wrong("a second header")),
                None => {
                    let read = self.records;
                    return Err(self.wrong(&format!(
                        "it breaks off after {read} records: the export is truncated"
                    )));
                }
            }
        }
        Ok(part)
    }

    /// Whether anything comes after what was read; then it is the line that is counted.
    fn has_more(&mut self) -> Result<bool> {
        let more = self.lines.fill_buf().map(|more| !more.is_empty());
        let more = more.map_err(|cause| CommandError::unreadable(&self.path, cause))?;
        self.number += usize::from(more);
        Ok(more)
    }

    fn line(&mut self) -> Result<Option<Line>> {
        let mut text = String::new();
        let read = self
            .lines
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_line(&mut text);
        let read = read.map_err(|cause| CommandError::unreadable(&self.path, cause))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = serde_json::from_str(&text);
        line.map(Some).map_err(|error| {
            let what = if text.ends_with('\n') {
                format!("it is no line of an export: {error}")
            } else {
                let read = self.records;
                format!("it breaks off after {read} records: the export is truncated")
            };
            self.wrong(&what)
        })
    }

    fn wrong(&self, what: &str) -> CommandError {
        let (path, line) = (self.path.display(), self.number.max(1));
        CommandError::refused(format!("{path}:{line}: {what}"))
    }
}

// === impl Row ===

impl Row {
    fn of(row: LogRow) -> Self {
        let record = row.record.unwrap_or_default();
        Self {
            id: row.id,
            host: row.host,
            epoch: row.epoch,
            journal: row.journal,
            seq: record.seq,
            body: STANDARD.encode(record.body),
            chain: hex::encode(&record.chain),
            chain_version: record.chain_version,
            stored_at_ms: row.stored_at_ms,
            flaw: row.flaw,
            log_chain: hex::encode(&row.log_chain),
            log_version: row.log_version,
            pruned_by: row.pruned_by,
            index_fault: row.index_fault,
        }
    }

    fn into_row(self) -> Option<LogRow> {
        Some(LogRow {
            id: self.id,
            host: self.host,
            epoch: self.epoch,
            journal: self.journal,
            record: Some(EventRecord {
                seq: self.seq,
                body: STANDARD.decode(self.body).ok()?,
                chain: hex::decode(&self.chain).ok()?,
                chain_version: self.chain_version,
            }),
            stored_at_ms: self.stored_at_ms,
            flaw: self.flaw,
            log_chain: hex::decode(&self.log_chain).ok()?,
            log_version: self.log_version,
            pruned_by: self.pruned_by,
            index_fault: self.index_fault,
        })
    }
}

/// How many records a note says that it covers; whether it does is for who verifies it.
fn covered(note: &str) -> u64 {
    let size = note.lines().nth(1);
    size.and_then(|size| size.parse().ok()).unwrap_or(u64::MAX)
}
