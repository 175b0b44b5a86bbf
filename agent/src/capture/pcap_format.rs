//! The form of a capture file: a header of 24 bytes, then records of 16 bytes and a frame each.
//! Bytes in, values out.
//!
//! tcpdump -w, ulogd's PCAP output and every libpcap program write it, in the byte order of the
//! machine, with times in micro- or nanoseconds. A file that is still being written ends anywhere,
//! so "not there yet" is an answer and no error. Reference: draft-ietf-opsawg-pcap.
//!
//! A file that was cut under its writer, or is damaged, has other bytes where a record should be.
//! Then [`Header::resume`] looks for the next place that can only be a record.

use serde::{Deserialize, Serialize};

/// What the header of a capture file says of the records behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// The link type, as it stands in files.
    pub(super) link_type: u16,
    byte_order: ByteOrder,
    /// How many fractions a second has.
    fractions: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ByteOrder {
    Big,
    Little,
}

/// One captured frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Record<'a> {
    /// As much of it as was captured.
    pub(super) frame: &'a [u8],
    /// Bytes of the file that the record takes, its own header included.
    pub(super) len: usize,
}

/// Where records begin again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resume {
    /// So many bytes further on.
    After(usize),
    /// Not among these bytes, of which so many can be forgotten.
    NotYet(usize),
}

/// Why bytes are no capture file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum NotPcap {
    /// The successor of the form, which is not read here.
    #[error("pcapng is not read; `editcap -F pcap` converts it, and `dumpcap -P` writes pcap")]
    Pcapng,
    /// None of the four numbers that a capture file begins with.
    #[error("it does not begin like one")]
    Magic,
    /// A length that no program writes.
    #[error("a record in it is longer than any frame")]
    FrameTooLong,
    /// What is left where a file was cut while its writer kept its place.
    #[error(
        "zeros are where a record should be: the file was cut while its writer kept its place. \
         Rotate it by renaming and a signal to the writer, never by copytruncate"
    )]
    Hole,
}

/// What a record's own header says.
#[derive(Clone, Copy, Debug)]
struct RecordHeader {
    secs: u32,
    fraction: u32,
    captured: usize,
    on_wire: usize,
}

/// Bytes in front of the records.
pub(super) const HEADER_LEN: usize = 24;
/// Bytes in front of a frame: seconds, fraction, captured length, length on the wire.
pub(super) const RECORD_HEADER_LEN: usize = 16;
/// No capture file has larger frames (libpcap's own limit).
pub(super) const FRAME_LEN_MAX: usize = 262_144;
/// Bytes of a time that may be zeros, so that a hole seems to go on where a record begins.
const ZEROS_OF_A_TIME: usize = 3;
const MICROSECONDS: u32 = 1_000_000;
const NANOSECONDS: u32 = 1_000_000_000;

// === impl Header ===

impl Header {
    /// Reads the header; `None` while it is not there as a whole.
    ///
    /// # Errors
    ///
    /// [`NotPcap`] when these bytes begin no capture file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, NotPcap> {
        if bytes.first() == Some(&0) {
            return Err(NotPcap::Hole);
        }
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (byte_order, fractions) = match header {
            [0xd4, 0xc3, 0xb2, 0xa1, ..] => (ByteOrder::Little, MICROSECONDS),
            [0x4d, 0x3c, 0xb2, 0xa1, ..] => (ByteOrder::Little, NANOSECONDS),
            [0xa1, 0xb2, 0xc3, 0xd4, ..] => (ByteOrder::Big, MICROSECONDS),
            [0xa1, 0xb2, 0x3c, 0x4d, ..] => (ByteOrder::Big, NANOSECONDS),
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => return Err(NotPcap::Pcapng),
            _ => return Err(NotPcap::Magic),
        };
        let [.., a, b, c, d] = *header;
        // The upper half says how frames end; the type is the lower.
        let link_type = match byte_order {
            ByteOrder::Big => u16::from_be_bytes([c, d]),
            ByteOrder::Little => u16::from_le_bytes([a, b]),
        };
        Ok(Some(Self {
            link_type,
            byte_order,
            fractions,
        }))
    }

    /// Whether another file begins here, as where a writer that was started again went on: the
    /// number and version 2.4, which no record has for its time.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        matches!(
            bytes,
            [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, ..]
                | [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, ..]
                | [0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, ..]
                | [0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, ..]
        )
    }

    /// Reads the record that `bytes` begin with; `None` while it is not there as a whole.
    ///
    /// # Errors
    ///
    /// [`NotPcap::FrameTooLong`] or [`NotPcap::Hole`]: here is no record.
    pub(super) fn record<'a>(&self, bytes: &'a [u8]) -> Result<Option<Record<'a>>, NotPcap> {
        let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return Ok(None);
        };
        if *header == [0; RECORD_HEADER_LEN] {
            return Err(NotPcap::Hole);
        }
        let length = self.record_header(*header).captured;
        if length > FRAME_LEN_MAX {
            return Err(NotPcap::FrameTooLong);
        }
        Ok(rest.get(..length).map(|frame| Record {
            frame,
            len: RECORD_HEADER_LEN + length,
        }))
    }

    /// Where the next record or file begins, of bytes behind a hole or damage: the first place with a
    /// record's header and a frame of which the first `known_len` bytes are those of a packet. Whatever
    /// of these is not there yet is waited for, so that it is the same place in however many pieces the
    /// bytes come.
    pub(super) fn resume(
        &self,
        bytes: &[u8],
        known_len: usize,
        is_packet: impl Fn(&[u8]) -> bool,
    ) -> Resume {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let from = zeros.saturating_sub(ZEROS_OF_A_TIME);
        let end = bytes.len().saturating_sub(RECORD_HEADER_LEN - 1).max(from);
        for at in from..end {
            let Some((header, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk) else {
                break;
            };
            if Self::begins(header) {
                return Resume::After(at);
            }
            let header = self.record_header(*header);
            if header.is_likely(self.fractions) {
                match rest.get(..header.captured.min(known_len)) {
                    None => return Resume::NotYet(at),
                    Some(frame) if is_packet(frame) => return Resume::After(at),
                    Some(_) => {}
                }
            }
        }
        Resume::NotYet(end)
    }

    fn record_header(&self, bytes: [u8; RECORD_HEADER_LEN]) -> RecordHeader {
        let number = |bytes: [u8; 4]| match self.byte_order {
            ByteOrder::Big => u32::from_be_bytes(bytes),
            ByteOrder::Little => u32::from_le_bytes(bytes),
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        RecordHeader {
            secs: number([a, b, c, d]),
            fraction: number([e, f, g, h]),
            captured: number([i, j, k, l]) as usize,
            on_wire: number([m, n, o, p]) as usize,
        }
    }
}

// === impl RecordHeader ===

impl RecordHeader {
    /// Whether a program would write it: a time, and a frame that is not longer than it was.
    fn is_likely(self, fractions: u32) -> bool {
        let lengths = 1..=FRAME_LEN_MAX;
        self.secs > 0
            && self.fraction < fractions
            && lengths.contains(&self.captured)
            && lengths.contains(&self.on_wire)
            && self.captured <= self.on_wire
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Who wrote the file: its byte order, and the fraction of its times.
    #[derive(Clone, Copy, Debug)]
    struct Writer {
        big_endian: bool,
        nanoseconds: bool,
    }

    impl Writer {
        fn number(self, number: u32) -> [u8; 4] {
            if self.big_endian {
                number.to_be_bytes()
            } else {
                number.to_le_bytes()
            }
        }

        /// A file as libpcap writes it.
        fn file(self, link_type: u16, frames: &[Vec<u8>]) -> Vec<u8> {
            let magic = if self.nanoseconds {
                0xa1b2_3c4d
            } else {
                0xa1b2_c3d4_u32
            };
            // Two numbers of 16 bits, the greater one first.
            let version = if self.big_endian {
                0x0002_0004
            } else {
                0x0004_0002
            };
            let header = [magic, version, 0, 0, 65_535, u32::from(link_type)];
            let mut file: Vec<u8> = header.iter().flat_map(|n| self.number(*n)).collect();
            for frame in frames {
                let length = u32::try_from(frame.len()).unwrap();
                let header = [1_800_000_000, 999_999, length, length + 4];
                file.extend(header.iter().flat_map(|n| self.number(*n)));
                file.extend_from_slice(frame);
            }
            file
        }
    }

    fn writer() -> impl Strategy<Value = Writer> {
        any::<(bool, bool)>().prop_map(|(big_endian, nanoseconds)| Writer {
            big_endian,
            nanoseconds,
        })
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6)
    }

    /// Every frame that can be read of a file, and the error that ended it.
    fn read(file: &[u8]) -> (Vec<Vec<u8>>, Option<NotPcap>) {
        let header = match Header::parse(file) {
            Ok(Some(header)) => header,
            Ok(None) => return (Vec::new(), None),
            Err(cause) => return (Vec::new(), Some(cause)),
        };
        let (mut frames, mut rest) = (Vec::new(), &file[HEADER_LEN..]);
        loop {
            match header.record(rest) {
                Ok(Some(record)) => {
                    frames.push(record.frame.to_vec());
                    rest = &rest[record.len..];
                }
                Ok(None) => return (frames, None),
                Err(cause) => return (frames, Some(cause)),
            }
        }
    }

    proptest! {
        #[test]
        fn what_any_writer_wrote_is_read_back(
            writer in writer(),
            link_type in any::<u16>(),
            frames in frames(),
        ) {
            let file = writer.file(link_type, &frames);

            prop_assert_eq!(Header::parse(&file).unwrap().unwrap().link_type, link_type);
            prop_assert_eq!(read(&file), (frames, None));
        }

        #[test]
        fn a_file_that_ends_anywhere_gives_the_whole_records_and_waits_for_the_rest(
            writer in writer(),
            frames in frames(),
            cut in any::<prop::sample::Index>(),
        ) {
            let file = writer.file(1, &frames);
            let cut = cut.index(file.len());

            let (begun, error) = read(&file[..cut]);

            prop_assert_eq!(error, None);
            prop_assert_eq!(&begun[..], &frames[..begun.len()]);
        }

        #[test]
        fn a_length_that_no_frame_has_is_an_error_and_not_waited_for(
            writer in writer(),
            frames in frames(),
            length in 262_145_u32..,
        ) {
            let mut file = writer.file(1, &frames);
            file.extend([0; 8]);
            file.extend(writer.number(length));
            file.extend([0; 4]);

            prop_assert_eq!(read(&file), (frames, Some(NotPcap::FrameTooLong)));
        }

        #[test]
        fn whatever_the_bytes_reading_ends_and_takes_no_more_than_there_is(
            writer in writer(),
            junk in prop::collection::vec(prop_oneof![Just(0), 1..=40_u8, any::<u8>()], 0..600),
        ) {
            read(&junk);
            let mut file = writer.file(1, &[]);
            file.extend(&junk);

            let (frames, _) = read(&file);
            if let Some(header) = Header::parse(&file).unwrap() {
                match header.resume(&junk, 20, |_| true) {
                    Resume::After(count) | Resume::NotYet(count) => {
                        prop_assert!(count <= junk.len());
                    }
                }
            }

            let taken: usize = frames.iter().map(|frame| frame.len() + RECORD_HEADER_LEN).sum();
            prop_assert!(taken <= junk.len());
        }
    }

    #[test]
    fn behind_a_hole_or_damage_records_are_found_again_in_every_form() {
        let is_packet = |frame: &[u8]| frame.first() == Some(&7);
        for writer in [false, true].map(|big_endian| Writer {
            big_endian,
            nanoseconds: big_endian,
        }) {
            let frames = [vec![7; 60], vec![0; 90]];
            let file = writer.file(1, &frames);
            let header = Header::parse(&file).unwrap().unwrap();
            for (before, name) in [
                (vec![0; 61], "zeros"),
                (vec![0xff; 61], "ones"),
                ((1..=61).collect(), "junk"),
            ] {
                // Its low byte is a zero, as that of one second in 256.
                let mut records = file[HEADER_LEN..].to_vec();
                let time = writer.number(1_800_000_000 & !0xff);
                records[..4].copy_from_slice(&time);
                let bytes = [&before[..], &records].concat();

                assert_eq!(
                    header.resume(&bytes, 20, is_packet),
                    Resume::After(61),
                    "{name}"
                );
                for end in 0..bytes.len() {
                    match header.resume(&bytes[..end], 20, is_packet) {
                        Resume::NotYet(forgotten) => assert!(forgotten <= 61, "{name} {end}"),
                        Resume::After(at) => assert_eq!(at, 61, "{name} {end}"),
                    }
                }
                let again = [&before[..], &writer.file(101, &frames)].concat();
                assert_eq!(
                    header.resume(&again, 20, is_packet),
                    Resume::After(61),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn zeros_are_no_records_and_another_header_is_none_either() {
        let file = Writer {
            big_endian: false,
            nanoseconds: false,
        }
        .file(1, &[]);
        let header = Header::parse(&file).unwrap().unwrap();

        assert_eq!(header.record(&[0; 40]), Err(NotPcap::Hole));
        assert_eq!(Header::parse(&[0]), Err(NotPcap::Hole));
        assert!(Header::begins(&file) && !Header::begins(&[0; 40]));
    }

    #[test]
    fn what_is_no_capture_file_is_named() {
        assert_eq!(Header::parse(&[0x0a, 0x0d, 0x0d, 0x0a]), Ok(None));
        let mut pcapng = [0; HEADER_LEN];
        pcapng[..4].copy_from_slice(&[0x0a, 0x0d, 0x0d, 0x0a]);
        assert_eq!(Header::parse(&pcapng), Err(NotPcap::Pcapng));
        assert_eq!(Header::parse(&[0x7f; HEADER_LEN]), Err(NotPcap::Magic));
    }
}
