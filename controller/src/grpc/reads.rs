//! What requests ask for, in the words of the events that say so.

use fleet::EventKind;
use fleet::wire::{AccessReviewRequest, ListEventsRequest, WhatIfRequest, WhoCanRequest};

use crate::app::reads::Question;

pub(super) fn who_can(request: &WhoCanRequest) -> Question {
    let WhoCanRequest {
        host,
        user,
        port,
        source,
        generation,
        at_ms,
    } = request;
    Question::new("who-can")
        .with("port", port)
        .with("host", host)
        .with("user", user)
        .with("source", source)
        .with("generation", &number(*generation))
        .when("at", *at_ms)
}

pub(super) fn can(request: &WhoCanRequest) -> Question {
    let WhoCanRequest {
        user,
        host,
        port,
        source,
        generation,
        at_ms,
    } = request;
    Question::new("can")
        .with("user", user)
        .with("host", host)
        .with("port", port)
        .with("source", source)
        .with("generation", &number(*generation))
        .when("at", *at_ms)
}

pub(super) fn what_if(request: &WhatIfRequest) -> Question {
    Question::new("policy what-if")
        .when("since", request.since_ms)
        .when("until", request.until_ms)
}

pub(super) fn access_review(request: &AccessReviewRequest) -> Question {
    Question::new("access review")
        .with("user", &request.user)
        .with("host", &request.host)
        .when("as-of", request.as_of_ms)
}

pub(super) fn audit(request: &ListEventsRequest) -> Question {
    let mut question = Question::new("audit list").of_everyone();
    let one = (request.kind != 0).then_some(request.kind);
    for kind in one.into_iter().chain(request.kinds.iter().copied()) {
        let name = EventKind::try_from(kind).map(EventKind::as_str);
        question = question.with("kind", name.unwrap_or("unknown"));
    }
    for user in [&request.user].into_iter().chain(&request.users) {
        question = question.with("user", user);
    }
    for host in [&request.host].into_iter().chain(&request.hosts) {
        question = question.with("host", host);
    }
    question
        .with("source", &request.source)
        .with("port", &request.port)
        .with("stanza", &request.stanza)
        .with("key", &request.key)
        .with("digest", &request.replay_digest)
        .with("grant", &request.grant_id)
        .with("reason", &request.reason)
        .with("generation", &number(request.generation))
        .with("actor", &request.actor)
        .with("request", &request.request_id)
        .when("since", request.since_ms)
        .when("until", request.until_ms)
}

fn number(number: u64) -> String {
    if number == 0 {
        String::new()
    } else {
        number.to_string()
    }
}
