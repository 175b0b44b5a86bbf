use super::*;
use crate::error::Error;

fn table() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)")
        .unwrap();
    connection
}

fn insert(connection: &Connection, number: i64) -> Result<(), Error> {
    connection.execute("INSERT INTO t VALUES (?1)", [number])?;
    Ok(())
}

/// Runs writes as one queue and gives their answers and what is in the table afterwards.
fn serve(jobs: Vec<Job>) -> Vec<i64> {
    let (sender, queue) = mpsc::channel(16);
    for job in jobs {
        sender.try_send(Message::Run(job)).ok().unwrap();
    }
    drop(sender);
    let connection = table();
    run(&connection, queue);
    let mut statement = connection.prepare("SELECT n FROM t ORDER BY n").unwrap();
    let numbers = statement.query_map([], |row| row.get(0)).unwrap();
    numbers.map(Result::unwrap).collect()
}

#[test]
fn a_write_that_fails_undoes_itself_and_no_other() {
    let (first, mut first_answer) = job(|connection| insert(connection, 1));
    let (second, mut second_answer) = job(|connection| {
        insert(connection, 2)?;
        insert(connection, 1)
    });
    let (third, mut third_answer) = job(|connection| insert(connection, 3));

    let numbers = serve(vec![first, second, third]);

    assert_eq!(numbers, [1, 3]);
    assert!(first_answer.try_recv().unwrap().is_ok());
    assert!(second_answer.try_recv().unwrap().is_err());
    assert!(third_answer.try_recv().unwrap().is_ok());
}

#[test]
fn when_the_transaction_is_lost_nobody_hears_that_a_write_was_kept() {
    let (first, mut first_answer) = job(|connection| insert(connection, 1));
    let (lost, mut lost_answer) = job(|connection| {
        // What SQLite does by itself when the disk is full.
        connection.execute_batch("ROLLBACK")?;
        Ok(())
    });
    let (later, mut later_answer) = job(|connection| insert(connection, 3));

    let numbers = serve(vec![first, lost, later]);

    assert_eq!(
        numbers,
        [3],
        "the later write is in a transaction of its own"
    );
    assert!(first_answer.try_recv().unwrap().is_err());
    assert!(lost_answer.try_recv().unwrap().is_err());
    assert!(later_answer.try_recv().unwrap().is_ok());
}
