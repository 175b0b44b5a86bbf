//! Where the lines of a text come from, when it was made of several files.
//!
//! A client sends one text without includes. In front of each stanza of it stands a comment,
//! `#line 12 "conf.d/web.conf"`, so that whoever reads the text can name the line that an operator
//! wrote. Programs that do not know it see a comment.

use std::sync::Arc;

use crate::dialect::Dialect;
use crate::lexer::MARKER;
use crate::mistake::Place;

/// The longest name of a file in bytes.
const FILE_BYTES_MAX: usize = 4_096;

/// Turns numbers of lines into places.
pub(crate) struct Places<'f> {
    file: &'f Arc<str>,
    /// Where all lines stand until the next marker.
    marked: Option<Place>,
    /// Whether markers count: only what an operator writes is made of files.
    is_marked: bool,
}

// === impl Places ===

impl<'f> Places<'f> {
    pub(crate) fn new(dialect: Dialect, file: &'f Arc<str>) -> Self {
        let is_marked = match dialect {
            Dialect::Operator => true,
            Dialect::Compiled | Dialect::Alone => false,
        };
        Self {
            file,
            marked: None,
            is_marked,
        }
    }

    /// Takes what follows `#line`; what does not read so is a comment like others.
    pub(crate) fn mark(&mut self, value: &str) {
        if self.is_marked
            && let Some(place) = read(value)
        {
            self.marked = Some(place);
        }
    }

    /// Where line `number` of the text comes from.
    pub(crate) fn of(&self, number: u32) -> Place {
        let marked = self.marked.clone();
        marked.unwrap_or_else(|| Place::of(self.file, number))
    }
}

fn read(value: &str) -> Option<Place> {
    let (line, file) = value.split_once(' ')?;
    let file = file.strip_prefix('"')?.strip_suffix('"')?;
    let is_name = !file.is_empty()
        && file.len() <= FILE_BYTES_MAX
        && !file.contains(|c: char| c.is_control() || c == '"');
    let line = line.parse().ok()?;
    is_name.then(|| Place {
        file: file.into(),
        line,
    })
}

/// The comment for a place; `None` where its file has a name that cannot stand in one.
pub(crate) fn written(place: &Place) -> Option<String> {
    let text = format!("{} \"{}\"", place.line, place.file);
    read(&text).map(|_| format!("{MARKER}{text}"))
}
