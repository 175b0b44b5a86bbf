//! A journal whose file was damaged: a start reads what can be read or begins anew, and what it records
//! from then on is there.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use agent::journal::{Journal, JournalOptions, JournalReader, Retention};
use agent::policies::{PolicyText, PolicyVersion};
use fleet::{Event, EventKind};
use tempfile::TempDir;

use crate::scene::{NOW_SECS, memory};

/// The database.
const FILE: &str = "journal.db";
/// Whatever is longer is no damage to a file of this size.
const PATCHES_MAX: usize = 64;

/// The files of a journal that was closed, by name.
static WHOLE: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let dir = TempDir::new_in(memory()).expect("a folder");
    let mut journal = Journal::open(&options(dir.path()), NOW_SECS)
        .expect("a journal")
        .journal;
    for at in 0..40 {
        let _ = journal.stage(Event::new(EventKind::Refused, NOW_SECS * 1_000 + at));
    }
    journal.remember_claimed([7; 32], NOW_SECS + 60);
    journal.stage_lock(Some("because".to_owned()));
    journal.stage_policy(PolicyText {
        version: PolicyVersion::default(),
        text: "SOURCE ANY\nUSER alice\nOPEN_PORTS tcp/22\n"
            .to_owned()
            .into(),
    });
    let _ = journal.commit().expect("it is recorded");
    journal.close().expect("it is closed");
    let files = fs::read_dir(dir.path()).expect("our folder").map(|file| {
        let file = file.expect("our folder");
        let name = file.file_name().into_string().expect("a name of ours");
        (name, fs::read(file.path()).expect("our file"))
    });
    files.collect()
});

thread_local! {
    static DIR: RefCell<TempDir> = RefCell::new(TempDir::new_in(memory()).expect("a folder"));
}

fn options(dir: &Path) -> JournalOptions {
    JournalOptions {
        state_dir: dir.to_owned(),
        retention: Retention::UntilAcknowledged,
        window: Some(Duration::from_secs(120)),
        max_future: Duration::from_secs(120),
        witness_dir: None,
    }
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((&form, damage)) = bytes.split_first() else {
        return;
    };
    DIR.with_borrow(|dir| {
        let state = dir.path().join("state");
        let _none_is_there = fs::remove_dir_all(&state);
        fs::create_dir(&state).expect("our folder");
        for (name, whole) in WHOLE.iter() {
            let content = if name == FILE {
                damaged(whole, form, damage)
            } else {
                whole.clone()
            };
            fs::write(state.join(name), content).expect("our folder");
        }
        if let Ok(reader) = JournalReader::open(&state.join(FILE)) {
            read_all(&reader);
        }
        start(&state);
    });
}

/// Bytes replaced, a beginning, or something else.
fn damaged(whole: &[u8], form: u8, damage: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match form & 3 {
        0..=1 => {
            for patch in damage.chunks_exact(4).take(PATCHES_MAX) {
                let at = usize::from(patch[0]) << 16 | usize::from(patch[1]) << 8;
                let at = (at | usize::from(patch[2])) % bytes.len();
                bytes[at] = patch[3];
            }
        }
        2 => {
            let of_256 = damage.first().copied().unwrap_or_default();
            bytes.truncate(bytes.len() * usize::from(of_256) / 256);
        }
        _ => bytes = damage.to_vec(),
    }
    bytes
}

fn read_all(reader: &JournalReader) {
    let _ = reader.end();
    let _ = reader.oldest();
    let _ = reader.events_after(0, 100);
    let _ = reader.report(NOW_SECS * 1_000, false);
    let _ = reader.live_grants();
    let _ = reader.access_file();
    let _ = reader.policy();
}

fn start(state: &Path) {
    let Ok(start) = Journal::open_or_begin_anew(&options(state), NOW_SECS + 1) else {
        return;
    };
    let mut journal = start.journal;
    let _ = journal.stage(Event::new(EventKind::GrantOpened, NOW_SECS * 1_000));
    // What damage was not seen at the start is seen now, and mended or said.
    if journal.commit().is_err() {
        let _ = journal.mend(NOW_SECS + 2);
        return;
    }
    let last = journal.last_seq();
    drop(journal);
    let reader = JournalReader::open(&state.join(FILE)).expect("what was recorded can be read");
    let events = reader.events_after(last.saturating_sub(1), 10);
    assert!(
        events.is_ok_and(|events| events.iter().any(|event| event.seq == last)),
        "what was recorded is there"
    );
}
