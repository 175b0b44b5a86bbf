//! How far back the newest of many arms reach together, of which each is in the order of time.

use std::collections::BTreeMap;

use super::arm::Arm;
use super::conditions::Window;
use crate::store::error::StoreError;
use crate::store::model::EventFilter;
use crate::store::sql::{Connection, Set, params_from_iter};

/// Of each arm, however many there are.
const EACH_MIN: usize = 8;

/// How many of these arms are among the newest `most` of all together, and when the oldest of those was; `None` when
/// there are no more. Of each arm some are read, and as many as of all where more of it could be among them.
pub(super) fn newest_of_each(
    connection: &Connection,
    arms: &[Arm],
    time: [&'static str; 2],
    (of, most): ((&EventFilter, Window), usize),
) -> Result<(usize, Option<u64>), StoreError> {
    let some = (most / arms.len().max(1)).max(EACH_MIN);
    let all: Vec<&Arm> = arms.iter().collect();
    let mut each = newest(connection, &all, time, (of, some))?;
    let begun = nth_newest(&each, most);
    let goes_on = |times: &Vec<i64>| {
        let oldest = times.get(some - 1);
        oldest.is_some_and(|oldest| begun.is_none_or(|nth| *oldest > nth))
    };
    let (left, more): (Vec<_>, Vec<_>) = each
        .into_iter()
        .zip(all)
        .partition(|(times, _)| !goes_on(times));
    each = left.into_iter().map(|(times, _)| times).collect();
    let more: Vec<&Arm> = more.into_iter().map(|(_, arm)| arm).collect();
    each.extend(newest(connection, &more, time, (of, most))?);

    let floor = nth_newest(&each, most);
    let is_in = |at_ms: &&i64| floor.is_none_or(|floor| **at_ms >= floor);
    let rows = each.iter().flatten().filter(is_in).count();
    Ok((rows, floor.map(i64::cast_unsigned)))
}

/// `None` where there are fewer.
fn nth_newest(each: &[Vec<i64>], number: usize) -> Option<i64> {
    let mut all: Vec<i64> = each.iter().flatten().copied().collect();
    let index = number.checked_sub(1).filter(|index| *index < all.len())?;
    let (_, nth, _) = all.select_nth_unstable_by(index, |one, other| other.cmp(one));
    Some(*nth)
}

/// When the newest so many of each of these were.
fn newest(
    connection: &Connection,
    arms: &[&Arm],
    time: [&'static str; 2],
    (of, most): ((&EventFilter, Window), usize),
) -> Result<Vec<Vec<i64>>, StoreError> {
    let dialect = connection.dialect();
    let [at_ms, _] = time;
    // What differs in its values only is asked at once.
    let mut asked: BTreeMap<String, (Set, Vec<usize>)> = BTreeMap::new();
    for (number, arm) in arms.iter().enumerate() {
        let keyed = arm.keyed(dialect, time, of);
        let order = arm.order(dialect, time);
        let sql = format!(
            "SELECT {at_ms} FROM {} WHERE {} ORDER BY {order} LIMIT {most}",
            arm.from, keyed.sql
        );
        let (set, numbers) = asked.entry(sql).or_default();
        set.push(params_from_iter(keyed.values))?;
        numbers.push(number);
    }
    let mut each: Vec<Vec<i64>> = vec![Vec::new(); arms.len()];
    for (sql, (set, numbers)) in asked {
        connection.ask_each(&sql, set)?.each(|number, row| {
            let number = numbers.get(number).copied().unwrap_or_default();
            if let Some(times) = each.get_mut(number) {
                times.push(row.get(0)?);
            }
            Ok(())
        })?;
    }
    for times in &mut each {
        times.sort_unstable_by(|one, other| other.cmp(one));
    }
    Ok(each)
}
