//! Files as other programs leave, write, replace and break them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::super::NotPcap;
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

    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    assert_eq!(arrivals(&mut capture, 2), [3]);
}

#[test]
fn a_file_that_was_cut_is_read_from_its_beginning() {
    let place = Place::new();
    place.write(&file(&[packet(1), packet(2)]));
    let mut capture = place.open(true).unwrap();
    assert_eq!(arrivals(&mut capture, 0), [1, 2]);

    place.write(&file(&[packet(3)]));

    assert_eq!(arrivals(&mut capture, 1), NOTHING);
    assert_eq!(arrivals(&mut capture, 2), [3]);
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
fn a_file_that_breaks_off_into_junk_is_given_up_and_tried_again_later() {
    let place = Place::new();
    let mut broken = file(&[packet(1)]);
    broken.extend_from_slice(&[0xff; 64]);
    place.write(&broken);
    let mut capture = place.open(true).unwrap();

    let refused = next(&mut capture, ALL, 0);

    let path = place.path.display().to_string();
    let reason = NotPcap::FrameTooLong;
    assert_eq!(refused, Err(CaptureError::NotCapture { path, reason }));
    assert_eq!(arrivals(&mut capture, 0), NOTHING);
    place.write(&file(&[packet(1)]));
    assert_eq!(arrivals(&mut capture, 2), [1]);
}

#[test]
fn what_is_no_capture_file_is_refused_at_the_start() {
    let place = Place::new();
    place.write(b"SOURCE ANY, and more text than a header has");

    let refused = place.open(false).unwrap_err();

    let path = place.path.display().to_string();
    let reason = NotPcap::Magic;
    assert_eq!(refused, CaptureError::NotCapture { path, reason });
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
        let file = OpenOptions::new().append(true).open(&self.path);
        file.unwrap().write_all(bytes).unwrap();
    }

    fn open(&self, follow: bool) -> Result<FileCapture, CaptureError> {
        FileCapture::open(&self.path, Filter::for_port(62_201), follow)
    }
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
