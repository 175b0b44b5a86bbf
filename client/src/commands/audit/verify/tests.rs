use fleet::audit::{AuditSigner, Linked, LogRow, LogVersion, Succession};
use fleet::{Event, EventKind, EventRecord};

use super::super::proof::{Export, Part};
use super::*;
use crate::profile::Profile;
use crate::ui::Ui;

fn signer() -> AuditSigner {
    AuditSigner::new("prod", &[7; 32])
}

fn context(dir: &Path) -> Context {
    Context {
        ui: Ui,
        profile: Profile::new(Some(dir.to_owned())),
        now_secs: 1_795_435_730,
        verbose: 0,
    }
}

/// Rows of one journal, and a checkpoint of the end.
fn log(size: u64) -> Part {
    let (mut chain, mut head) = ([0; 32], [0; 32]);
    let mut rows = Vec::new();
    for id in 1..=size {
        let record = EventRecord::after(id - 1, &chain, Event::new(EventKind::GrantOpened, id));
        chain = record.chain.as_slice().try_into().unwrap();
        let mut row = LogRow {
            id,
            host: "web-1".to_owned(),
            epoch: "ab".to_owned(),
            journal: 1,
            stored_at_ms: id,
            log_version: 2,
            ..LogRow::default()
        };
        head = LogVersion::V2.link(&head, &Linked::of_row(&row, &record).unwrap());
        row.log_chain = head.to_vec();
        row.record = Some(record);
        rows.push(row);
    }
    let checkpoint = Checkpoint {
        size,
        root: head,
        at_ms: 1_795_435_730_007,
    };
    Part {
        rows,
        notes: vec![checkpoint.sign(&signer())],
        is_end: false,
    }
}

fn begin(key: &AuditKey, successions: &[String]) -> LogBegin {
    LogBegin {
        fleet: "prod".to_owned(),
        audit_key: key.to_string(),
        successions: successions.to_vec(),
        records: 0,
    }
}

fn exported(context: &Context, key: &AuditKey, said: Option<AuditKey>) -> Result<KeyChain> {
    chain_of_export(context, (Path::new("log.jsonl"), &begin(key, &[])), said)
}

/// Writes an export as `postern audit export` does.
fn export(dir: &Path, part: Part) -> PathBuf {
    export_of(dir, part, &begin(&signer().public(), &[]))
}

fn export_of(dir: &Path, part: Part, begin: &LogBegin) -> PathBuf {
    let path = dir.join("log.jsonl");
    let records = part.rows.len() as u64;
    let begin = LogBegin {
        records,
        ..begin.clone()
    };
    let mut export = Export::create(&path, &begin, "2026-11-23T11:28:50Z".to_owned()).unwrap();
    export.part(part).unwrap();
    assert!(!path.exists(), "half an export has not its name");
    export.finish().unwrap();
    path
}

async fn verify(context: &Context, path: &Path, others: &[(String, String)]) -> Result<Verdict> {
    verify_by(context, path, (signer().public(), others)).await
}

async fn verify_by(
    context: &Context,
    path: &Path,
    (key, others): (AuditKey, &[(String, String)]),
) -> Result<Verdict> {
    let (begin, reader) = ExportReader::open(path)?;
    let mut source = Source::File(Box::new(reader));
    let keys = chain_of_export(context, (path, &begin), Some(key))?;
    let read = read(context, (&begin, &mut source), (&keys, others)).await?;
    Ok(read.verdict)
}

#[tokio::test]
async fn an_export_is_verified_with_the_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = export(dir.path(), log(2_500));

    let verdict = verify(&context(dir.path()), &path, &[]).await.unwrap();

    assert_eq!(
        lines(&verdict),
        [
            "signed     up to record 2500 at 2026-11-23T12:08:50.007Z, by 1 checkpoints",
            "log        2500 records, none changed, removed or inserted",
        ]
    );
}

#[tokio::test]
async fn every_checkpoint_of_an_export_stands_behind_what_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let mut part = log(9);
    part.notes.insert(0, log(4).notes.remove(0));

    let path = export(dir.path(), part);

    let verdict = verify(&context(dir.path()), &path, &[]).await.unwrap();
    assert_eq!((verdict.first(), verdict.checkpoints), (None, 2));
}

#[tokio::test]
async fn what_was_done_to_an_export_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(export(dir.path(), log(9))).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without = |gone: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != gone);
        kept.map(|(_, line)| format!("{line}\n"))
            .collect::<String>()
    };
    let path = dir.path().join("changed.jsonl");
    let context = context(dir.path());
    let verify = async |text: &str| {
        std::fs::write(&path, text).unwrap();
        match verify(&context, &path, &[]).await {
            Ok(verdict) => {
                let first = verdict.first().unwrap();
                format!("{} {}", first.record, first.kind.as_str())
            }
            Err(error) => error.to_string(),
        }
    };

    let edited = whole.replacen("\"stored_at_ms\":4", "\"stored_at_ms\":5", 1);
    assert_eq!(verify(&edited).await, "4 changed");
    let ends = "\"end\":{\"records\":9}";
    let removed = without(4).replace(ends, "\"end\":{\"records\":8}");
    assert_eq!(verify(&removed).await, "4 removed");
    let unsigned = without(10);
    assert_eq!(verify(&unsigned).await, "1 unproven");
    let half = &whole[..whole.len() / 2];
    assert!(
        verify(half).await.contains("the export is truncated"),
        "{half}"
    );
    assert!(
        verify(&without(11))
            .await
            .contains("the export is truncated")
    );
    assert!(
        verify(&without(4))
            .await
            .contains("ends with 9 records and has 8: record 4 is the first")
    );
    let named = verify(&whole.replacen("\"id\":3", "\"id\":x", 1)).await;
    assert!(named.contains("changed.jsonl:4: "), "{named}");
    assert!(verify(&without(0)).await.contains("it has no header"));
}

#[tokio::test]
async fn an_export_that_ends_too_early_is_found_by_what_a_host_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let path = export(dir.path(), log(9));
    let kept = ("web-1.note holds".to_owned(), log(12).notes.remove(0));

    let verdict = verify(&context(dir.path()), &path, &[kept]).await.unwrap();

    let first = verdict.first().unwrap();
    assert_eq!((first.record, first.kind.as_str()), (10, "removed"));
    assert!(
        first.words.contains("records 10 to 12 were removed"),
        "{first:?}"
    );
}

#[test]
fn the_key_is_kept_from_the_first_time_on_and_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let (key, other) = (
        signer().public(),
        AuditSigner::new("prod", &[8; 32]).public(),
    );

    assert!(exported(&context, &key, None).is_err());
    let pinned = |key, said| pinned(&context, &begin(key, &[]), said);
    assert_eq!(*pinned(&key, None).unwrap().newest(), key);
    let refused = pinned(&other, None).unwrap_err();
    assert!(refused.to_string().contains("another key"), "{refused}");
    let said = pinned(&other, Some(other.clone()));
    assert_eq!(*said.unwrap().newest(), other);
    assert_eq!(*exported(&context, &key, None).unwrap().newest(), key);
}

#[test]
fn a_key_that_is_damaged_here_is_said_and_is_no_key_that_was_never_heard() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let key = signer().public();
    for damaged in [&b""[..], b"garbage\n", b"\xff\xfe"] {
        std::fs::write(dir.path().join("audit-key"), damaged).unwrap();

        let refused = pinned(&context, &begin(&key, &[]), None).unwrap_err();
        assert!(
            refused.to_string().contains("audit-key is damaged"),
            "{refused}"
        );
        assert!(exported(&context, &key, None).is_err());
        let said = pinned(&context, &begin(&key, &[]), Some(key.clone()));
        assert_eq!(*said.unwrap().newest(), key);
    }
}

#[test]
fn a_file_that_is_no_checkpoint_is_an_error_and_says_nothing_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let note = log(9).notes.remove(0);
    let path = dir.path().join("audit-checkpoint");

    assert_eq!(kept_note(&context).unwrap(), "");
    for wrong in ["", "garbage\n", "{\"header\":{}}\n"] {
        std::fs::write(&path, wrong).unwrap();
        for refused in [kept_note(&context), read_note(&path)] {
            let refused = refused.unwrap_err().to_string();
            let words = "audit-checkpoint: it is not a signed checkpoint";
            assert!(refused.ends_with(words), "{refused}");
        }
    }
    std::fs::write(&path, format!("\u{feff}{note}")).unwrap();
    assert_eq!(read_note(&path).unwrap(), note);
    std::fs::write(&path, &note).unwrap();
    assert_eq!(kept_note(&context).unwrap(), note);
}

fn signer_of(seed: u8) -> AuditSigner {
    AuditSigner::new("prod", &[seed; 32])
}

/// A log of 12 records whose key changed after 4 and after 8, and how.
fn rotated() -> (Part, Vec<String>) {
    let mut part = log(12);
    let checkpoint = |at: usize| Checkpoint {
        size: at as u64,
        root: part.rows[at - 1].log_chain.as_slice().try_into().unwrap(),
        at_ms: 5,
    };
    let successions = [(7, 4), (8, 8)].map(|(seed, at)| {
        Succession::sign(&checkpoint(at), &signer_of(seed), &signer_of(seed + 1))
    });
    let notes = [(7, 3), (8, 6), (9, 12)].map(|(seed, at)| checkpoint(at).sign(&signer_of(seed)));
    part.notes = notes.to_vec();
    (part, successions.to_vec())
}

#[tokio::test]
async fn an_export_over_rotations_is_verified_by_any_of_its_keys_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let (part, successions) = rotated();
    let path = export_of(
        dir.path(),
        part,
        &begin(&signer_of(9).public(), &successions),
    );
    for seed in [7, 8, 9] {
        let key = (signer_of(seed).public(), &[][..]);
        let verdict = verify_by(&context, &path, key).await.unwrap();
        // Three that stand in it, and the last of the two keys before.
        assert_eq!((verdict.first(), verdict.checkpoints), (None, 5));
        assert_eq!(verdict.proven.unwrap().size, 12);
    }
    let other = (signer_of(10).public(), &[][..]);
    let refused = verify_by(&context, &path, other).await.unwrap_err();
    assert!(
        refused.to_string().contains("none of its keys"),
        "{refused}"
    );
    std::fs::remove_file(&path).unwrap();
    // Whoever writes a key into the header that is believed has not signed with it.
    let (part, _) = rotated();
    let forged = export_of(dir.path(), part, &begin(&signer_of(10).public(), &[]));
    let other = (signer_of(10).public(), &[][..]);
    let verdict = verify_by(&context, &forged, other).await.unwrap();
    assert_eq!(verdict.first().unwrap().kind.as_str(), "unproven");
}

#[tokio::test]
async fn an_export_from_before_the_key_was_made_is_not_called_changed_and_its_own_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let (former, newer) = (signer().public(), signer_of(8).public());
    let path = export(dir.path(), log(9));
    context.profile.keep_audit_key(&newer.to_string()).unwrap();

    let (begin, _) = ExportReader::open(&path).unwrap();
    for said in [None, Some(newer.clone())] {
        let refused = chain_of_export(&context, (&path, &begin), said).unwrap_err();
        let words = refused.to_string();
        let named = [former.to_string(), newer.to_string()];
        assert!(named.iter().all(|key| words.contains(key)), "{words}");
        let hint = program::Failure::hint(&refused).unwrap();
        assert!(hint.contains("from before the key was replaced"), "{hint}");
        assert_eq!(program::Failure::exit(&refused), program::Exit::Refused);
    }
    let verdict = verify_by(&context, &path, (former, &[])).await.unwrap();
    assert_eq!((verdict.first(), verdict.records), (None, 9));
}

#[tokio::test]
async fn an_export_whose_successions_are_not_whole_or_whose_former_key_signs_on_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let (_, whole) = rotated();
    let newest = signer_of(9).public();
    let swapped = [whole[1].clone(), whole[0].clone()];
    for (successions, why) in [
        (&whole[..1], "do not lead to the key"),
        (&swapped[..], "succession 2"),
    ] {
        let (part, _) = rotated();
        let path = export_of(dir.path(), part, &begin(&newest, successions));
        let refused = verify(&context, &path, &[]).await.unwrap_err().to_string();
        assert!(
            refused.contains("log.jsonl:1: ") && refused.contains(why),
            "{refused}"
        );
        std::fs::remove_file(path).unwrap();
    }
    // The key of before is in other hands, and signs a log that is another after it ended.
    let (mut part, _) = rotated();
    let forged = Checkpoint {
        size: 12,
        root: part.rows[11].log_chain.as_slice().try_into().unwrap(),
        at_ms: 5,
    };
    part.notes[2] = forged.sign(&signer_of(8));
    let path = export_of(dir.path(), part, &begin(&newest, &whole));
    let verdict = verify(&context, &path, &[]).await.unwrap();
    let first = verdict.first().unwrap();
    assert!(first.words.contains("had ended before"), "{first:?}");
}

#[test]
fn a_profile_that_kept_a_key_of_before_follows_and_keeps_the_one_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path());
    let (_, whole) = rotated();
    let newest = signer_of(9).public();
    pinned(&context, &begin(&signer().public(), &[]), None).unwrap();

    let lacking = pinned(&context, &begin(&newest, &whole[1..]), None).unwrap_err();
    assert!(lacking.to_string().contains("another key"), "{lacking}");
    let swapped = [whole[1].clone(), whole[0].clone()];
    let broken = pinned(&context, &begin(&newest, &swapped), None).unwrap_err();
    assert!(broken.to_string().contains("succession 2"), "{broken}");
    let keys = pinned(&context, &begin(&newest, &whole), None).unwrap();

    assert_eq!(keys.keys().count(), 3);
    let kept = context.profile.audit_key().unwrap().unwrap();
    assert_eq!(kept.trim(), newest.to_string());
    // A controller that goes back to the key of before is not believed.
    let back = pinned(&context, &begin(&signer_of(8).public(), &whole[..1]), None);
    assert!(back.unwrap_err().to_string().contains("another key"));
}

#[tokio::test]
async fn an_export_with_lines_after_its_end_or_another_header_is_refused_and_the_line_named() {
    let dir = tempfile::TempDir::new().unwrap();
    let context = context(dir.path());
    let path = export(dir.path(), log(3));
    let whole = std::fs::read_to_string(&path).unwrap();
    assert_eq!(verify(&context, &path, &[]).await.unwrap().faults_count, 0);

    let last = whole.lines().count();
    let (header, rest) = whole.split_once('\n').unwrap();
    let row = rest.lines().next().unwrap();
    let with = |from: &str, to: &str| {
        assert!(header.contains(from), "{header}");
        format!("{}\n{rest}", header.replace(from, to))
    };
    for (text, line) in [
        (format!("{whole}{row}\n"), last + 1),
        (format!("{whole}\n"), last + 1),
        (format!("{whole}{header}\n"), last + 1),
        (format!("{whole}nonsense"), last + 1),
        (format!("{header}\n{whole}"), 2),
        (with("\"fleet\":\"prod\"", "\"fleet\":\"test\""), 1),
        (with("2026-11-23T11:28:50Z", "never"), 1),
        (with("\"fleet\"", "\"more\":1,\"fleet\""), 1),
        (with("\"postern_log\":1", "\"postern_log\":2"), 1),
        (with("\"records\":3", "\"records\":4"), last),
    ] {
        std::fs::write(&path, &text).unwrap();
        let refused = verify(&context, &path, &[]).await.unwrap_err().to_string();
        assert!(
            refused.contains(&format!("log.jsonl:{line}: ")),
            "{line} {refused}"
        );
    }
}
