//! A log that somebody has edited with `sqlite3`, cut, spliced, set back or chained anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use controller::Running;
use fleet::audit::{
    AuditKey, AuditSigner, Checkpoint, FaultKind, KeyChain, Linked, LogVersion, Verdict, Verifier,
};
use fleet::wire::directive::Directive as Kind;
use fleet::wire::{
    LogBegin, LogRow, PushEventsRequest, ReadLogRequest, SessionOpened, SessionRequest,
};
use fleet::{Event, EventKind, EventRecord, Role};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::support::{Fleet, Member, next};

const EPOCH: &str = "00112233445566778899aabbccddeeff";
/// Events of the host.
const EVENTS: u64 = 300;

/// A host's journal.
pub(crate) fn journal(user: &str) -> Vec<EventRecord> {
    let mut chain = [0; 32];
    let mut records = Vec::new();
    for seq in 0..EVENTS {
        let mut event = Event::new(EventKind::GrantOpened, 1_000_000 + seq);
        event.user = user.to_owned();
        event.ports = vec!["tcp/22".to_owned()];
        let record = EventRecord::after(seq, &chain, event);
        chain = record.chain.as_slice().try_into().unwrap();
        records.push(record);
    }
    records
}

pub(crate) async fn push(host: &Member, records: &[EventRecord]) {
    let request = PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: Vec::new(),
        records: records.to_vec(),
    };
    host.agent().push_events(request).await.unwrap();
}

/// The directory of a stopped controller, which is copied for each edit.
pub(crate) struct Stopped {
    pub(crate) dir: TempDir,
    number: u32,
}

impl Stopped {
    /// A copy, edited by the program of the engine.
    pub(crate) fn edited(&mut self, sql: &str) -> PathBuf {
        let data = self.copy();
        let edited = Command::new("sqlite3")
            .arg(data.join("controller.db"))
            .arg(sql)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&edited.stderr);
        assert!(edited.status.success() && said.is_empty(), "{sql}: {said}");
        data
    }

    fn copy(&mut self) -> PathBuf {
        self.number += 1;
        let copy = self.dir.path().join(format!("copy-{}", self.number));
        copy_dir(&self.dir.path().join("data"), &copy);
        copy
    }
}

fn copy_dir(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// What `postern-controller check` says of the log: whether it is sound, and the words.
pub(crate) fn log(data: &Path) -> (bool, String) {
    let findings = controller::check(data, &mut |_, _| {}).unwrap();
    let log = findings.iter().find(|finding| finding.what == "log");
    let log = log.unwrap_or_else(|| panic!("{findings:?}"));
    (log.is_sound, log.detail.clone())
}

fn newest(data: &Path) -> (u64, String) {
    let database = Connection::open(data.join("controller.db")).unwrap();
    database
        .query_row(
            "SELECT size, note FROM checkpoints ORDER BY size DESC",
            [],
            |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)),
        )
        .unwrap()
}

/// Chains a database anew from a record on, in every way that needs no key.
fn chain_anew(data: &Path, from: u64) {
    let database = Connection::open(data.join("controller.db")).unwrap();
    let rows: Vec<LogRow> = database
        .prepare(
            "SELECT e.id, h.name, j.epoch, e.journal, e.seq, e.body, e.chain, e.chain_version,
                    e.stored_at_ms, coalesce(e.flaw, ''), e.log_chain, e.log_version
             FROM events e JOIN journals j ON j.id = e.journal JOIN event_hosts h ON h.id = e.host
             ORDER BY e.id",
        )
        .unwrap()
        .query_map([], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(LogRow {
                id: number(0)?,
                host: row.get(1)?,
                epoch: row.get(2)?,
                journal: number(3)?,
                record: Some(EventRecord {
                    seq: number(4)?,
                    body: row.get(5)?,
                    chain: row.get(6)?,
                    chain_version: row.get(7)?,
                }),
                stored_at_ms: number(8)?,
                flaw: row.get(9)?,
                log_chain: row.get(10)?,
                log_version: row.get(11)?,
                ..LogRow::default()
            })
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut head = [0; 32];
    let mut ends = std::collections::BTreeMap::new();
    for mut row in rows {
        let mut record = row.record.take().unwrap();
        if row.id >= from {
            let previous = ends.get(&row.journal).copied().unwrap_or([0; 32]);
            let event = record.event().unwrap();
            record = EventRecord::after(record.seq - 1, &previous, event);
            let linked = Linked::of_row(&row, &record).unwrap();
            row.log_chain = LogVersion::V2.link(&head, &linked).to_vec();
            database
                .execute(
                    "UPDATE events SET body = ?2, chain = ?3, log_chain = ?4 WHERE id = ?1",
                    params![
                        row.id.cast_signed(),
                        record.body,
                        record.chain,
                        row.log_chain
                    ],
                )
                .unwrap();
        }
        head = row.log_chain.as_slice().try_into().unwrap();
        ends.insert(row.journal, record.chain.as_slice().try_into().unwrap());
    }
}

/// A stopped controller with a log, and the number of the host's first record in it.
pub(crate) async fn stopped() -> (Stopped, Member, u64) {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    push(&host, &journal("alice")).await;
    let Fleet { dir, running, .. } = fleet;
    running.stop().await;
    let stopped = Stopped { dir, number: 0 };
    let data = stopped.dir.path().join("data");
    let (is_sound, detail) = log(&data);
    assert!(is_sound, "{detail}");
    let (size, _) = newest(&data);
    assert!(
        detail.contains(&format!("signed up to record {size}")),
        "{detail}"
    );
    let database = Connection::open(data.join("controller.db")).unwrap();
    let first = database
        .query_row("SELECT min(id) FROM events WHERE kind = 1", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap();
    (stopped, host, first.cast_unsigned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_the_database_is_named_by_its_first_record() {
    let (mut stopped, _, first) = stopped().await;
    let (size, note) = newest(&stopped.dir.path().join("data"));
    let at = first + 100;
    let shifted = "DROP INDEX events_by_place; PRAGMA foreign_keys = OFF;";
    let cases = [
        // Columns and bodies, many and one.
        (
            "UPDATE events SET user = 'mallory' WHERE kind = 1".to_owned(),
            format!("300 faults, the first at record {first} (changed)"),
        ),
        (
            format!("UPDATE events SET body = zeroblob(length(body)) WHERE id = {at}"),
            format!("1 faults, the first at record {at} (changed)"),
        ),
        (
            format!(
                "UPDATE events SET body = zeroblob(10), flaw = 'the chain is broken here'
                 WHERE id = {at}"
            ),
            format!("the first at record {at} (changed)"),
        ),
        (
            format!("UPDATE events SET stored_at_ms = 5 WHERE id = {at}"),
            format!("1 faults, the first at record {at} (changed)"),
        ),
        (
            format!("DELETE FROM event_ports WHERE event = {at}"),
            format!("1 faults, the first at record {at} (changed)"),
        ),
        (
            format!(
                "UPDATE events SET host = (SELECT id FROM event_hosts WHERE name = 'controller')
                 WHERE id = {at}"
            ),
            format!("the first at record {at} (changed)"),
        ),
        // Cut in the middle, and at the end.
        (
            format!("DELETE FROM events WHERE id BETWEEN {at} AND {at} + 2"),
            format!(
                "1 faults, the first at record {at} (removed): record {at}: records {at} to {} are not \
                 there",
                at + 2
            ),
        ),
        (
            format!("DELETE FROM events WHERE id > {size} - 7"),
            format!("the first at record {} (removed)", size - 6),
        ),
        (
            format!(
                "{shifted} DELETE FROM events WHERE id = {at};
                 UPDATE events SET id = id - 1 WHERE id > {at};
                 UPDATE event_ports SET event = event - 1 WHERE event > {at}"
            ),
            format!("the first at record {at} (changed)"),
        ),
        // Put in, with a number of its own.
        (
            format!(
                "{shifted} UPDATE events SET id = -id WHERE id >= {at};
                 CREATE TEMP TABLE t AS SELECT * FROM events WHERE id = -{at} - 9;
                 UPDATE t SET id = {at}; INSERT INTO events SELECT * FROM t;
                 UPDATE events SET id = 1 - id WHERE id < 0"
            ),
            format!("the first at record {at} (inserted)"),
        ),
        // Signed by another key.
        (
            format!(
                "UPDATE checkpoints SET note = '{}' WHERE size = {size}",
                resigned(&note)
            ),
            format!("the first at record {size} (unproven)"),
        ),
    ];
    let data = stopped.edited("UPDATE audit_keys SET sealed_seed = zeroblob(80)");
    let findings = controller::check(&data, &mut |_, _| {}).unwrap();
    let wrong = findings.iter().find(|finding| !finding.is_sound);
    assert!(
        wrong.unwrap().detail.contains("audit_keys 1"),
        "{findings:?}"
    );
    for (sql, expected) in cases {
        let data = stopped.edited(&sql);
        let (is_sound, detail) = log(&data);
        assert!(!is_sound && detail.contains(&expected), "{sql}: {detail}");
    }
}

/// The same statement under another key.
fn resigned(note: &str) -> String {
    let mut lines = note.lines();
    let size = lines.nth(1).unwrap().parse().unwrap();
    let checkpoint = Checkpoint {
        size,
        root: [1; 32],
        at_ms: 5,
    };
    checkpoint.sign(&AuditSigner::new("prod", &[9; 32]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_chained_anew_or_spliced_contradicts_what_was_signed_of_it() {
    let (mut stopped, _, first) = stopped().await;
    let (size, _) = newest(&stopped.dir.path().join("data"));
    let at = first + 100;

    let data = stopped.edited(&format!(
        "UPDATE events SET user = 'bob', body = CAST(replace(CAST(body AS TEXT), 'alice', 'mabel') AS BLOB)
         WHERE id = {at}; UPDATE events SET user = 'mabel' WHERE id = {at}"
    ));
    chain_anew(&data, at);
    let (is_sound, detail) = log(&data);
    assert!(!is_sound && detail.contains("it was rewritten"), "{detail}");
    assert!(detail.contains(&format!("and {size} it was")), "{detail}");

    // Rows of the same controller's other life, with what it has signed then.
    let other = stopped.copy();
    let running = serve(&other).await;
    running.stop().await;
    let mine = stopped.copy();
    let running = serve(&mine).await;
    running.stop().await;
    for data in [&mine, &other] {
        let (is_sound, detail) = log(data);
        assert!(is_sound, "{detail}");
    }
    let spliced = Command::new("sqlite3")
        .arg(mine.join("controller.db"))
        .arg(format!(
            "ATTACH '{}' AS other; UPDATE events SET stored_at_ms = stored_at_ms + 1 WHERE id > {at};
             UPDATE events SET log_chain = (SELECT log_chain FROM other.events o WHERE o.id = events.id)
             WHERE id > {at}",
            other.join("controller.db").display()
        ))
        .status();
    assert!(spliced.unwrap().success());
    let (is_sound, detail) = log(&mine);
    let expected = format!("the first at record {} (changed)", at + 1);
    assert!(!is_sound && detail.contains(&expected), "{detail}");
}

async fn serve(data: &Path) -> Running {
    let listen = "127.0.0.1:0".parse().unwrap();
    Running::start(data, Some(listen)).await.unwrap()
}

/// Reads the whole log as `postern audit verify` does.
pub(crate) async fn verify(auditor: &Member, kept: &str) -> (LogBegin, Verdict, String) {
    let question = ReadLogRequest {
        checkpoint: kept.to_owned(),
    };
    let answer = auditor.audit().read_log(question).await.unwrap();
    let mut parts = answer.into_inner();
    let begin = parts.message().await.unwrap().unwrap().begin.unwrap();
    let key: AuditKey = begin.audit_key.parse().unwrap();
    let keys = KeyChain::of(key, begin.successions.iter().map(String::as_str)).unwrap();
    let mut verifier = Verifier::with_keys(Some(keys));
    if !kept.is_empty() {
        verifier.checkpoint("she keeps", kept);
    }
    let mut last = String::new();
    loop {
        let part = parts.message().await.unwrap().unwrap();
        for row in &part.rows {
            verifier.row(row);
            for note in &part.checkpoints {
                let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
                if size == row.id {
                    verifier.checkpoint("stands in the log", note);
                }
            }
        }
        last = part.checkpoints.last().cloned().unwrap_or(last);
        if part.is_end {
            return (begin, verifier.finish(), last);
        }
    }
}

/// Opens a session that presents what a host keeps, and gives what it is shown.
async fn shown(host: &Member, kept: &str) -> (String, String) {
    let opened = opened(host, kept).await;
    (opened.audit_checkpoint, opened.audit_restated)
}

/// Opens a session as a program of this version, and gives all that it is shown.
pub(crate) async fn opened(host: &Member, kept: &str) -> SessionOpened {
    let request = SessionRequest {
        audit_checkpoint: kept.to_owned(),
        run_id: vec![7; 16],
        ..SessionRequest::default()
    };
    let mut session = host.agent().session(request).await.unwrap().into_inner();
    loop {
        if let Kind::Opened(opened) = next(&mut session).await {
            return opened;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_was_set_back_is_found_by_what_hosts_and_auditors_keep_and_says_it_once()
{
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let other = fleet.join(Role::Host, "web-2").await;
    let auditor = fleet.join(Role::Auditor, "otto").await;
    let (_, verdict, early) = verify(&auditor, "").await;
    assert_eq!(verdict.first(), None);
    let data = fleet.dir.path().join("data");
    let older = fleet.dir.path().join("older");
    let Fleet {
        dir,
        running,
        first,
    } = fleet;
    running.stop().await;
    copy_dir(&data, &older);
    let fleet = Fleet::start_again(dir, first).await;
    let [host, other, auditor] = [
        host.again(&fleet).await,
        other.again(&fleet).await,
        auditor.again(&fleet).await,
    ];
    push(&host, &journal("alice")).await;
    let (begin, verdict, kept) = verify(&auditor, &early).await;
    assert_eq!(verdict.first(), None);
    assert_eq!(verdict.proven.unwrap().size, begin.records);
    let (newest, restated) = shown(&other, &kept).await;
    assert_eq!(newest, kept);
    assert_eq!(restated.lines().nth(2), kept.lines().nth(2));
    openssl_agrees(&begin.audit_key, &kept);

    // The newest records are gone, with all that was signed of them.
    let Fleet {
        dir,
        running,
        first,
    } = fleet;
    running.stop().await;
    std::fs::remove_dir_all(&data).unwrap();
    copy_dir(&older, &data);
    let fleet = Fleet::start_again(dir, first).await;
    let [other, auditor] = [other.again(&fleet).await, auditor.again(&fleet).await];
    let (_, restated) = shown(&other, &kept).await;
    assert_eq!(restated, "");
    let (again, verdict, now) = verify(&auditor, &kept).await;

    assert_eq!(again.audit_key, begin.audit_key);
    let fault = verdict.first().unwrap();
    assert_eq!(fault.kind, FaultKind::Removed, "{fault:?}");
    assert_eq!(fault.record, again.records + 1);
    let (after, verdict, _) = verify(&auditor, &now).await;
    assert_eq!(verdict.first(), None, "{after:?}");
    fleet.running.stop().await;
    let database = Connection::open(data.join("controller.db")).unwrap();
    let conflicts: u32 = database
        .query_row("SELECT count(*) FROM events WHERE kind = 30", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(conflicts, 1, "said once, whoever brings evidence");
}

/// The signature as another program verifies it.
pub(crate) fn openssl_agrees(key: &str, note: &str) {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let key: AuditKey = key.parse().unwrap();
    // SubjectPublicKeyInfo of Ed25519: RFC 8410, 10.1.
    let head = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    std::fs::write(path("key.der"), [&head[..], &key.public_bytes()].concat()).unwrap();
    let (text, signatures) = note.split_once("\n\n").unwrap();
    std::fs::write(path("text"), format!("{text}\n")).unwrap();
    // Of several, the one that begins with the key's id.
    let id = key.id_hex();
    let signatures = signatures
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap());
    let is_its = |signature: &&str| {
        let decoded = base64_decode(signature);
        hex::encode(&decoded[..4]) == id
    };
    let signature = signatures.into_iter().find(is_its).unwrap();
    std::fs::write(path("signature.b64"), signature).unwrap();
    let script = "base64 -d signature.b64 | tail -c 64 > signature &&
        openssl pkeyutl -verify -rawin -pubin -inkey key.der -keyform DER -in text -sigfile signature";
    let verified = Command::new("sh")
        .current_dir(dir.path())
        .args(["-c", script])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}
