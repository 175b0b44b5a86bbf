//! Includes: other files in the place of a line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::dialect::Dialect;
use crate::keyword::{Keyword, Word};
use crate::lexer::{self, Lexed};
use crate::mistake::Place;
use crate::network::shortened;
use crate::parse::Parser;
use crate::parse::draft::Draft;
use crate::problem::Problem;

/// How deep includes may be nested, as in fwknop.
const DEPTH_MAX: usize = 3;
/// How many files one policy may include in all: a folder that includes itself grows fast.
const FILES_MAX: usize = 10_000;

impl Parser<'_> {
    /// `%include FILE`: whole stanzas. The including stanza goes on behind it.
    pub(super) fn include(&mut self, value: &str, at: &Place) -> Result<(), Problem> {
        let (path, text) = self.find(value, Keyword::Include, at, Self::read)?;
        self.include_stanzas(path, &text)
    }

    /// `%include_folder DIR`: every `*.conf`, by name.
    pub(super) fn include_folder(&mut self, value: &str, at: &Place) -> Result<(), Problem> {
        let list = |parser: &mut Self, folder: &Path| {
            let listed = parser.includes.list_conf(folder);
            listed.map_err(|error| unreadable(folder, &error))
        };
        let (_, mut paths) = self.find(value, Keyword::IncludeFolder, at, list)?;
        paths.sort();
        paths.into_iter().try_for_each(|path| {
            let text = self.read(&path)?;
            self.include_stanzas(path, &text)
        })
    }

    /// `%include_keys FILE`: keys for the stanza in which it is the last line.
    pub(super) fn include_keys(&mut self, value: &str, at: &Place) -> Result<(), Problem> {
        let Some(mut draft) = self.draft.take() else {
            return Err(Problem::new("the line stands outside of a stanza"));
        };
        if draft.is_closed {
            self.draft = Some(draft);
            return Err(Problem::new("the stanza has this keyword already"));
        }
        let read = self.find(value, Keyword::IncludeKeys, at, Self::read);
        if let Ok((path, text)) = &read {
            self.key_lines(path, text, &mut draft);
        }
        draft.is_closed = true;
        self.draft = Some(draft);
        read.map(drop)
    }

    fn include_stanzas(&mut self, path: PathBuf, text: &str) -> Result<(), Problem> {
        if self.open.len() > DEPTH_MAX {
            return Err(Problem::new(format!(
                "includes are nested more than {DEPTH_MAX} deep"
            )));
        }
        if self.open.contains(&path) {
            return Err(Problem::new(format!("{} includes itself", path.display())));
        }
        let outer = self.draft.take();
        self.text(&name(&path), text);
        self.draft = outer;
        Ok(())
    }

    fn key_lines(&mut self, path: &Path, text: &str, draft: &mut Draft) {
        let file = name(path);
        self.files.push(Arc::clone(&file));
        for line in lexer::lines(text) {
            let line = match line {
                Ok(Lexed::Line(line)) => line,
                Ok(Lexed::Marker(_)) => continue,
                Err((number, problem)) => {
                    self.mistake(&Place::of(&file, number), None, problem);
                    continue;
                }
            };
            let at = Place::of(&file, line.number);
            let taken = match Word::of(line.keyword) {
                Word::Enforced(keyword) if is_key(keyword) && !line.value.is_empty() => {
                    draft.line(keyword, line.value, at.clone())
                }
                Word::Enforced(keyword) if is_key(keyword) => {
                    Err(Problem::new("the keyword has no value"))
                }
                Word::Enforced(_) => Err(Problem::new("only keys stand in such a file")),
                Word::Harmless => Ok(()),
                Word::Former { .. } => Err(Problem::new("only keys stand in such a file")),
                Word::Unknown => {
                    self.unknown(&at, &line);
                    continue;
                }
            };
            if let Err(problem) = taken {
                self.mistake(&at, Some(line.keyword), problem);
            }
        }
    }

    fn read(&mut self, path: &Path) -> Result<Zeroizing<String>, Problem> {
        if self.policy.included.len() >= FILES_MAX {
            return Err(Problem::new(format!(
                "the policy includes more than {FILES_MAX} files"
            )));
        }
        let text = self
            .includes
            .read(path)
            .map_err(|error| unreadable(path, &error))?;
        self.policy.included.push(path.to_owned());
        Ok(text)
    }

    /// Takes a relative path from the folder of the file that names it. In fwknop's dialect, where
    /// there is none, from the working directory, as fwknop takes all of them; that is said.
    fn find<T>(
        &mut self,
        value: &str,
        keyword: Keyword,
        at: &Place,
        take: impl Fn(&mut Self, &Path) -> Result<T, Problem>,
    ) -> Result<(PathBuf, T), Problem> {
        let folder = self.open.last().and_then(|file| file.parent());
        let path = folder.map_or_else(|| PathBuf::from(value), |folder| folder.join(value));
        let given = PathBuf::from(value);
        let problem = match take(self, &path) {
            Ok(taken) => return Ok((path, taken)),
            Err(problem) => problem,
        };
        if self.dialect != Dialect::Alone || given == path {
            return Err(problem);
        }
        let Ok(taken) = take(self, &given) else {
            return Err(problem.hint("there is none in the working directory either"));
        };
        let doubt = Problem::new(
            "taken from the working directory, as by fwknop: there is none beside this file",
        );
        let doubt = doubt.hint("a path that begins with `/` means the same wherever it is read");
        self.warning(at, keyword.name(), doubt);
        Ok((given, taken))
    }
}

const fn is_key(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::Key
            | Keyword::KeyBase64
            | Keyword::HmacKey
            | Keyword::HmacKeyBase64
            | Keyword::HmacDigestType
            | Keyword::EncryptionMode
    )
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn unreadable(path: &Path, error: &crate::ReadError) -> Problem {
    let path = shortened(&path.to_string_lossy());
    Problem::new(format!("cannot read {path}: {error}"))
}
