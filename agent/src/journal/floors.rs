//! Floors and spent dates as rows; see `gate::replay`.

use gate::{Floor, FloorReason, Floors, Span};
use rusqlite::{Connection, OptionalExtension as _, params};

/// What an earlier run kept.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Floors> {
    let kept = connection
        .query_row("SELECT * FROM floor", [], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            let lost = Floor {
                through_secs: number("lost_secs")?,
                set_at_secs: number("lost_at_secs")?,
                why: FloorReason::of_number(row.get("lost_why")?),
            };
            let unproven = Floor {
                through_secs: number("unproven_secs")?,
                set_at_secs: number("unproven_at_secs")?,
                why: FloorReason::Unproven,
            };
            let forgotten = Floor {
                through_secs: number("forgotten_secs")?,
                set_at_secs: number("forgotten_at_secs")?,
                why: FloorReason::Forgotten,
            };
            Ok((lost, unproven, forgotten))
        })
        .optional()?;
    let spans = connection
        .prepare("SELECT from_secs, through_secs FROM spent ORDER BY from_secs")?
        .query_map([], |row| {
            Ok(Span {
                from_secs: row.get::<_, i64>(0)?.cast_unsigned(),
                through_secs: row.get::<_, i64>(1)?.cast_unsigned(),
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(
        kept.map_or_else(Floors::default, |(lost, unproven, forgotten)| {
            Floors::kept(lost, unproven, forgotten, &spans)
        }),
    )
}

/// Writes all of them, in place of what is there.
pub(super) fn write(connection: &Connection, floors: &Floors) -> rusqlite::Result<()> {
    let (lost, unproven) = (floors.lost(), floors.unproven());
    let forgotten = floors.forgotten();
    connection
        .prepare_cached("INSERT OR REPLACE INTO floor VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            lost.through_secs.cast_signed(),
            lost.set_at_secs.cast_signed(),
            lost.why.number(),
            unproven.through_secs.cast_signed(),
            unproven.set_at_secs.cast_signed(),
            forgotten.through_secs.cast_signed(),
            forgotten.set_at_secs.cast_signed(),
        ])?;
    connection
        .prepare_cached("DELETE FROM spent")?
        .execute([])?;
    let mut insert = connection.prepare_cached("INSERT INTO spent VALUES (?1, ?2)")?;
    for span in floors.spans() {
        insert.execute([
            span.from_secs.cast_signed(),
            span.through_secs.cast_signed(),
        ])?;
    }
    Ok(())
}
