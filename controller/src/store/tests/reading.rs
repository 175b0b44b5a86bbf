//! What is read in several statements.

use std::sync::mpsc;

use super::*;
use crate::store::sql::Connection;

fn records(connection: &Connection) -> Result<u64, StoreError> {
    Ok(connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_at_one_moment_knows_nothing_of_what_is_written_meanwhile() {
    let (_dir, store) = store().await;
    store
        .record(event(EventKind::Operator, "before"))
        .await
        .unwrap();
    let ((asked, is_asked), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
    let reader = store.clone();
    let reading = tokio::spawn(async move {
        let work = move |connection: &Connection| {
            connection.at_one_moment(|connection| {
                let first = records(connection)?;
                asked.send(()).unwrap();
                goes_on.recv().unwrap();
                Ok((first, records(connection)?))
            })
        };
        reader.engine.read_to_send(work).await
    });
    is_asked.recv().unwrap();

    store
        .record(event(EventKind::Operator, "meanwhile"))
        .await
        .unwrap();

    go_on.send(()).unwrap();
    let (first, second) = reading.await.unwrap().unwrap();
    assert_eq!(first, second);
    let now = store
        .engine
        .read_to_send(|connection| connection.at_one_moment(records));
    assert_eq!(now.await.unwrap(), first + 1);
}
