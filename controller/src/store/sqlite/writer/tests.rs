use super::*;
use crate::store::error::StoreError;
use crate::store::jobs::Job;

fn table() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        .unwrap();
    connection
}

fn insert(connection: &sql::Connection, number: i64) -> Result<(), StoreError> {
    connection.execute("INSERT INTO t VALUES (?1)", [number])?;
    Ok(())
}

/// Runs writes as one queue and gives what is in the table afterwards.
fn serve(connection: &Connection, jobs: Vec<Job>) -> Vec<i64> {
    let (sender, mut queue) = mpsc::channel(16);
    for job in jobs {
        sender
            .try_send(Message::Write(Waiting::Alone(job)))
            .ok()
            .unwrap();
    }
    drop(sender);
    run(
        connection,
        &mut queue,
        (&Histogram::new([]), Health::default()),
    );
    let mut statement = connection.prepare("SELECT n FROM t ORDER BY n").unwrap();
    let numbers = statement.query_map([], |row| row.get(0)).unwrap();
    numbers.map(Result::unwrap).collect()
}

#[test]
fn a_write_that_fails_undoes_itself_and_no_other() {
    let (first, mut first_answer) = Job::new(|connection| insert(connection, 1));
    let (second, mut second_answer) = Job::new(|connection| {
        insert(connection, 2)?;
        insert(connection, 1)
    });
    let (third, mut third_answer) = Job::new(|connection| insert(connection, 3));

    let numbers = serve(&table(), vec![first, second, third]);

    assert_eq!(numbers, [1, 3]);
    assert!(first_answer.try_recv().unwrap().is_ok());
    assert!(second_answer.try_recv().unwrap().is_err());
    assert!(third_answer.try_recv().unwrap().is_ok());
}

#[test]
fn when_the_transaction_is_lost_nobody_hears_that_a_write_was_kept() {
    let (first, mut first_answer) = Job::new(|connection| insert(connection, 1));
    let (lost, mut lost_answer) = Job::new(|connection| {
        // What SQLite does by itself when the disk is full.
        connection.execute_batch("ROLLBACK")?;
        Ok(())
    });
    let (later, mut later_answer) = Job::new(|connection| insert(connection, 3));

    let numbers = serve(&table(), vec![first, lost, later]);

    assert_eq!(
        numbers,
        [3],
        "the later write is in a transaction of its own"
    );
    for answer in [&mut first_answer, &mut lost_answer] {
        assert!(matches!(
            answer.try_recv().unwrap(),
            Err(StoreError::NotCommitted(NotCommitted::RolledBack))
        ));
    }
    assert!(later_answer.try_recv().unwrap().is_ok());
}

#[test]
fn the_write_that_lost_the_transaction_hears_its_own_cause() {
    let (lost, mut answer) = Job::new(|connection| {
        connection.execute_batch("ROLLBACK")?;
        Err::<(), _>(StoreError::Damaged { what: "disk" })
    });

    serve(&table(), vec![lost]);

    assert!(matches!(
        answer.try_recv().unwrap(),
        Err(StoreError::Damaged { what: "disk" })
    ));
}

#[test]
fn a_write_whose_transaction_does_not_begin_hears_why() {
    let connection = table();
    connection.execute_batch("BEGIN").unwrap();
    let (refused, mut answer) = Job::new(|connection| insert(connection, 1));

    let numbers = serve(&connection, vec![refused]);

    assert_eq!(numbers, [0; 0]);
    assert!(matches!(
        answer.try_recv().unwrap(),
        Err(StoreError::NotCommitted(NotCommitted::Refused(_)))
    ));
}

#[test]
fn the_log_is_emptied_as_soon_as_the_readers_that_need_it_have_ended() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("controller.db");
    let writer = connection::writing(&path).unwrap();
    writer
        .execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        .unwrap();
    let files = Files::of(&writer).unwrap();
    let reader = connection::reading(&path).unwrap();
    let begin = "BEGIN; SELECT count(*) FROM t";
    reader.execute_batch(begin).unwrap();
    for number in 0..1_000 {
        insert(&writer, number).unwrap();
    }

    empty_log(&writer, Duration::from_millis(1)).unwrap();
    assert!(files.log_bytes() > 0, "an old reader needs it");
    reader.execute_batch("COMMIT").unwrap();
    empty_log(&writer, Duration::from_millis(1)).unwrap();
    assert_eq!(files.log_bytes(), 0);
    reader.execute_batch(begin).unwrap();
    insert(&writer, 5_000).unwrap();
    assert!(
        files.log_bytes() < 100_000,
        "it begins anew beside a new reader"
    );
}

#[test]
fn a_log_that_is_cut_by_hand_is_noticed_and_one_that_another_process_emptied_is_not_mourned() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("controller.db");
    let ours = connection::writing(&path).unwrap();
    ours.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        .unwrap();
    let commits = Histogram::new([]);
    let mut writer = Writer {
        commits: &commits,
        connection: &ours,
        files: Files::of(&ours),
        log: WriteAhead::default(),
        health: Health::default(),
    };
    insert(&ours, 1).unwrap();
    writer.files_are_ours().unwrap();

    empty_log(&connection::writing(&path).unwrap(), Duration::from_secs(1)).unwrap();
    assert_eq!(writer.files.as_ref().unwrap().log_bytes(), 0);
    writer.files_are_ours().unwrap();
    insert(&ours, 2).unwrap();
    writer.files_are_ours().unwrap();

    for length in [100, 0] {
        let log = dir.path().join("controller.db-wal");
        let log = std::fs::File::options().write(true).open(log).unwrap();
        log.set_len(length).unwrap();
        let found = writer.files_are_ours();
        assert!(
            matches!(found, Err(NotCommitted::Disk(Trouble::Truncated))),
            "{found:?}"
        );
    }
}
