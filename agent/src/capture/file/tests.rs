//! Files as other programs leave, write, replace and break them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::pcap_format::{HEADER_LEN, NotPcap};
use super::*;

/// More packets than any test has.
const ALL: usize = 100;
const NOTHING: [u8; 0] = [];

#[test]
fn a_record_that_is_half_written_is_handed_on_when_it_is_whole() {
    let place = Place::new();
    let whole = file(&[packet(1), packet(2)]);
    let (begun, rest) = whole.split_at(whole.len() - 7);
    place.write(begun);
    let mut capture = place.open(true).unwrap();

    assert_eq!(arrivals(&mut capture, 0), [1]);
    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    place.append(rest);

    assert_eq!(arrivals(&mut capture, 2), [2]);
}

#[test]
fn a_header_that_is_half_written_is_waited_for() {
    let place = Place::new();
    let whole = file(&[packet(1)]);
    place.write(&whole[..11]);
    let mut capture = place.open(true).unwrap();

    assert_eq!(arrivals(&mut capture, 0), NOTHING);
    place.append(&whole[11..]);

    assert_eq!(arrivals(&mut capture, 1), [1]);
}

#[test]
fn a_file_that_another_takes_the_name_of_is_left_for_the_other() {
    let place = Place::new();
    place.write(&file(&[packet(1), packet(2)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1, 2]);

    let other = place.dir.path().join("other");
    fs::write(&other, file(&[packet(3)])).unwrap();
    fs::rename(&other, &place.path).unwrap();

    assert_eq!(arrivals(&mut capture, 1), [3]);
}

#[test]
fn a_pipe_that_takes_the_name_of_a_followed_file_is_said_until_a_file_has_it_again() {
    let place = Place::new();
    place.write(&file(&[packet(1)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1]);

    fs::remove_file(&place.path).unwrap();
    nix::unistd::mkfifo(&place.path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(arrivals(&mut capture, 1).is_empty());

    let down = capture.down().unwrap();
    assert!(down.ends_with("it is a pipe, and no file"), "{down}");
    fs::remove_file(&place.path).unwrap();
    place.write(&file(&[packet(2)]));
    assert_eq!(arrivals(&mut capture, 2), [2]);
    assert_eq!(capture.down(), None);
}

#[test]
fn a_file_that_was_cut_is_read_from_its_beginning() {
    let place = Place::new();
    place.write(&file(&[packet(1), packet(2)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1, 2]);

    place.write(&file(&[packet(3)]));

    assert_eq!(arrivals(&mut capture, 1), [3]);
}

#[test]
fn a_file_that_is_not_there_is_waited_for_only_when_it_is_followed() {
    let place = Place::new();
    assert!(matches!(
        place.open(false).unwrap_err(),
        CaptureError::File { .. }
    ));
    let mut capture = place.open(true).unwrap();

    assert!(next(&mut capture, ALL, 0).is_err());
    assert_eq!(arrivals(&mut capture, 0), NOTHING, "said once");
    place.write(&file(&[packet(1)]));

    assert_eq!(arrivals(&mut capture, 0), NOTHING, "not before its time");
    assert_eq!(arrivals(&mut capture, 2), [1]);
}

#[test]
fn what_is_no_record_is_passed_over_once_and_the_next_good_one_is_read() {
    let place = Place::new();
    let mut broken = file(&[packet(1)]);
    broken.extend_from_slice(&[0xff; 64]);
    place.write(&broken);
    let mut capture = place.open(true).unwrap();

    assert_eq!(arrivals(&mut capture, 0), [1]);
    assert_eq!(capture.seen.damaged, 1);
    place.append(&records(&[packet(2), packet(3)]));
    assert_eq!(arrivals(&mut capture, 1), [2, 3], "and none a second time");
    place.append(&records(&[packet(4)]));
    assert_eq!(arrivals(&mut capture, 2), [4]);
    assert_eq!(capture.seen.damaged, 1, "said once");

    place.write(&file(&[packet(5)]));
    assert_eq!(arrivals(&mut capture, 3), [5]);
}

#[test]
fn what_is_written_to_a_renamed_file_before_its_writer_begins_another_is_not_lost() {
    let place = Place::new();
    place.write(&file(&[packet(1)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1]);

    // As logrotate does it: the new file is there before the writer is told.
    let before = place.rotate();
    place.write(&[]);
    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    append(&before, &records(&[packet(2)]));
    assert_eq!(arrivals(&mut capture, 2), [2]);
    append(&before, &records(&[packet(3)]));
    place.append(&file(&[packet(4)]));

    assert_eq!(arrivals(&mut capture, 3), [3, 4]);
    assert_eq!(capture.seen.replaced, 1);
    fs::remove_file(before).unwrap();
    assert_eq!(arrivals(&mut capture, 4), NOTHING);
}

#[test]
fn a_file_that_was_cut_and_has_grown_beyond_what_was_read_is_read_from_its_beginning() {
    let place = Place::new();
    place.write(&file(&[packet(1), packet(2)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1, 2]);

    place.write(&file(&[packet(3), packet(4), packet(5)]));

    assert_eq!(arrivals(&mut capture, 1), [3, 4, 5]);
    assert_eq!(capture.seen.cut, 1);
}

#[test]
fn behind_the_hole_that_copytruncate_leaves_reading_goes_on_at_the_next_record() {
    for is_seen_empty in [true, false] {
        let place = Place::new();
        let whole = file(&[packet(1), packet(2)]);
        place.write(&whole);
        let mut capture = place.open(true).unwrap();
        assert_eq!(arrivals(&mut capture, 0), [1, 2]);

        place.write(&[]);
        if is_seen_empty {
            assert_eq!(arrivals(&mut capture, 1), NOTHING);
        }
        place.write_at(whole.len(), &records(&[packet(3)]));

        assert_eq!(arrivals(&mut capture, 2), [3], "{is_seen_empty}");
        assert_eq!((capture.seen.cut, capture.seen.damaged), (1, 1));
        place.append(&records(&[packet(4)]));
        assert_eq!(arrivals(&mut capture, 3), [4]);
    }
}

#[test]
fn a_hole_of_many_gigabytes_is_stepped_over() {
    let place = Place::new();
    place.write(&file(&[packet(1)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1]);

    place.write(&[]);
    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    place.write_at(40_000_000_007, &records(&[packet(2)]));

    assert_eq!(arrivals(&mut capture, 2), [2]);
}

#[test]
fn a_writer_that_goes_on_at_the_beginning_of_a_file_that_was_cut_is_understood() {
    let place = Place::new();
    place.write(&file(&[packet(1)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1]);

    place.write(&records(&[packet(2)]));
    assert_eq!(arrivals(&mut capture, 1), [2]);
    place.append(&records(&[packet(3)]));
    assert_eq!(arrivals(&mut capture, 2), [3]);
}

#[test]
fn a_file_without_its_header_is_said_and_waited_for_until_another_takes_its_name() {
    let place = Place::new();
    place.write(&[]);
    place.write_at(1_000, &records(&[packet(1)]));

    let mut capture = place.open(true).unwrap();

    assert_eq!(arrivals(&mut capture, 0), NOTHING);
    assert_eq!(capture.down(), Some(NO_HEADER));
    place.rotate();
    place.write(&file(&[packet(2)]));
    assert_eq!(arrivals(&mut capture, 1), [2]);
    assert_eq!(capture.down(), None);
}

#[test]
fn a_header_between_records_is_that_of_a_writer_that_was_started_again() {
    let place = Place::new();
    let again = file(&[packet(2)]);
    place.write(&[file(&[packet(1)]), again.clone(), again].concat());

    let mut capture = place.open(false).unwrap();

    assert_eq!(arrivals(&mut capture, 0), [1, 2, 2]);
}

#[test]
fn a_start_goes_on_where_the_run_before_has_stopped_and_reads_what_came_meanwhile() {
    let place = Place::new();
    place.write(&file(&[packet(1), packet(2)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1, 2]);
    drop(capture);

    place.append(&records(&[packet(3)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [3]);
    let half = records(&[packet(4)]);
    place.append(&half[..20]);
    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    drop(capture);

    place.append(&half[20..]);
    let old = place.rotate();
    append(&old, &records(&[packet(5)]));
    place.write(&file(&[packet(6)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(
        arrivals(&mut capture, 0),
        [4, 5, 6],
        "the old one stands beside"
    );
    drop(capture);

    place.write(&file(&[packet(7), packet(8)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [7, 8], "it was written anew");
    drop(capture);

    fs::write(place.dir.path().join("bookmark"), "{").unwrap();
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [7, 8], "nobody knows");
}

#[test]
fn what_another_name_was_read_to_is_not_taken_for_this_one() {
    let place = Place::new();
    place.write(&file(&[packet(1)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1]);
    drop(capture);
    place.append(&records(&[packet(2)]));
    let other = place.dir.path().join("other.pcap");
    fs::write(&other, file(&[packet(3)])).unwrap();

    let bookmark = place.dir.path().join("bookmark");
    let capture = FileCapture::open(&other, Filter::for_port(62_201), true, Some(&bookmark));

    assert_eq!(arrivals(&mut capture.unwrap(), 0), [3]);
}

#[test]
fn behind_a_hole_a_start_goes_on_too() {
    let place = Place::new();
    place.write(&file(&[packet(1)]));
    let mut capture = place.open(true).unwrap();
    place.write(&[]);
    place.write_at(500, &records(&[packet(2)]));
    assert_eq!(arrivals(&mut capture, 0), [1, 2]);
    drop(capture);

    place.append(&records(&[packet(3)]));

    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [3]);
}

#[test]
fn a_pipe_in_place_of_the_file_keeps_nobody_waiting() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.path, nix::sys::stat::Mode::S_IRWXU).unwrap();

    let refused = place.open(false).unwrap_err().to_string();

    assert!(refused.contains("it is a pipe, and no file"), "{refused}");
    assert!(place.open(true).is_ok(), "it is waited for");
}

/// What a writer and those who rotate its file do, between two looks.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// One packet more, of which so many bytes are written late.
    Write { late: usize },
    /// The name goes to a new file, and the writer to that.
    Rotate,
    /// The same, but the writer hears of it only at its next deed.
    RotateFirst,
    /// We look.
    Look,
    /// The agent is started again.
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0_usize..184).prop_map(|late| Deed::Write { late }),
        1 => Just(Deed::Rotate),
        1 => Just(Deed::RotateFirst),
        4 => Just(Deed::Look),
        1 => Just(Deed::Restart),
    ]
}

proptest! {
    #[test]
    fn however_a_file_is_written_and_rotated_each_record_is_handed_on_once_and_in_order(
        deeds in prop::collection::vec(deed(), 0..40),
    ) {
        let place = Place::new();
        place.write(&file(&[]));
        let mut capture = place.open(true).unwrap();
        let (mut written, mut seen, mut secs) = (Vec::new(), Vec::new(), 0);
        // Where the writer writes, and what it has not written yet.
        let (mut at, mut late) = (place.path.clone(), Vec::new());
        let mut is_told_late = false;
        for (count, deed) in deeds.into_iter().enumerate() {
            if !matches!(deed, Deed::Look | Deed::Restart) {
                append(&at, &std::mem::take(&mut late));
                if std::mem::take(&mut is_told_late) {
                    at.clone_from(&place.path);
                    append(&at, &file(&[]));
                }
            }
            match deed {
                Deed::Write { late: bytes } => {
                    let mark = u8::try_from(written.len() + 1).unwrap();
                    let record = records(&[packet(mark)]);
                    let (now, later) = record.split_at(record.len() - bytes);
                    append(&at, now);
                    late = later.to_vec();
                    written.push(mark);
                }
                Deed::Rotate | Deed::RotateFirst => {
                    let old = place.dir.path().join(format!("old{count}"));
                    fs::rename(&place.path, &old).unwrap();
                    is_told_late = matches!(deed, Deed::RotateFirst);
                    let begun = if is_told_late { Vec::new() } else { file(&[]) };
                    place.write(&begun);
                    at = if is_told_late { old } else { place.path.clone() };
                }
                Deed::Look => {
                    secs += 1;
                    seen.extend(arrivals(&mut capture, secs));
                }
                Deed::Restart => {
                    drop(capture);
                    capture = place.open(true).unwrap();
                }
            }
            // More than one rotation between two looks would leave a file that nobody has seen.
            if matches!(deed, Deed::Rotate | Deed::RotateFirst) {
                secs += 1;
                seen.extend(arrivals(&mut capture, secs));
            }
        }
        append(&at, &late);
        for _ in 0..3 {
            secs += 1;
            seen.extend(arrivals(&mut capture, secs));
        }
        prop_assert_eq!(seen, written);
    }
}

#[test]
fn what_is_no_capture_file_is_refused_at_the_start() {
    let place = Place::new();
    place.write(b"SOURCE ANY, and more text than a header has");

    let refused = place.open(false).unwrap_err();

    let path = place.path.display().to_string();
    let reason = NotPcap::Magic;
    assert_eq!(refused, CaptureError::NotCapture { path, reason });
    place.write(&[0; 99]);
    let zeros = place.open(false).unwrap_err().to_string();
    assert!(
        zeros.contains("is not a capture file: zeros are"),
        "{zeros}"
    );
    let mut pcapng = vec![0x0a, 0x0d, 0x0d, 0x0a];
    pcapng.resize(99, 1);
    place.write(&pcapng);
    for follow in [false, true] {
        let refused = place.open(follow).unwrap_err().to_string();
        assert!(
            refused.contains("pcapng is not read; `editcap"),
            "{refused}"
        );
    }
}

#[test]
fn a_batch_takes_as_much_as_it_was_given_leave_for_and_comes_back_at_once() {
    let place = Place::new();
    place.write(&file(&[packet(1), packet(2), packet(3)]));
    let mut capture = place.open(false).unwrap();

    assert_eq!(next(&mut capture, 2, 0), Ok(vec![1, 2]));
    assert_eq!(next(&mut capture, 2, 0), Ok(vec![3]));

    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    assert_eq!(capture.retry_in(Duration::from_secs(1)), None, "finished");
}

#[test]
fn packets_to_a_port_that_the_policy_names_later_are_handed_on_from_then_on() {
    let place = Place::new();
    let elsewhere = || packet_to(62_300, 7);
    place.write(&file(&[elsewhere()]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), NOTHING);

    let ports = [62_300_u16.try_into().unwrap()].into();
    capture.follow(&ports).unwrap();
    let records = file(&[elsewhere()]);
    place.append(&records[HEADER_LEN..]);

    assert_eq!(arrivals(&mut capture, 1), [7]);
}

/// A directory with one file name in it.
struct Place {
    dir: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("capture.pcap");
        Self { dir, path }
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).unwrap();
    }

    fn append(&self, bytes: &[u8]) {
        append(&self.path, bytes);
    }

    /// As a writer does that has kept its place in a file that was cut.
    fn write_at(&self, offset: usize, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset as u64).unwrap();
    }

    /// Gives the file another name, and says which.
    fn rotate(&self) -> PathBuf {
        let old = self.dir.path().join("capture.pcap.1");
        fs::rename(&self.path, &old).unwrap();
        old
    }

    fn open(&self, follow: bool) -> Result<FileCapture, CaptureError> {
        let bookmark = self.dir.path().join("bookmark");
        FileCapture::open(
            &self.path,
            Filter::for_port(62_201),
            follow,
            Some(&bookmark),
        )
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let file = OpenOptions::new().append(true).open(path);
    file.unwrap().write_all(bytes).unwrap();
}

/// What arrives in a look at this second: the marks of the packets.
fn arrivals(capture: &mut FileCapture, secs: u64) -> Vec<u8> {
    next(capture, ALL, secs).unwrap()
}

fn next(capture: &mut FileCapture, max: usize, secs: u64) -> Result<Vec<u8>, CaptureError> {
    let mut marks = Vec::new();
    let steady = Duration::from_secs(secs);
    capture.next_batch(max, steady, &mut |arrival| {
        let Arrival::Frame(LinkType::RawIp, frame) = arrival else {
            panic!("{arrival:?}");
        };
        marks.push(*frame.last().unwrap());
    })?;
    Ok(marks)
}

/// A capture file of raw IP as a little-endian machine writes it.
fn file(packets: &[Vec<u8>]) -> Vec<u8> {
    const LINKTYPE_RAW: u32 = 101;
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, LINKTYPE_RAW];
    let mut file: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
    for packet in packets {
        let length = u32::try_from(packet.len()).unwrap();
        file.extend([1, 0, length, length].iter().flat_map(|n| n.to_le_bytes()));
        file.extend_from_slice(packet);
    }
    file
}

/// The same without the header.
fn records(packets: &[Vec<u8>]) -> Vec<u8> {
    file(packets).split_off(HEADER_LEN)
}

fn packet(mark: u8) -> Vec<u8> {
    packet_to(62_201, mark)
}

/// An IPv4 packet with UDP in it that could be an SPA packet by its length, and ends with `mark`.
fn packet_to(port: u16, mark: u8) -> Vec<u8> {
    const PAYLOAD_LEN: u16 = 140;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(PAYLOAD_LEN + 28).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend_from_slice(&[0xd4, 0x31]);
    packet.extend_from_slice(&port.to_be_bytes());
    packet.extend_from_slice(&(PAYLOAD_LEN + 8).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.resize(packet.len() + usize::from(PAYLOAD_LEN) - 1, b'A');
    packet.push(mark);
    packet
}
