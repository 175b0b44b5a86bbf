//! Packets from a capture file, also one that another program is still writing.
//!
//! The form is read by [`pcap_format`](super::pcap_format) and not by libpcap, which gives up at a
//! record that is only half written: the normal state of a file that is being followed.
//!
//! A file that loses its name to another one is read to its end, and left when the writer has begun
//! the other: until then it may still write to the first (logrotate makes the new file before it
//! tells the writer). A file that is cut or written anew is read from its beginning. Where a record
//! should be and is none, what follows is passed over up to the next one, and that is said. So no
//! record is handed on twice, and none is lost that was there to be read. Across starts the place is
//! kept by a bookmark.

mod bookmark;
mod reading;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gate::LinkType;
use nix::poll::{PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::frames::FrameFilter;
use super::{Arrival, Capture, CaptureError, Filter, backoff};

use bookmark::{Identity, Keeper, When};

/// Gives bytes to the reader of bookmarks.
pub(super) fn read_hostile_bookmark(bytes: &[u8]) {
    let _ = bookmark::of(bytes);
}
use reading::{Filled, Reading, Step};

/// While a file is followed, how often it is looked at though nobody says that it has changed (a
/// network file system cannot say so).
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a file is read from in one batch, half a megabyte at a time.
const FILLS_MAX: usize = 8;
/// Files that had the name and are not read to their end.
const FILES_MAX: usize = 16;

/// Reads a capture file; once, or for as long as it grows.
pub(super) struct FileCapture {
    path: PathBuf,
    name: String,
    filter: Filter,
    /// Tells of changes; only while following.
    watch: Option<Inotify>,
    /// Keeps the place across starts; only while following.
    keeper: Option<Keeper>,
    /// Those that had the name one after the other; the first is being read.
    files: VecDeque<Reading>,
    /// Why there is none.
    trouble: String,
    /// What has the name now is no file that could be read.
    usurped: Option<String>,
    failures: u32,
    next_look: Duration,
    /// What was handed on.
    frames: u64,
    seen: Seen,
}

/// What became of the file, how often.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    replaced: u64,
    cut: u64,
    damaged: u64,
}

// === impl FileCapture ===

impl FileCapture {
    /// Opens a capture file. With `follow`, it need not be there yet; what an earlier run has read of
    /// it, as `bookmark` says, is not read again.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when it cannot be read or is no capture file, or the filter is none.
    pub(super) fn open(
        path: &Path,
        filter: Filter,
        follow: bool,
        bookmark: Option<&Path>,
    ) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        let watch = follow.then(|| watch(path)).transpose();
        let mut capture = Self {
            path: path.to_owned(),
            filter,
            watch: watch.map_err(|cause| unreadable(&name, &cause))?,
            keeper: bookmark
                .filter(|_| follow)
                .map(|path| Keeper::open(path, &name)),
            files: VecDeque::new(),
            trouble: NOT_THERE.to_owned(),
            usurped: None,
            failures: 0,
            next_look: Duration::ZERO,
            frames: 0,
            seen: Seen::default(),
            name,
        };
        // A filter that is none is a mistake now, and not when the file comes.
        FrameFilter::compile(1, LinkType::Ethernet, &capture.filter)?;
        capture.find_what_was_left();
        match capture.begin() {
            Ok(()) => {}
            Err(CaptureError::File { .. }) if follow => {}
            Err(cause) => return Err(cause),
        }
        // Of a finished file nothing more comes that would say what its records are like.
        let first = capture.files.front().filter(|_| !follow);
        if let Some(reason) = first.and_then(Reading::damage) {
            let path = capture.name.clone();
            return Err(CaptureError::NotCapture { path, reason });
        }
        Ok(capture)
    }

    /// The file that an earlier run has read, if it lost its name to another one since: it stands
    /// beside that.
    fn find_what_was_left(&mut self) {
        let mark = self.keeper.as_ref().and_then(Keeper::kept);
        let named = std::fs::metadata(&self.path).map(|found| Identity::of(&found));
        let (Some(mark), Some(dir)) = (mark, self.path.parent()) else {
            return;
        };
        if named.is_ok_and(|named| named == mark.file) {
            return;
        }
        let beside = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let is_it = |entry: &std::fs::DirEntry| {
            entry
                .metadata()
                .is_ok_and(|found| Identity::of(&found) == mark.file)
        };
        let old = beside
            .filter(is_it)
            .find_map(|entry| Reading::open(&entry.path()).ok());
        if let Some(mut old) = old {
            old.resume(mark, &self.name, &self.filter);
            self.files.push_back(old);
        }
    }

    /// Opens the file from its beginning.
    fn begin(&mut self) -> Result<(), CaptureError> {
        let reading = Reading::open(&self.path);
        let mut reading = reading.map_err(|cause| unreadable(&self.name, &cause))?;
        if let Some(mark) = self.keeper.as_ref().and_then(Keeper::kept) {
            reading.resume(mark, &self.name, &self.filter);
        }
        let filled = reading.fill();
        let filled = filled.map_err(|cause| unreadable(&self.name, &cause))?;
        let mut step = Step::Short;
        if reading.is_at_beginning() && filled != Filled::Changed {
            step = reading.step(&self.name, &self.filter, &mut |_| {})?;
        }
        self.files.push_back(reading);
        self.note(step);
        Ok(())
    }

    /// Opens the file that has the name now, if that is another one.
    fn look_for_successor(&mut self) {
        let newest = self.files.back().map(Reading::identity);
        let found = std::fs::metadata(&self.path).map(|found| Identity::of(&found));
        let is_other = matches!((newest, found), (Some(newest), Ok(found)) if newest != found);
        if !is_other {
            self.usurped = None;
        } else if self.files.len() < FILES_MAX {
            match Reading::open(&self.path) {
                Ok(other) => {
                    self.usurped = None;
                    if Some(other.identity()) != newest {
                        self.files.push_back(other);
                    }
                }
                // Its writer is about to make it.
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => self.note_usurped(&cause),
            }
        }
    }

    fn note_usurped(&mut self, cause: &io::Error) {
        let words = format!("what has its name now cannot be read: {cause}");
        if self.usurped.as_ref() != Some(&words) {
            tracing::error!(file = self.name, "{words}");
            self.usurped = Some(words);
        }
    }

    /// Whether the first file gets no more: its writer has begun another one.
    fn is_left(&self) -> bool {
        self.files.iter().skip(1).any(Reading::has_begun)
    }

    fn read_records(
        &mut self,
        max: usize,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        if self.files.is_empty() {
            self.begin()?;
        } else if self.watch.is_some() {
            self.look_for_successor();
        }
        let (mut taken, mut fills) = (0, 0);
        while taken < max {
            // Asked before the end is looked for: nothing comes behind that end any more.
            let is_left = self.is_left();
            let Some(reading) = self.files.front_mut() else {
                break;
            };
            let mut counted = |arrival: Arrival<'_>| {
                self.frames += 1;
                each(arrival);
            };
            let step = reading.step(&self.name, &self.filter, &mut counted)?;
            if step != Step::Short {
                taken += usize::from(step == Step::Record);
                self.note(step);
                continue;
            }
            let filled = reading.fill();
            match filled.map_err(|cause| unreadable(&self.name, &cause))? {
                Filled::More => {}
                Filled::Changed => self.note_cut(),
                Filled::End if is_left => self.leave(),
                Filled::End => break,
            }
            fills += 1;
            if fills == FILLS_MAX {
                break;
            }
        }
        Ok(taken)
    }

    fn keep_place(&mut self, when: When) {
        if let (Some(keeper), Some(reading)) = (&mut self.keeper, self.files.front()) {
            keeper.keep(|| reading.bookmark(&self.name), when);
        }
    }

    fn note(&mut self, step: Step) {
        if let Step::Damage(damage) = step {
            self.seen.damaged += 1;
            tracing::warn!(
                file = self.name,
                "{damage}; it is read on at the next good record"
            );
        }
    }

    fn note_cut(&mut self) {
        self.seen.cut += 1;
        tracing::info!(
            file = self.name,
            "the capture file was cut or written anew: it is read from its beginning"
        );
    }

    fn leave(&mut self) {
        self.files.pop_front();
        self.seen.replaced += 1;
        tracing::info!(file = self.name, "the capture file was replaced");
    }
}

impl Capture for FileCapture {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll_fds<'fd>(&'fd self, fds: &mut Vec<PollFd<'fd>>) {
        let watch = self.watch.iter();
        fds.extend(watch.map(|watch| PollFd::new(watch.as_fd(), PollFlags::POLLIN)));
    }

    fn follow(&mut self, ports: &BTreeSet<NonZeroU16>) -> Result<(), CaptureError> {
        if self.filter.follow(ports) {
            for reading in &mut self.files {
                reading.use_filter(&self.filter)?;
            }
        }
        Ok(())
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        let first = self.files.front();
        let more = first.is_some_and(|reading| !reading.at_end()) || self.is_left();
        match (more, &self.watch) {
            (true, _) => Some(Duration::ZERO),
            (false, Some(_)) => Some(self.next_look.saturating_sub(steady)),
            (false, None) => None,
        }
    }

    fn next_batch(
        &mut self,
        max: usize,
        steady: Duration,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        if let Some(watch) = &self.watch {
            while watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
        let down_until = self.next_look;
        if self.failures > 0 && steady < down_until {
            return Ok(0);
        }
        self.next_look = steady + LOOK_EVERY;
        // What was handed on before is recorded by now.
        self.keep_place(When::Now(steady));
        match self.read_records(max, each) {
            Ok(taken) => {
                self.failures = 0;
                Ok(taken)
            }
            Err(cause) => {
                // Said once, not at every look.
                let first = self.failures == 0;
                self.trouble = trouble(&cause);
                self.files.clear();
                self.next_look = steady + backoff(self.failures);
                self.failures += 1;
                if first { Err(cause) } else { Ok(0) }
            }
        }
    }

    fn down(&self) -> Option<&str> {
        match self.files.front() {
            None => Some(&self.trouble),
            // Of one whose form is known the next record is waited for, as always.
            Some(reading) if reading.link().is_none() => reading.damage().map(|_| NO_HEADER),
            Some(_) => self.usurped.as_deref(),
        }
    }

    fn may_begin_later(&self) -> bool {
        self.watch.is_some()
    }

    fn link(&self) -> Option<LinkType> {
        self.files.front()?.link()
    }

    fn frames(&self) -> u64 {
        self.frames
    }

    fn dropped(&mut self) -> u64 {
        0
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let Seen {
            replaced,
            cut,
            damaged,
        } = self.seen;
        vec![
            ("files_replaced", replaced),
            ("files_cut", cut),
            ("files_damaged", damaged),
        ]
    }
}

const NOT_THERE: &str = "there is no such file yet";
/// A file that was cut under its writer before we knew what its records are like.
const NO_HEADER: &str = "it has no header, since it was cut while its writer kept its place: rename it, \
                         and signal the writer";

fn trouble(cause: &CaptureError) -> String {
    match cause {
        CaptureError::NotCapture { reason, .. } => format!("it is no capture file: {reason}"),
        CaptureError::File { reason, .. } if reason.contains("os error 2)") => NOT_THERE.to_owned(),
        CaptureError::File { reason, .. } => reason.clone(),
        CaptureError::Down { .. }
        | CaptureError::Filter { .. }
        | CaptureError::Link { .. }
        | CaptureError::NoLibpcap { .. }
        | CaptureError::Socket { .. } => cause.to_string(),
    }
}

/// Watches the directory, so that a file that is replaced or not there yet is noticed too.
fn watch(path: &Path) -> io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(dir, changes)?;
    Ok(inotify)
}

fn unreadable(name: &str, cause: &io::Error) -> CaptureError {
    CaptureError::File {
        path: name.to_owned(),
        reason: cause.to_string(),
    }
}

impl Drop for FileCapture {
    fn drop(&mut self) {
        self.keep_place(When::AtTheEnd);
    }
}

impl std::fmt::Debug for FileCapture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileCapture")
            .field("path", &self.path)
            .field("following", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
