//! From text to a policy, with every mistake at once.
//!
//! # Stanzas
//!
//! A stanza begins at SOURCE or at NAME. A SOURCE belongs to the stanza that a NAME began, and a NAME
//! directly below the SOURCE of a stanza without one belongs to it. Outside of stanzas stand only
//! `%group`, includes, PROTECT and DATA_COLLECT_MODE. An included file holds whole stanzas; the
//! including stanza goes on behind the include, as in fwknop.
//!
//! # Stricter than fwknop
//!
//! fwknop logs and skips what it does not know. Here an unknown keyword, and one that this version
//! does not enforce, are mistakes: a rule about who gets in must not be something else than it looks
//! like. Of two lines of a keyword fwknop takes the last without a word; so does its dialect
//! ([`Dialect::Alone`]), and says so, and in our own texts the second is a mistake.

mod dates;
mod draft;
mod files;
mod gpg;
pub(crate) mod keys;
pub(crate) mod marker;
pub(crate) mod users;
mod values;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::dialect::Dialect;
use crate::keyword::{self, Keyword, Word};
use crate::lexer::{self, Lexed, Line};
use crate::lint;
use crate::mistake::{InvalidPolicy, MISTAKES_MAX, Mistake, Place};
use crate::parse::draft::{Draft, Finished};
use crate::parse::marker::Places;
use crate::parse::users::Users;
use crate::policy::Policy;
use crate::ports::PortSet;
use crate::problem::Problem;
use crate::source::Source;
use crate::test_line::TestDraft;

/// Reads a fleet's policy: [`parse_as`] with [`Dialect::Operator`].
///
/// # Errors
///
/// [`InvalidPolicy`] with every mistake in the text.
pub fn parse(file: &str, text: &str, includes: &dyn Source) -> Result<Policy, InvalidPolicy> {
    parse_as(Dialect::Operator, file, text, includes)
}

/// Reads a policy. `file` is its name in mistakes, and the place from which relative includes count.
///
/// # Errors
///
/// [`InvalidPolicy`] with every mistake in the text.
pub fn parse_as(
    dialect: Dialect,
    file: &str,
    text: &str,
    includes: &dyn Source,
) -> Result<Policy, InvalidPolicy> {
    let mut parser = Parser::new(dialect, includes);
    parser.text(&file.into(), text);
    parser.finish()
}

/// A policy as far as it has been read.
struct Parser<'s> {
    dialect: Dialect,
    /// The zone in which dates are read: fwknop's are local, those of a fleet mean one moment.
    zone: TimeZone,
    includes: &'s dyn Source,
    policy: Policy,
    users: Users,
    draft: Option<Draft>,
    finished: Vec<Finished>,
    tests: Vec<TestDraft>,
    stanza_count: u32,
    names: HashMap<Arc<str>, Place>,
    mistakes: Vec<Mistake>,
    /// The files that are being read, from the first to the innermost include.
    open: Vec<PathBuf>,
    /// The names of all files, in the order of their reading.
    files: Vec<Arc<str>>,
}

impl<'s> Parser<'s> {
    fn new(dialect: Dialect, includes: &'s dyn Source) -> Self {
        let zone = match dialect {
            Dialect::Alone => includes.time_zone(),
            Dialect::Operator | Dialect::Compiled => TimeZone::UTC,
        };
        Self {
            dialect,
            zone,
            includes,
            policy: Policy::default(),
            users: Users::default(),
            draft: None,
            finished: Vec::new(),
            tests: Vec::new(),
            stanza_count: 0,
            names: HashMap::new(),
            mistakes: Vec::new(),
            open: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Reads one file: whole stanzas.
    fn text(&mut self, file: &Arc<str>, text: &str) {
        self.open.push(PathBuf::from(&**file));
        self.files.push(Arc::clone(file));
        let mut places = Places::new(self.dialect, file);
        for line in lexer::lines(text) {
            if self.mistakes.len() >= MISTAKES_MAX {
                break;
            }
            match line {
                Ok(Lexed::Line(line)) => self.line(places.of(line.number), &line),
                Ok(Lexed::Marker(value)) => places.mark(value),
                Err((number, problem)) => self.mistake(&places.of(number), None, problem),
            }
        }
        self.end_stanza();
        self.open.pop();
    }

    fn line(&mut self, at: Place, line: &Line<'_>) {
        let keyword = match Word::of(line.keyword) {
            Word::Enforced(keyword) => keyword,
            Word::Harmless => {
                let problem = Problem::new("the line has no effect");
                return self.warning(&at, line.keyword, problem);
            }
            Word::Former { may_be_off } => return self.former(&at, line, may_be_off),
            Word::Unknown => return self.unknown(&at, line),
        };
        let taken = if line.value.trim().is_empty() {
            Err(Problem::new("the keyword has no value"))
        } else if let Some(problem) = self.blank_at_end(&at, line) {
            Err(problem)
        } else {
            self.keyword(keyword, line.value, at.clone())
        };
        if let Err(problem) = taken {
            self.mistake(&at, Some(line.keyword), problem);
        }
    }

    /// What stands between a passphrase and its `;` is a part of the key for fwknop, and nobody who
    /// reads the line sees it: its dialect takes it so, and says so; elsewhere it is a mistake.
    fn blank_at_end(&mut self, at: &Place, line: &Line<'_>) -> Option<Problem> {
        if !line.value.ends_with(char::is_whitespace) {
            return None;
        }
        let problem = Problem::new("the blank in front of `;` is a part of the key, as for fwknop");
        let problem = problem.hint("leave the `;` out, or write the key in base64");
        if self.dialect != Dialect::Alone {
            return Some(problem);
        }
        self.warning(at, line.keyword, problem);
        None
    }

    /// A word of fwknop 1.x.
    fn former(&mut self, at: &Place, line: &Line<'_>, may_be_off: bool) {
        if may_be_off && line.value.starts_with(['n', 'N']) {
            let problem =
                Problem::new("the line has no effect: a switch of fwknop 1.x that is off");
            return self.warning(at, line.keyword, problem);
        }
        let problem =
            Problem::new("fwknop 1.x had it; no fwknop 2 enforces it, nor does this program");
        let problem = problem.hint("remove the line if the stanza is right without it");
        self.mistake(at, Some(line.keyword), problem);
    }

    fn keyword(&mut self, keyword: Keyword, value: &str, at: Place) -> Result<(), Problem> {
        self.check_dialect(keyword)?;
        match keyword {
            Keyword::Group => self.group(value, at),
            Keyword::Test => self.test(value, at),
            Keyword::Include => self.include(value, &at),
            Keyword::IncludeFolder => self.include_folder(value, &at),
            Keyword::IncludeKeys => self.include_keys(value, &at),
            Keyword::DataCollectMode => self.collect_mode(value),
            Keyword::Protect if self.draft.is_none() => self.protect(value),
            Keyword::AccessExpire
            | Keyword::AccessExpireEpoch
            | Keyword::CmdCycleClose
            | Keyword::CmdCycleOpen
            | Keyword::CmdCycleTimer
            | Keyword::CmdExecGroup
            | Keyword::CmdExecUser
            | Keyword::CmdSudoExecGroup
            | Keyword::CmdSudoExecUser
            | Keyword::Destination
            | Keyword::DisableDnat
            | Keyword::EnableCmdExec
            | Keyword::EnableCmdSudoExec
            | Keyword::EncryptionMode
            | Keyword::ForceMasquerade
            | Keyword::ForceNat
            | Keyword::ForceSnat
            | Keyword::ForwardAll
            | Keyword::FwAccessTimeout
            | Keyword::GpgAllowNoPw
            | Keyword::GpgDecryptId
            | Keyword::GpgDecryptPw
            | Keyword::GpgDisableSig
            | Keyword::GpgExe
            | Keyword::GpgFingerprintId
            | Keyword::GpgHomeDir
            | Keyword::GpgIgnoreSigVerifyError
            | Keyword::GpgRemoteId
            | Keyword::GpgRequireSig
            | Keyword::HmacDigestType
            | Keyword::HmacKey
            | Keyword::HmacKeyBase64
            | Keyword::Hosts
            | Keyword::Key
            | Keyword::KeyBase64
            | Keyword::KnockSequence
            | Keyword::MaxFwTimeout
            | Keyword::MoreKeysBase64
            | Keyword::Name
            | Keyword::NatAccess
            | Keyword::OnControllerLoss
            | Keyword::OpenPacketSource
            | Keyword::OpenPorts
            | Keyword::OpenPrefix
            | Keyword::OpenPrefix6
            | Keyword::Protect
            | Keyword::RequireOs
            | Keyword::RequireOsRegex
            | Keyword::RequireSourceAddress
            | Keyword::RequireUsername
            | Keyword::RestrictPorts
            | Keyword::Source
            | Keyword::SpaServerPort
            | Keyword::UserPublicKey => self.stanza_line(keyword, value, at),
        }
    }

    /// Refuses what has no place in this kind of text.
    fn check_dialect(&self, keyword: Keyword) -> Result<(), Problem> {
        let belongs = match self.dialect {
            Dialect::Operator => keyword != Keyword::UserPublicKey,
            Dialect::Alone => !matches!(
                keyword,
                Keyword::UserPublicKey | Keyword::Hosts | Keyword::Test
            ),
            Dialect::Compiled => !matches!(
                keyword,
                Keyword::Group
                    | Keyword::Test
                    | Keyword::Hosts
                    | Keyword::Include
                    | Keyword::IncludeFolder
                    | Keyword::IncludeKeys
            ),
        };
        if belongs {
            return Ok(());
        }
        Err(Problem::new(match self.dialect {
            Dialect::Operator => "the keyword stands only in what the controller compiles",
            Dialect::Alone => "the keyword needs a controller",
            Dialect::Compiled => "the keyword cannot stand in a compiled policy",
        }))
    }

    fn stanza_line(&mut self, keyword: Keyword, value: &str, at: Place) -> Result<(), Problem> {
        if self
            .draft
            .as_ref()
            .is_some_and(|draft| draft.ends_before(keyword))
        {
            self.end_stanza();
        }
        if self.draft.is_none() && matches!(keyword, Keyword::Source | Keyword::Name) {
            self.stanza_count += 1;
            let zone = self.zone.clone();
            let draft = Draft::new(self.stanza_count, at.clone(), self.dialect, zone);
            self.draft = Some(draft);
        }
        let Some(draft) = &mut self.draft else {
            return Err(Problem::new("the line stands outside of a stanza")
                .hint("a stanza begins with SOURCE or NAME"));
        };
        if draft.is_closed {
            return Err(Problem::new("the line stands behind %include_keys")
                .hint("%include_keys is the last line of its stanza"));
        }
        draft.line(keyword, value, at.clone())?;
        if keyword == Keyword::Name {
            return self.note_name(at);
        }
        Ok(())
    }

    /// In a compiled policy the stanzas of all users of one stanza share its name.
    fn note_name(&mut self, at: Place) -> Result<(), Problem> {
        let Some(name) = self.draft.as_ref().and_then(Draft::name) else {
            return Ok(());
        };
        if self.dialect == Dialect::Compiled {
            return Ok(());
        }
        match self.names.insert(Arc::clone(name), at) {
            None => Ok(()),
            Some(Place { file, line }) => Err(Problem::new(format!(
                "the name `{name}` is taken by the stanza at {file}:{line}"
            ))),
        }
    }

    fn protect(&mut self, value: &str) -> Result<(), Problem> {
        let more = PortSet::parse(value).map_err(|error| Problem::new(error.to_string()))?;
        let ports = self.policy.protect.iter().chain(more.iter());
        self.policy.protect = ports.collect();
        Ok(())
    }

    /// Groups may stand behind their use, so the rest is read when all lines are.
    fn test(&mut self, value: &str, at: Place) -> Result<(), Problem> {
        self.tests.push(TestDraft::parse(value, at)?);
        Ok(())
    }

    fn collect_mode(&mut self, value: &str) -> Result<(), Problem> {
        let mode = values::collect_mode(value)?;
        match self.policy.collect_mode.replace(mode) {
            Some(other) if other != mode => {
                Err(Problem::new(format!("another line says {}", other.name())))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn end_stanza(&mut self) {
        if let Some(draft) = self.draft.take() {
            let gpg_home = self.includes.gpg_home();
            self.finished.push(draft.finish(&gpg_home));
        }
    }

    /// An unknown word is repeated only when it looks like a keyword: it may be a key that slipped
    /// into a line of its own, where nothing stands behind it.
    fn unknown(&mut self, at: &Place, line: &Line<'_>) {
        let word = line.keyword;
        let near = keyword::nearest(word);
        let has_form = !line.value.is_empty() || word.trim_start_matches('%').contains('_');
        let looks_like_one = word.len() <= 40
            && has_form
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b"_%".contains(&b));
        let shown = (near.is_some() || looks_like_one).then_some(word);
        let problem = match shown {
            Some(_) => Problem::new("unknown keyword"),
            None => Problem::new("the line does not begin with a known keyword"),
        };
        let problem = match near {
            Some(near) => problem.hint(format!("did you mean {near}?")),
            None => problem,
        };
        self.mistake(at, shown, problem);
    }

    fn warning(&mut self, at: &Place, keyword: &str, problem: Problem) {
        let warning = Mistake::at(at, Some(keyword), problem);
        self.policy.warnings.push(warning);
    }

    fn group(&mut self, value: &str, at: Place) -> Result<(), Problem> {
        let doubt = value
            .split_once(char::is_whitespace)
            .and_then(|(_, list)| users::blank_in(list));
        if let Some(problem) = doubt {
            self.warning(&at, Keyword::Group.name(), problem);
        }
        self.users.define(value, at)
    }

    fn mistake(&mut self, at: &Place, keyword: Option<&str>, problem: Problem) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(Mistake::at(at, keyword, problem));
        }
    }

    /// Resolves the users, puts everything in its order, and looks at the whole.
    fn finish(mut self) -> Result<Policy, InvalidPolicy> {
        // A stanza that goes on behind an include ends after those it includes.
        let mut finished = std::mem::take(&mut self.finished);
        finished.sort_by_key(|finished| finished.stanza.number);
        self.policy.stanzas.reserve_exact(finished.len());
        self.policy.origins.reserve_exact(finished.len());
        for finished in finished {
            self.add_stanza(finished);
        }
        for draft in std::mem::take(&mut self.tests) {
            let at = draft.at.clone();
            match draft.finish(|list| self.users.resolve(list)) {
                Ok(test) => self.policy.tests.push(test),
                Err(problem) => self.mistake(&at, Some(Keyword::Test.name()), problem),
            }
        }
        if let Some(file) = self.files.first()
            && self.dialect == Dialect::Alone
            && self.policy.stanzas.is_empty()
        {
            let problem = Problem::new("there is no stanza: nothing will ever open");
            let warning = Mistake::at(&Place::of(file, 0), None, problem);
            self.policy.warnings.push(warning);
        }
        if !self.mistakes.is_empty() {
            let mistakes = in_order(self.mistakes, &self.files);
            return Err(InvalidPolicy { mistakes });
        }

        let mut policy = self.policy;
        let groups = self.users.into_groups();
        policy.groups = groups.users;
        policy.group_origins = groups.origins;
        policy.used_groups = groups.used;
        policy.warnings = in_order(policy.warnings, &self.files);
        policy.notes = in_order(policy.notes, &self.files);
        Ok(policy)
    }

    fn add_stanza(&mut self, mut finished: Finished) {
        let problems = std::mem::take(&mut finished.problems);
        self.policy.accounts.append(&mut finished.accounts);
        for (at, keyword, problem) in problems {
            self.mistake(&at, Some(keyword.name()), problem);
        }
        if let Some((at, list)) = finished.usernames.take() {
            match self.users.resolve(&list) {
                Ok(users) => finished.stanza.require_username = users,
                Err(problem) => self.mistake(&at, Some(Keyword::RequireUsername.name()), problem),
            }
        }
        for (keyword, problem) in lint::stanza(self.dialect, &finished.stanza) {
            self.warning(&finished.place(keyword), keyword.name(), problem);
        }
        for (at, keyword, problem) in std::mem::take(&mut finished.warnings) {
            self.warning(&at, keyword.name(), problem);
        }
        for (at, keyword, problem) in std::mem::take(&mut finished.notes) {
            let note = Mistake::at(&at, Some(keyword.name()), problem);
            self.policy.notes.push(note);
        }
        self.policy.stanzas.push(finished.stanza);
        self.policy.origins.push(finished.at);
    }
}

/// Sorts by file, in the order of their reading, and line.
fn in_order(mut mistakes: Vec<Mistake>, files: &[Arc<str>]) -> Vec<Mistake> {
    let rank: HashMap<&str, usize> = files
        .iter()
        .enumerate()
        .rev()
        .map(|(rank, file)| (&**file, rank))
        .collect();
    mistakes.sort_by_key(|mistake| (rank.get(&*mistake.file).copied(), mistake.line));
    mistakes
}
