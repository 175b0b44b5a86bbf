use fleet::Role;

use super::*;
use crate::app::fixture::{Fleet, caller, root};

/// The whole answer, and how many pages it took.
async fn read(fleet: &Fleet, mut listing: Listing) -> (Vec<LogRow>, usize) {
    let (mut records, mut pages) = (Vec::new(), 0);
    loop {
        let page = listing.next(&fleet.context).await.unwrap();
        if page.is_empty() {
            return (records, pages);
        }
        records.extend(page);
        pages += 1;
    }
}

#[tokio::test]
async fn an_answer_ends_at_its_limit_and_the_usual_one_is_a_hundred() {
    let fleet = Fleet::new().await;
    for _ in 0..LIMIT_DEFAULT + 20 {
        fleet.token(Role::Host, "").await;
    }

    let (usual, _) = read(&fleet, Listing::new(EventFilter::default(), 0)).await;
    let (few, _) = read(&fleet, Listing::new(EventFilter::default(), 3)).await;
    let (all, pages) = read(&fleet, Listing::new(EventFilter::default(), u32::MAX)).await;

    assert_eq!((usual.len(), few.len()), (LIMIT_DEFAULT, 3));
    assert_eq!((all.len(), pages), (LIMIT_DEFAULT + 20, 2));
    let newest_first = all.is_sorted_by(|newer, older| newer.event.seq > older.event.seq);
    assert!(newest_first, "without loss or repetition");
}

#[tokio::test]
async fn of_two_members_with_one_name_only_the_one_with_the_role_is_asked_about() {
    let fleet = Fleet::new().await;
    fleet.join(Role::User, "alice").await;
    let auditor = caller(&fleet.join(Role::Auditor, "alice").await);
    let question = crate::app::reads::Question::new("host list");
    crate::app::reads::note(&fleet.context, &auditor, question, crate::app::fixture::NOW)
        .await
        .unwrap();
    let found = async |user: &str| {
        let filter = EventFilter {
            users: vec![user.to_owned()],
            ..EventFilter::default()
        };
        let filter = permitted(&fleet.context, &root(), filter).await?;
        let page = fleet.context.store.newest(filter.clone(), 10).await?;
        for row in &page.rows {
            assert!(filter.matches(&row.host, &row.event()));
        }
        Ok::<_, Error>(page.rows.len())
    };

    assert_eq!(found("alice").await.unwrap(), 1);
    assert_eq!(found("auditor/alice").await.unwrap(), 1);
    assert_eq!(found("user/alice").await.unwrap(), 0);
    let stranger = found("owner/alice").await.unwrap_err().to_string();
    assert!(
        stranger.contains("no owner `alice` in the fleet"),
        "{stranger}"
    );
    assert!(stranger.contains("did you mean"), "{stranger}");
    let refused = found("boss/alice").await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
}

#[tokio::test]
async fn stanzas_actors_and_generations_that_never_were_are_refused() {
    let fleet = Fleet::new().await;
    fleet.join(Role::Operator, "stan").await;
    let text = "NAME ssh\nSOURCE ANY\nOPEN_PORTS tcp/22\n";
    fleet.apply(0, text).await.unwrap();
    let asked = async |filter| permitted(&fleet.context, &root(), filter).await;
    let stanza = |name: &str| EventFilter {
        stanza: Some(name.to_owned()),
        ..EventFilter::default()
    };
    let actor = |name: &str| EventFilter {
        actor: Some(name.to_owned()),
        ..EventFilter::default()
    };
    let generation = |generation| EventFilter {
        generation: Some(generation),
        ..EventFilter::default()
    };

    for known in [
        stanza("ssh"),
        actor("operator/stan"),
        actor("owner/root"),
        actor("controller"),
        generation(1),
    ] {
        asked(known).await.unwrap();
    }
    for (unknown, said) in [
        (
            stanza("shs"),
            "no stanza `shs` in the policy, nor in the log; did you mean ssh?",
        ),
        (
            actor("operator/stann"),
            "no actor `operator/stann` in the fleet, nor in its log; did you mean operator/stan?",
        ),
        (
            generation(99),
            "no generation 99, nor an event of one: the newest is 1",
        ),
    ] {
        assert_eq!(asked(unknown).await.unwrap_err().to_string(), said);
    }
}
