//! Grants and locks across starts.

use engine::CycleStage;
use fleet::{Event, EventKind};
use tempfile::TempDir;

use crate::support::{event, grant, open};

#[test]
fn a_grant_that_lives_on_in_connections_is_found_until_it_is_forgotten() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let grant = grant();
    let opened = event(EventKind::GrantOpened, 7);
    start.journal.stage_opened(grant.clone(), opened);
    start.journal.commit().unwrap();
    let closed = event(EventKind::GrantClosed, 9);
    start.journal.stage_living_on(grant.id, closed);
    start.journal.commit().unwrap();
    drop(start);

    let mut again = open(dir.path());
    assert_eq!(again.open_grants.len(), 1);
    assert_eq!(again.open_grants[0].grant, grant);
    assert!(again.open_grants[0].is_closed && !again.open_grants[0].is_given_up);
    again.journal.stage_given_up(grant.id);
    again.journal.commit().unwrap();
    drop(again);
    let mut again = open(dir.path());
    assert!(again.open_grants[0].is_closed && again.open_grants[0].is_given_up);
    again.journal.stage_forgotten(grant.id);
    again.journal.commit().unwrap();
    drop(again);

    assert_eq!(open(dir.path()).open_grants, []);
}

#[test]
fn a_grant_that_is_asked_for_again_is_found_once_with_its_later_end() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let grant = grant();
    let until = |until_ms, at_ms| Event {
        until_ms,
        ..event(EventKind::GrantOpened, at_ms)
    };
    let opened = until(grant.until_ms, 7);
    start.journal.stage_opened(grant.clone(), opened);
    let later_ms = grant.until_ms + 5_000;
    start.journal.stage_extended(grant.id, until(later_ms, 8));
    start.journal.commit().unwrap();
    let latest_ms = later_ms + 5_000;
    start.journal.stage_extended(grant.id, until(latest_ms, 9));
    start.journal.commit().unwrap();
    drop(start);

    let again = open(dir.path());
    let [found] = again.open_grants.as_slice() else {
        panic!("{:?}", again.open_grants);
    };
    assert_eq!(
        (found.grant.until_ms, found.opened.until_ms),
        (latest_ms, latest_ms)
    );
    assert_eq!(
        (found.grant.rules.clone(), found.is_closed),
        (grant.rules, false)
    );
}

#[test]
fn a_host_that_was_locked_is_locked_at_its_next_start_until_it_is_unlocked() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    assert_eq!(start.locked, None);
    start.journal.stage_lock(Some("stolen".to_owned()));
    start.journal.commit().unwrap();
    drop(start);

    let mut again = open(dir.path());
    assert_eq!(again.locked.as_deref(), Some("stolen"));
    again.journal.stage_lock(None);
    again.journal.commit().unwrap();
    drop(again);

    assert_eq!(open(dir.path()).locked, None);
}

#[test]
fn a_grant_is_found_open_until_its_closing_is_recorded() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let grant = grant();
    let opened = event(EventKind::GrantOpened, 7);
    let seq = start.journal.stage_opened(grant.clone(), opened);
    start.journal.commit().unwrap();
    let epoch = start.journal.epoch().to_owned();
    start.journal.acknowledged(&epoch, seq);
    start.journal.commit().unwrap();
    drop(start);

    let mut again = open(dir.path());
    assert_eq!(again.open_grants.len(), 1);
    assert_eq!(again.open_grants[0].grant, grant);
    assert_eq!(again.open_grants[0].opened.at_ms, 7);
    again
        .journal
        .stage_closed(grant.id, event(EventKind::GrantClosed, 9));
    again.journal.commit().unwrap();
    drop(again);

    assert_eq!(open(dir.path()).open_grants, []);
}

#[test]
fn a_command_cycle_is_found_with_what_closes_it_and_how_far_it_was_until_its_end() {
    let dir = TempDir::new().unwrap();
    let mut start = open(dir.path());
    let id = grant().id;
    let opened = Event {
        until_ms: 9_000,
        ..event(EventKind::GrantOpened, 7)
    };
    start
        .journal
        .stage_cycle(id, "/c 192.0.2.7".to_owned(), opened);
    start.journal.commit().unwrap();
    drop(start);

    for stage in [CycleStage::Opening, CycleStage::Open, CycleStage::Closing] {
        let mut again = open(dir.path());
        let [found] = again.open_grants.as_slice() else {
            panic!("{:?}", again.open_grants);
        };
        assert_eq!((found.grant.id, found.grant.until_ms), (id, 9_000));
        assert_eq!(found.cycle, Some(("/c 192.0.2.7".to_owned(), stage)));
        let (next, event) = match stage {
            CycleStage::Opening => (CycleStage::Open, event(EventKind::CommandRun, 8)),
            CycleStage::Open => (CycleStage::Closing, event(EventKind::CommandRun, 9)),
            CycleStage::Closing => {
                let closed = event(EventKind::GrantClosed, 10);
                again.journal.stage_closed(id, closed);
                again.journal.commit().unwrap();
                continue;
            }
        };
        again.journal.stage_cycle_stage(id, next, event);
        again.journal.commit().unwrap();
    }

    assert_eq!(open(dir.path()).open_grants, []);
}
