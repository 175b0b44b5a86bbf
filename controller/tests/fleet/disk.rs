//! Disks that fill, and files that go, under a running controller. Needs root: it mounts small ones.

use std::fs;
use std::path::Path;

use fleet::Role;
use fleet::wire::{ClaimRequest, ListHostsRequest};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::claims::{STATIC, static_domain};
use crate::support::{Fleet, Member};

/// A disk of a few megabytes, gone with this.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(path: &Path) -> Self {
        let size = Some("size=6m");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), size).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

async fn claim(host: &Member, digest: u8) -> Result<bool, Status> {
    let claim = ClaimRequest {
        domain: static_domain().to_vec(),
        digest: vec![digest; 32],
        seq: u64::from(digest),
        forget_after_secs: 4_000_000_000,
        dated_secs: 0,
    };
    let answer = host.agent().claim(claim).await?;
    Ok(answer.into_inner().won)
}

fn assert_names(refused: &Status, words: &[&str]) {
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    for word in words {
        assert!(refused.message().contains(word), "{word}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_is_full_nothing_is_won_and_all_goes_on_when_there_is_room() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::mount(dir.path());
    let mounted_at = dir.path().display().to_string();
    let fleet = Fleet::start_in(dir).await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let sibling = fleet.join(Role::Host, "web-2").await;
    operator.apply(0, STATIC).await.unwrap();
    assert!(claim(&host, 1).await.unwrap());

    let filler = fleet.dir.path().join("filler");
    let _ = fs::write(&filler, vec![1; 8 << 20]);
    let mut lost = None;
    for digest in 2..250 {
        match claim(&host, digest).await {
            Ok(won) => assert!(won),
            Err(refused) => {
                assert_names(
                    &refused,
                    &["the disk is full", "controller.db", &mounted_at],
                );
                lost = Some(digest);
                break;
            }
        }
    }
    let lost = lost.expect("a disk without room took 250 claims");
    // What is only read goes on.
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert_eq!(hosts.unwrap().into_inner().hosts.len(), 2);

    fs::remove_file(&filler).unwrap();

    assert!(claim(&sibling, lost).await.unwrap(), "it was not stored");
    assert!(!claim(&host, lost).await.unwrap());
    assert!(!claim(&sibling, 1).await.unwrap(), "what was won stays won");
    fleet.join(Role::User, "alice").await;
    drop(disk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_removed_or_cut_under_the_controller_takes_no_more_writes() {
    for (words, harm) in [
        (
            "was removed",
            (|path| fs::remove_file(path)) as fn(&Path) -> _,
        ),
        ("was replaced", |path| {
            let bytes = fs::read(path)?;
            fs::remove_file(path)?;
            fs::write(path, bytes)
        }),
        ("was cut short", |path| {
            fs::File::options().write(true).open(path)?.set_len(8_192)
        }),
        ("was removed", |path| {
            fs::remove_dir_all(path.parent().unwrap())
        }),
        ("was removed", |path| {
            fs::remove_file(path.with_extension("db-wal"))
        }),
    ] {
        let fleet = Fleet::start().await;
        let host = fleet.join(Role::Host, "web-1").await;
        let operator = fleet.join(Role::Operator, "root").await;
        operator.apply(0, STATIC).await.unwrap();
        // In the file itself, not only in the log beside it.
        let path = fleet.dir.path().join("data/controller.db");
        let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
        let other = rusqlite::Connection::open(&path).unwrap();
        // All of it: whoever reads at that moment keeps some back.
        let is_whole = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?);
        while !other.query_row(checkpoint, [], is_whole).unwrap() {}
        assert!(claim(&host, 1).await.unwrap());

        harm(&path).unwrap();

        assert_names(
            &claim(&host, 2).await.unwrap_err(),
            &[words, "controller.db"],
        );
        drop(other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_found_after_an_unclean_stop_and_takes_no_writes() {
    let fleet = Fleet::start().await;
    let host = fleet.join(Role::Host, "web-1").await;
    let operator = fleet.join(Role::Operator, "root").await;
    operator.apply(0, STATIC).await.unwrap();
    let path = fleet.dir.path().join("data/controller.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    let fill = "CREATE TABLE filler (n INTEGER PRIMARY KEY, text TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO filler SELECT i, hex(zeroblob(500)) FROM n;";
    database.execute_batch(fill).unwrap();
    drop(database);
    let fleet = fleet.restart().await;

    // As a power failure leaves it: a log beside it, and pages that were never written.
    let length = fs::metadata(&path).unwrap().len();
    let Fleet {
        dir,
        running,
        first,
    } = fleet;
    running.stop().await;
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4_096 * 50], length - 4_096 * 60)
        .unwrap();
    fs::write(path.with_extension("db-wal"), [0; 64]).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let running = controller::Running::start(&dir.path().join("data"), Some(listen)).await;
    let fleet = Fleet {
        dir,
        running: running.unwrap(),
        first,
    };
    let host = Member {
        channel: fleet
            .channel(&host.answer.certificate_der, &host.joiner)
            .await,
        ..host
    };

    let mut refused = None;
    for digest in 1..200 {
        match claim(&host, digest).await {
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    assert_names(
        &refused.expect("never found"),
        &["damaged", "controller.db", "backup"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_read_only_disk_names_it() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::mount(dir.path());
    let Fleet { dir, running, .. } = Fleet::start_in(dir).await;
    running.stop().await;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(
        None::<&str>,
        dir.path(),
        None::<&str>,
        read_only,
        None::<&str>,
    )
    .unwrap();

    let error = controller::Running::start(&dir.path().join("data"), None).await;

    let text = program::one_line(&error.unwrap_err()).to_string();
    assert!(text.to_lowercase().contains("read-only"), "{text}");
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
    drop(disk);
}
