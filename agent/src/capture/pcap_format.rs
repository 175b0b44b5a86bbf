//! The form of a capture file: a header of 24 bytes, then records of 16 bytes and a frame each.
//! Bytes in, values out.
//!
//! tcpdump -w, ulogd's PCAP output and every libpcap program write it, in the byte order of the
//! machine, with times in micro- or nanoseconds. A file that is still being written ends anywhere,
//! so "not there yet" is an answer and no error. Reference: draft-ietf-opsawg-pcap.

/// What the header of a capture file says of the records behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// The link type, as it stands in files.
    pub(super) link_type: u16,
    byte_order: ByteOrder,
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

/// Why bytes are no capture file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotPcap {
    /// The successor of the form, which is not read here.
    #[error("pcapng is not read; `editcap -F pcap` converts it")]
    Pcapng,
    /// None of the four numbers that a capture file begins with.
    #[error("it does not begin like one")]
    Magic,
    /// A length that no program writes.
    #[error("a record in it is longer than any frame")]
    FrameTooLong,
}

/// Bytes in front of the records.
pub(super) const HEADER_LEN: usize = 24;
/// Bytes in front of a frame: seconds, fraction, captured length, length on the wire.
pub(super) const RECORD_HEADER_LEN: usize = 16;
/// No capture file has larger frames (libpcap's own limit).
pub(super) const FRAME_LEN_MAX: usize = 262_144;

// === impl Header ===

impl Header {
    /// Reads the header; `None` while it is not there as a whole.
    ///
    /// # Errors
    ///
    /// [`NotPcap`] when these bytes begin no capture file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, NotPcap> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let byte_order = match header {
            // Micro- and nanoseconds.
            [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => ByteOrder::Little,
            [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xa1, 0xb2, 0x3c, 0x4d, ..] => ByteOrder::Big,
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
        }))
    }

    /// Reads the record that `bytes` begin with; `None` while it is not there as a whole.
    ///
    /// # Errors
    ///
    /// [`NotPcap::FrameTooLong`]: what follows cannot be found any more.
    pub(super) fn record<'a>(&self, bytes: &'a [u8]) -> Result<Option<Record<'a>>, NotPcap> {
        let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER_LEN>() else {
            return Ok(None);
        };
        let [_, _, _, _, _, _, _, _, captured @ .., _, _, _, _] = *header;
        let captured: [u8; 4] = captured;
        let length = match self.byte_order {
            ByteOrder::Big => u32::from_be_bytes(captured),
            ByteOrder::Little => u32::from_le_bytes(captured),
        } as usize;
        if length > FRAME_LEN_MAX {
            return Err(NotPcap::FrameTooLong);
        }
        Ok(rest.get(..length).map(|frame| Record {
            frame,
            len: RECORD_HEADER_LEN + length,
        }))
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
            let header = [magic, 0x0002_0004, 0, 0, 65_535, u32::from(link_type)];
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

            let taken: usize = frames.iter().map(|frame| frame.len() + RECORD_HEADER_LEN).sum();
            prop_assert!(taken <= junk.len());
        }
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
