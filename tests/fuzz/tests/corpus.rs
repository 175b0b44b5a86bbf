//! What is kept of fuzzing, and random bytes: at every `make test`, without a fuzzer.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::{fs, panic};

use fuzz_targets::{TARGETS, Target};
use proptest::prelude::*;

/// Targets that take milliseconds: files, databases, connections.
const SLOW: [&str; 6] = [
    "answers",
    "journal",
    "open_pgp",
    "pcap_file",
    "rpc",
    "tcp_server",
];

fn corpus(target: Target) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()));
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn what_was_found_holds_and_goes_on_to_hold() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let files = corpus(target);
        assert!(!files.is_empty(), "{} has no corpus", target.name);
        for file in files {
            let bytes = fs::read(&file).unwrap();
            if panic::catch_unwind(|| (target.check)(&bytes)).is_err() {
                broken.push(file);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_folder_of_the_corpus_is_of_a_target() {
    for folder in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(Target::named(&name).is_some(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_gate_does_what_the_model_does(bytes in prop::collection::vec(any::<u8>(), 0..1_500)) {
        (Target::named("gate_model").unwrap().check)(&bytes);
    }

    #[test]
    fn random_bytes_break_no_reader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let is_turn_of_slow = bytes.len() % 8 == 0;
        for target in TARGETS {
            if is_turn_of_slow || !SLOW.contains(&target.name) {
                (target.check)(&bytes);
            }
        }
    }
}
