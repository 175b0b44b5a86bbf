//! Packets from a capture file, also one that another program is still writing.
//!
//! The form is read by [`pcap_format`](super::pcap_format) and not by libpcap, which gives up at a
//! record that is only half written: the normal state of a file that is being followed. A file that
//! is replaced or cut is read again from its beginning (the replay check makes that harmless).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gate::LinkType;
use nix::poll::{PollFd, PollFlags};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::frames::FrameFilter;
use super::pcap_format::{FRAME_LEN_MAX, HEADER_LEN, Header, NotPcap, RECORD_HEADER_LEN};
use super::{Arrival, Capture, CaptureError, Filter, SNAPLEN, backoff, link_of};

/// Read at once. Holds at least one frame of the greatest length.
const BUFFER_LEN: usize = 512 * 1024;
/// While a file is followed, how often it is looked at though nobody says that it has changed (a
/// network file system cannot say so).
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Reads a capture file; once, or for as long as it grows.
pub(super) struct FileCapture {
    path: PathBuf,
    name: String,
    filter: Filter,
    /// Tells of changes; only while following.
    watch: Option<Inotify>,
    reading: Option<Reading>,
    failures: u32,
    next_look: Duration,
    /// What was handed on.
    frames: u64,
}

/// An open file, and what is read of it but not handed on.
struct Reading {
    file: File,
    identity: (u64, u64),
    /// How far the file has been read.
    offset: u64,
    format: Option<Format>,
    buffer: Vec<u8>,
    start: usize,
}

struct Format {
    header: Header,
    link: LinkType,
    filter: FrameFilter,
}

// === impl FileCapture ===

impl FileCapture {
    /// Opens a capture file. With `follow`, it need not be there yet.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when it cannot be read or is no capture file, or the filter is none.
    pub(super) fn open(path: &Path, filter: Filter, follow: bool) -> Result<Self, CaptureError> {
        let name = path.display().to_string();
        let watch = follow.then(|| watch(path)).transpose();
        let mut capture = Self {
            path: path.to_owned(),
            filter,
            watch: watch.map_err(|cause| unreadable(&name, &cause))?,
            reading: None,
            failures: 0,
            next_look: Duration::ZERO,
            frames: 0,
            name,
        };
        // A filter that is none is a mistake now, and not when the file comes.
        FrameFilter::compile(1, LinkType::Ethernet, &capture.filter)?;
        match capture.begin() {
            Ok(()) => {}
            Err(CaptureError::File { .. }) if follow => {}
            Err(cause) => return Err(cause),
        }
        Ok(capture)
    }

    /// Opens the file from its beginning.
    fn begin(&mut self) -> Result<(), CaptureError> {
        let open = || {
            let file = File::open(&self.path)?;
            let identity = identity(&file.metadata()?);
            Ok((file, identity))
        };
        let (file, identity) = open().map_err(|cause: io::Error| unreadable(&self.name, &cause))?;
        let mut reading = Reading {
            file,
            identity,
            offset: 0,
            format: None,
            buffer: Vec::new(),
            start: 0,
        };
        reading
            .fill()
            .map_err(|cause| unreadable(&self.name, &cause))?;
        reading.read_format(&self.name, &self.filter)?;
        self.reading = Some(reading);
        Ok(())
    }

    /// Whether another file now has the name, or the file became shorter than what we have read.
    fn was_replaced(&self) -> bool {
        let Some(reading) = &self.reading else {
            return false;
        };
        std::fs::metadata(&self.path)
            .is_ok_and(|found| identity(&found) != reading.identity || found.len() < reading.offset)
    }

    fn read_records(
        &mut self,
        max: usize,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<usize, CaptureError> {
        if self.reading.is_none() {
            self.begin()?;
        }
        let Some(reading) = &mut self.reading else {
            return Ok(0);
        };
        let mut taken = 0;
        while taken < max {
            if reading.format.is_none() {
                reading.read_format(&self.name, &self.filter)?;
            }
            let mut counted = |arrival: Arrival<'_>| {
                self.frames += 1;
                each(arrival);
            };
            if reading.next_record(&self.name, &mut counted)? {
                taken += 1;
            } else if reading
                .fill()
                .map_err(|cause| unreadable(&self.name, &cause))?
                == 0
            {
                break;
            }
        }
        Ok(taken)
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
        if self.filter.follow(ports)
            && let Some(Reading {
                format: Some(format),
                ..
            }) = &mut self.reading
        {
            let number = data_link(format.header.link_type);
            format.filter = FrameFilter::compile(number, format.link, &self.filter)?;
        }
        Ok(())
    }

    fn retry_in(&self, steady: Duration) -> Option<Duration> {
        let more = self
            .reading
            .as_ref()
            .is_some_and(|reading| !reading.at_end());
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
        let taken = self.read_records(max, each);
        match taken {
            Ok(0) if self.watch.is_some() && self.was_replaced() => {
                tracing::info!(file = self.name, "the capture file was replaced");
                self.reading = None;
                Ok(0)
            }
            Ok(taken) => {
                self.failures = 0;
                Ok(taken)
            }
            Err(cause) => {
                // Said once, not at every look.
                let first = self.failures == 0;
                self.reading = None;
                self.next_look = steady + backoff(self.failures);
                self.failures += 1;
                if first { Err(cause) } else { Ok(0) }
            }
        }
    }

    fn down(&self) -> Option<&str> {
        self.reading
            .is_none()
            .then_some("there is no such file yet")
    }

    fn may_begin_later(&self) -> bool {
        self.watch.is_some()
    }

    fn link(&self) -> Option<LinkType> {
        let format = self.reading.as_ref()?.format.as_ref()?;
        Some(format.link)
    }

    fn frames(&self) -> u64 {
        self.frames
    }

    fn dropped(&mut self) -> u64 {
        0
    }
}

// === impl Reading ===

impl Reading {
    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Whether everything that is in the file was handed on, but for a record that is cut off.
    fn at_end(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|found| found.len() <= self.offset)
    }

    /// Reads on. Answers how many bytes there were.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let room = BUFFER_LEN.saturating_sub(self.buffer.len());
        self.file.seek(SeekFrom::Start(self.offset))?;
        let read = (&self.file)
            .take(room as u64)
            .read_to_end(&mut self.buffer)?;
        self.offset += read as u64;
        Ok(read)
    }

    /// Reads the file's header, if it is there as a whole.
    fn read_format(&mut self, name: &str, filter: &Filter) -> Result<(), CaptureError> {
        let header = Header::parse(self.unread()).map_err(|cause| not_pcap(name, cause))?;
        let Some(header) = header else {
            return Ok(());
        };
        let number = data_link(header.link_type);
        let link = link_of(name, number)?;
        self.format = Some(Format {
            header,
            link,
            filter: FrameFilter::compile(number, link, filter)?,
        });
        self.start += HEADER_LEN;
        Ok(())
    }

    /// Hands on the next record, if it is there as a whole.
    fn next_record(
        &mut self,
        name: &str,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<bool, CaptureError> {
        let Some(format) = &self.format else {
            return Ok(false);
        };
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        let record = format.header.record(unread);
        let Some(record) = record.map_err(|cause| not_pcap(name, cause))? else {
            return Ok(false);
        };
        if format.filter.passes(record.frame) {
            each(Arrival::Frame(format.link, record.frame));
        }
        self.start += record.len;
        Ok(true)
    }
}

/// libpcap's number in memory for a number in files, where the two differ and we know both.
fn data_link(in_file: u16) -> i32 {
    const LINKTYPE_RAW: u16 = 101;
    const DLT_RAW: i32 = 12;
    match in_file {
        LINKTYPE_RAW => DLT_RAW,
        same => same.into(),
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
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

fn not_pcap(name: &str, reason: NotPcap) -> CaptureError {
    CaptureError::NotCapture {
        path: name.to_owned(),
        reason,
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

const _: () = assert!(BUFFER_LEN > FRAME_LEN_MAX + RECORD_HEADER_LEN && SNAPLEN < 65_536);
