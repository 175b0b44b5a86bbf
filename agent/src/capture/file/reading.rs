//! One open capture file: what of it is read, and where the next record begins.
//!
//! Whoever writes it may cut it, write it anew, or go on where it was before it was cut. So the last
//! bytes that were read are kept, and compared with what stands in their place before anything
//! behind them is believed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use gate::LinkType;
use nix::unistd::{Whence, lseek};

use super::super::frames::FrameFilter;
use super::super::pcap_format::{
    FRAME_LEN_MAX, HEADER_LEN, Header, NotPcap, RECORD_HEADER_LEN, Resume,
};
use super::super::{Arrival, CaptureError, Filter, SNAPLEN, link_of};
use super::bookmark::{Bookmark, Identity};

/// Read at once. Holds at least one frame of the greatest length.
const BUFFER_LEN: usize = 512 * 1024;
/// All link headers and the beginning of an IP header.
const BEGINNING_LEN: usize = 64;
/// Of what was read, so much is compared with the file before it is read on.
const TAIL_LEN: usize = 64;

/// An open file, and what is read of it but not handed on.
pub(super) struct Reading {
    file: File,
    identity: Identity,
    /// How far the file has been read.
    offset: u64,
    /// The bytes in front of that.
    tail: Vec<u8>,
    /// The last bytes that are in the buffer no more.
    gone: Vec<u8>,
    /// What its records are like, as far as that is known; also from before it was cut.
    format: Option<Format>,
    place: Place,
    buffer: Vec<u8>,
    start: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// The header of the file.
    Beginning,
    /// A record.
    Records,
    /// Something else: a record is looked for.
    Damage(NotPcap),
}

struct Format {
    /// As it stands in the file.
    bytes: [u8; HEADER_LEN],
    header: Header,
    link: LinkType,
    filter: FrameFilter,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// A record was read; it was handed on if it was worth judging.
    Record,
    /// A header was read, or the place where records begin again was found.
    Found,
    /// Here is no record. What follows is passed over up to the next one.
    Damage(NotPcap),
    /// More of the file is needed.
    Short,
}

/// What reading on came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Filled {
    More,
    /// There is nothing more in it now.
    End,
    /// What was read is not there any more: it is read from its beginning.
    Changed,
}

// === impl Reading ===

impl Reading {
    /// Opens the file from its beginning.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = program::files::open_regular(path)?;
        let identity = Identity::of(&file.metadata()?);
        Ok(Self {
            file,
            identity,
            offset: 0,
            tail: Vec::new(),
            gone: Vec::new(),
            format: None,
            place: Place::Beginning,
            buffer: Vec::new(),
            start: 0,
        })
    }

    /// Reads on where an earlier run has stopped, if this is that file: when it is read on, it is
    /// seen whether what was read is still there.
    pub(super) fn resume(&mut self, mark: &Bookmark, name: &str, filter: &Filter) {
        let header = Header::parse(&mark.header);
        let (true, Ok(Some(header))) = (mark.file == self.identity, header) else {
            return;
        };
        if let Ok(format) = Format::new(&mark.header, header, name, filter) {
            self.format = Some(format);
            self.place = Place::Records;
            self.offset = mark.offset;
            self.tail.clone_from(&mark.before);
            self.gone.clone_from(&mark.before);
        }
    }

    /// The place behind the last record that was read.
    pub(super) fn bookmark(&self, name: &str) -> Option<Bookmark> {
        let format = self.format.as_ref()?;
        if self.place != Place::Records {
            return None;
        }
        let read = self.buffer.get(..self.start).unwrap_or_default();
        Some(Bookmark {
            name: name.to_owned(),
            file: self.identity,
            offset: self.offset.checked_sub(self.unread().len() as u64)?,
            before: last_of(&self.gone, read),
            header: format.bytes.to_vec(),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// How its frames are wrapped, once that is known.
    pub(super) fn link(&self) -> Option<LinkType> {
        self.format.as_ref().map(|format| format.link)
    }

    /// Why nothing of it can be read now.
    pub(super) fn damage(&self) -> Option<NotPcap> {
        match self.place {
            Place::Beginning | Place::Records => None,
            Place::Damage(damage) => Some(damage),
        }
    }

    /// Whether nothing of it was read yet.
    pub(super) fn is_at_beginning(&self) -> bool {
        self.place == Place::Beginning
    }

    /// Whether its writer has begun.
    pub(super) fn has_begun(&self) -> bool {
        let header_len = HEADER_LEN as u64;
        self.file
            .metadata()
            .is_ok_and(|found| found.len() >= header_len)
    }

    /// Whether everything that is in the file was read, but for what is cut off. What has become
    /// shorter is not.
    pub(super) fn at_end(&self) -> bool {
        self.file
            .metadata()
            .is_ok_and(|found| found.len() == self.offset)
    }

    /// From now on hands on what this filter leaves.
    pub(super) fn use_filter(&mut self, filter: &Filter) -> Result<(), CaptureError> {
        if let Some(format) = &mut self.format {
            let number = data_link(format.header.link_type);
            format.filter = FrameFilter::compile(number, format.link, filter)?;
        }
        Ok(())
    }

    /// Reads on.
    pub(super) fn fill(&mut self) -> io::Result<Filled> {
        let read = self.buffer.get(..self.start).unwrap_or_default();
        self.gone = last_of(&self.gone, read);
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.is_in_hole() {
            self.leave_hole();
        }
        let known = self.tail.len();
        let room = known + BUFFER_LEN.saturating_sub(self.buffer.len());
        let from = self.offset.saturating_sub(known as u64);
        let before = self.buffer.len();
        self.file.seek(SeekFrom::Start(from))?;
        (&self.file)
            .take(room as u64)
            .read_to_end(&mut self.buffer)?;
        let read = self.buffer.get(before..).unwrap_or_default();
        if !read.starts_with(&self.tail) {
            self.begin_again();
            return Ok(Filled::Changed);
        }
        let new = read.len() - known;
        if new == 0 {
            self.buffer.truncate(before);
            return Ok(Filled::End);
        }
        self.offset += new as u64;
        self.tail = last_of(&[], read);
        self.buffer.drain(before..before + known);
        Ok(Filled::More)
    }

    /// Reads the next header or record, if it is there as a whole.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when this is no capture file, or one of frames that are not read here.
    pub(super) fn step(
        &mut self,
        name: &str,
        filter: &Filter,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<Step, CaptureError> {
        match self.place {
            Place::Beginning => self.read_beginning(name, filter),
            Place::Records => self.read_record(name, filter, each),
            Place::Damage(_) => Ok(self.look_for_record()),
        }
    }

    fn read_beginning(&mut self, name: &str, filter: &Filter) -> Result<Step, CaptureError> {
        let header = match Header::parse(self.unread()) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Step::Short),
            // Also where a file was cut whose writer goes on at the end, wherever that is.
            Err(damage @ NotPcap::Hole) => return Ok(self.note_damage(damage)),
            Err(damage @ NotPcap::Magic) if self.format.is_some() => {
                return Ok(self.note_damage(damage));
            }
            Err(cause) => return Err(not_pcap(name, cause)),
        };
        self.format = Some(Format::new(self.unread(), header, name, filter)?);
        self.start += HEADER_LEN;
        self.place = Place::Records;
        Ok(Step::Found)
    }

    fn read_record(
        &mut self,
        name: &str,
        filter: &Filter,
        each: &mut dyn FnMut(Arrival<'_>),
    ) -> Result<Step, CaptureError> {
        let unread = self.buffer.get(self.start..).unwrap_or_default();
        let Some(format) = self.format.as_ref().filter(|_| !Header::begins(unread)) else {
            self.place = Place::Beginning;
            return self.read_beginning(name, filter);
        };
        match format.header.record(unread) {
            Ok(Some(record)) => {
                if format.filter.passes(record.frame) {
                    each(Arrival::Frame(format.link, record.frame));
                }
                self.start += record.len;
                Ok(Step::Record)
            }
            Ok(None) => Ok(Step::Short),
            Err(damage) => Ok(self.note_damage(damage)),
        }
    }

    fn note_damage(&mut self, damage: NotPcap) -> Step {
        self.place = Place::Damage(damage);
        Step::Damage(damage)
    }

    /// The next record; or, where nobody knows what records are like, the next header.
    fn look_for_record(&mut self) -> Step {
        let Some(format) = &self.format else {
            return self.look_for_header();
        };
        let link = format.link;
        // Of NFLOG the packet is the last of what a frame holds.
        let known_len = if link == LinkType::Nflog {
            FRAME_LEN_MAX
        } else {
            BEGINNING_LEN
        };
        let is_packet = |beginning: &[u8]| link.may_hold_packet(beginning);
        let found = format.header.resume(self.unread(), known_len, is_packet);
        match found {
            Resume::After(count) => {
                self.start += count;
                self.place = Place::Records;
                Step::Found
            }
            Resume::NotYet(count) => {
                self.start += count;
                Step::Short
            }
        }
    }

    fn look_for_header(&mut self) -> Step {
        const BEGINS_LEN: usize = 8;
        let unread = self.unread();
        match unread.windows(BEGINS_LEN).position(Header::begins) {
            Some(at) => {
                self.start += at;
                self.place = Place::Beginning;
                Step::Found
            }
            None => {
                self.start += unread.len().saturating_sub(BEGINS_LEN - 1);
                Step::Short
            }
        }
    }

    /// Whether nothing but zeros is known of what comes.
    fn is_in_hole(&self) -> bool {
        self.place == Place::Damage(NotPcap::Hole) && self.buffer.iter().all(|byte| *byte == 0)
    }

    /// Steps over what the file system knows to be empty, which may be very much.
    fn leave_hole(&mut self) {
        let Ok(offset) = i64::try_from(self.offset) else {
            return;
        };
        let data = lseek(&self.file, offset, Whence::SeekData);
        let data = data.ok().and_then(|at| u64::try_from(at).ok());
        if let Some(data) = data.filter(|data| *data > self.offset) {
            self.offset = data;
            self.tail.clear();
            self.gone.clear();
        }
    }

    fn begin_again(&mut self) {
        self.offset = 0;
        self.tail.clear();
        self.gone.clear();
        self.buffer.clear();
        self.start = 0;
        self.place = Place::Beginning;
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

// === impl Format ===

impl Format {
    /// `bytes` begin with the header.
    fn new(
        bytes: &[u8],
        header: Header,
        name: &str,
        filter: &Filter,
    ) -> Result<Self, CaptureError> {
        let number = data_link(header.link_type);
        let link = link_of(name, number)?;
        Ok(Self {
            bytes: bytes.first_chunk().copied().unwrap_or([0; HEADER_LEN]),
            header,
            link,
            filter: FrameFilter::compile(number, link, filter)?,
        })
    }
}

/// The last of these bytes and those.
fn last_of(first: &[u8], second: &[u8]) -> Vec<u8> {
    let from_first = TAIL_LEN.saturating_sub(second.len());
    let first = first.get(first.len().saturating_sub(from_first)..);
    let second = second.get(second.len().saturating_sub(TAIL_LEN)..);
    [first.unwrap_or_default(), second.unwrap_or_default()].concat()
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

fn not_pcap(name: &str, reason: NotPcap) -> CaptureError {
    CaptureError::NotCapture {
        path: name.to_owned(),
        reason,
    }
}

const _: () = assert!(BUFFER_LEN > FRAME_LEN_MAX + RECORD_HEADER_LEN && SNAPLEN < 65_536);
