//! Who asks for a network is answered alike however many addresses of it the log names.

use fleet::event::Event;

use super::*;

/// Events of an office of ten addresses, of four hundred others, and of networks that were opened.
fn of_networks() -> Vec<Event> {
    let events = (1..=900_u64).map(|number| {
        let kinds = [EventKind::GrantOpened, EventKind::Refused];
        let mut event = Event::new(kinds[usize::from(number % 3 == 0)], 1_000 + number / 2);
        event.source = match number % 5 {
            0 => format!("192.0.2.{}", number % 10),
            1 => "192.0.2.7".to_owned(),
            _ => format!("10.{}.{}.1", number % 2, number % 199),
        };
        event.opened = match number % 7 {
            0 => "192.0.2.200".to_owned(),
            1 => "192.0.2.128/25".to_owned(),
            2 => "192.0.0.0/16".to_owned(),
            _ => event.source.clone(),
        };
        event
    });
    events.collect()
}

#[tokio::test]
async fn a_network_is_answered_whole_newest_first_and_once_of_few_addresses_and_of_many() {
    let (_dir, store) = store().await;
    let (mut seq, mut chain) = (0, [0; 32]);
    let mut records = Vec::new();
    for event in of_networks() {
        let record = EventRecord::after(seq, &chain, event);
        seq = record.seq;
        chain.copy_from_slice(&record.chain);
        records.push(record);
    }
    push(&store, records).await;

    for network in [
        "192.0.2.0/24",
        "192.0.2.0/29",
        "10.1.0.0/16",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "2001:db8::/32",
    ] {
        for kinds in [vec![], vec![EventKind::Refused.into()]] {
            let filter = EventFilter {
                address: network.parse().ok(),
                kinds,
                ..EventFilter::default()
            };
            let mut expected: Vec<(u64, u64)> = (1..)
                .zip(of_networks())
                .filter(|(_, event)| filter.matches("web-1", event))
                .map(|(seq, event)| (event.at_ms, seq))
                .collect();
            expected.sort_unstable_by(|one, other| other.cmp(one));

            let (mut found, mut after) = (Vec::new(), Cursor::NEWEST);
            loop {
                let rows = store.search(filter.clone(), after, 70).await.unwrap();
                found.extend(rows.iter().map(|row| (row.at_ms, row.event.seq)));
                let Some(last) = rows.last() else {
                    break;
                };
                after = Cursor::after(last);
            }

            assert_eq!(found, expected, "{filter:?}");
        }
    }
}
