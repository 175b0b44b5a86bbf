//! Events out of the house.

pub(crate) mod programs;
mod receivers;
mod rsyslog;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::Running;
use fleet::wire::audit_client::AuditClient;
use fleet::wire::{ListEventsRequest, ListSinksRequest, PushEventsRequest, Sink};
use fleet::{Event, EventKind, EventRecord, Role};
use tempfile::TempDir;

use self::receivers::Post;
use self::rsyslog::Rsyslog;
use crate::support::{Fleet, Member, patiently};

const EPOCH: &str = "00112233445566778899aabbccddeeff";

/// A fleet whose controller has these settings besides.
pub(crate) async fn fleet_with(settings: &str) -> Fleet {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let first = controller::init(&data, "controller.example:7443", "prod")
        .await
        .unwrap();
    add_settings(&data, settings);
    let listen = "127.0.0.1:0".parse().unwrap();
    let running = Running::start(&data, Some(listen)).await.unwrap();
    Fleet {
        dir,
        running,
        first,
    }
}

fn add_settings(data: &Path, text: &str) {
    let path = data.join("controller.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, before + text).unwrap();
}

/// One event of every kind, and one of a later version.
fn every_kind() -> Vec<EventRecord> {
    let numbers = EventKind::ALL.into_iter().map(i32::from).chain([99]);
    let mut journal: Vec<EventRecord> = Vec::new();
    for number in numbers {
        let mut event = Event::new(EventKind::Unspecified, 1_795_000_000_000);
        event.kind = number;
        event.user = "alice".to_owned();
        event.source = "192.0.2.7".to_owned();
        event.reason = "a \"reason\" with ] \\ and\na second line".to_owned();
        let (seq, chain) = journal.last().map_or((0, [0; 32]), |last| {
            (last.seq, last.chain.as_slice().try_into().unwrap())
        });
        journal.push(EventRecord::after(seq, &chain, event));
    }
    journal
}

async fn push(host: &Member, records: &[EventRecord]) {
    let request = PushEventsRequest {
        epoch: EPOCH.to_owned(),
        events: Vec::new(),
        records: records.to_vec(),
    };
    host.agent().push_events(request).await.unwrap();
}

/// Every record of the log in its order: host, kind and seq.
async fn log(reader: &Member) -> Vec<String> {
    let request = ListEventsRequest {
        limit: 10_000,
        ..ListEventsRequest::default()
    };
    let mut records = reader.events(request).await;
    records.sort_by_key(|record| record.id);
    let each = records.into_iter().map(fleet::export::Record::new);
    each.map(|record| {
        format!(
            "{} {} {}",
            record.host,
            record.kind_name(),
            record.event.seq
        )
    })
    .collect()
}

fn names(json: &[String]) -> Vec<String> {
    let each = json.iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {} {}", text("host"), text("kind"), line["seq"])
    });
    each.collect()
}

async fn sinks(reader: &Member) -> Vec<Sink> {
    let mut client = AuditClient::new(reader.channel.clone());
    let answer = client.list_sinks(ListSinksRequest {}).await;
    answer.unwrap().into_inner().sinks
}

pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    patiently(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// What is delivered, batch after batch.
fn lines(posts: &Mutex<Vec<Post>>) -> Vec<String> {
    let posts = posts.lock().unwrap();
    posts.iter().flat_map(Post::lines).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_event_reaches_every_sink_once_and_in_the_order_of_the_log() {
    let (http, posts) = receivers::http(Arc::new(Mutex::new(200))).await;
    let (ocsf, ocsf_posts) = receivers::http(Arc::new(Mutex::new(200))).await;
    let (syslog, messages) = receivers::syslog().await;
    let (otlp, names_by_otlp) = receivers::otlp().await;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'hook'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{http}/x'\n\
         from = 'beginning'\nbatch = 7\n\
         [[sink]]\nname = 'ocsf'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{ocsf}/x'\n\
         from = 'beginning'\nformat = 'ocsf'\nbody = 'array'\n\
         [[sink]]\nname = 'log'\ntype = 'syslog'\naddress = '127.0.0.1:{syslog}'\n\
         transport = 'tcp'\nfrom = 'beginning'\n\
         [[sink]]\nname = 'otlp'\ntype = 'otlp'\nurl = 'http://127.0.0.1:{otlp}'\n\
         from = 'beginning'\n\
         [[sink]]\nname = 'file'\ntype = 'file'\npath = 'events.json'\nfrom = 'beginning'\n"
    ))
    .await;
    let auditor = fleet.join(Role::Operator, "olga").await;
    let host = fleet.join(Role::Host, "web-1").await;

    push(&host, &every_kind()).await;
    // That she reads the log is in it, once.
    let _recorded = log(&auditor).await;

    until(async || {
        let sinks = sinks(&auditor).await;
        sinks.len() == 5 && sinks.iter().all(|sink| sink.delivered_id == sink.newest_id)
    })
    .await;
    let expected = log(&auditor).await;
    assert!(expected.len() > EventKind::ALL.len() + 1, "{expected:?}");
    assert_eq!(names(&lines(&posts)), expected);
    let path = fleet.dir.path().join("data/events.json");
    let written = std::fs::read_to_string(path).unwrap();
    let written: Vec<String> = written.lines().map(str::to_owned).collect();
    assert_eq!(names(&written), expected);
    assert_eq!(*names_by_otlp.lock().unwrap(), expected);
    let messages = messages.lock().unwrap();
    let by_syslog = messages.iter().map(|message| {
        let words: Vec<&str> = message.splitn(7, ' ').collect();
        let seq = message
            .split_once(" seq=\"")
            .unwrap()
            .1
            .split_once('"')
            .unwrap()
            .0;
        format!("{} {} {seq}", words[2], words[5])
    });
    assert_eq!(by_syslog.collect::<Vec<_>>(), expected);
    let events: Vec<serde_json::Value> = ocsf_posts
        .lock()
        .unwrap()
        .iter()
        .flat_map(|post| serde_json::from_slice::<Vec<_>>(&post.body).unwrap())
        .collect();
    assert_eq!(events.len(), expected.len());
    assert!(events.iter().all(|event| event["class_uid"].is_u64()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_so_that_openssl_verifies_it_and_shows_its_token() {
    let (port, posts) = receivers::http(Arc::new(Mutex::new(200))).await;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'hook'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{port}/'\n\
         from = 'beginning'\nsecret_file = 'hook.secret'\ntoken_file = 'hook.token'\n\
         header = 'Authorization: Splunk'\n"
    ))
    .await;
    let data = fleet.dir.path().join("data");
    program::files::create(&data.join("hook.secret"), 0o600, b"correct horse\n").unwrap();
    program::files::create(&data.join("hook.token"), 0o640, b"b-tok-en\n").unwrap();

    until(async || !posts.lock().unwrap().is_empty()).await;

    let post = posts.lock().unwrap()[0].clone();
    assert_eq!(post.header("authorization"), "Splunk b-tok-en");
    assert_eq!(post.header("content-type"), "application/x-ndjson");
    assert!(post.header("postern-records").starts_with("1-"));
    std::fs::write(fleet.dir.path().join("body"), &post.body).unwrap();
    let script = format!(
        "(printf '%s.' {}; cat body) | openssl dgst -sha256 -hmac 'correct horse' -r",
        post.header("postern-timestamp")
    );
    let openssl = Command::new("sh")
        .args(["-c", &script])
        .current_dir(fleet.dir.path())
        .output();
    let computed = String::from_utf8(openssl.unwrap().stdout).unwrap();
    let computed = computed.split(' ').next().unwrap();
    assert_eq!(
        post.header("postern-signature"),
        format!("sha256={computed}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_was_down_gets_everything_in_order_and_stops_no_other_also_across_a_restart() {
    let status = Arc::new(Mutex::new(503));
    let (down, late) = receivers::http(Arc::clone(&status)).await;
    let (up, posts) = receivers::http(Arc::new(Mutex::new(200))).await;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'down'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{down}/'\n\
         from = 'beginning'\nbatch = 5\n\
         [[sink]]\nname = 'nowhere'\ntype = 'syslog'\naddress = '127.0.0.1:1'\n\
         [[sink]]\nname = 'up'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{up}/'\n\
         from = 'beginning'\n"
    ))
    .await;
    let auditor = fleet.join(Role::Operator, "olga").await;
    let host = fleet.join(Role::Host, "web-1").await;
    push(&host, &every_kind()).await;

    let expected = log(&auditor).await;
    // And that she asked for it.
    until(async || names(&lines(&posts)).starts_with(&expected)).await;
    until(async || {
        sinks(&auditor)
            .await
            .iter()
            .filter(|sink| !sink.error.is_empty())
            .count()
            == 2
    })
    .await;
    let [failing, nowhere, taking] = &sinks(&auditor).await[..] else {
        panic!("three sinks");
    };
    assert_eq!((failing.delivered_id, taking.lag_ms), (0, 0));
    assert!(
        failing.lag_ms > 0 && failing.error.contains("503: said"),
        "{failing:?}"
    );
    assert!(nowhere.error.contains("127.0.0.1:1"), "{nowhere:?}");

    let fleet = fleet.restart().await;
    *status.lock().unwrap() = 200;
    // What she asked since is counted when the controller stops.
    until(async || names(&lines(&late)).starts_with(&expected)).await;
    // What was delivered before is not sent again to a sink that stopped in order.
    assert!(names(&lines(&posts)).starts_with(&expected));
    fleet.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_sink_lags_is_recorded_once_when_it_begins_and_once_when_it_ends() {
    let status = Arc::new(Mutex::new(500));
    let (port, posts) = receivers::http(Arc::clone(&status)).await;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'siem'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{port}/'\n\
         from = 'beginning'\nalarm_after = '1s'\n"
    ))
    .await;
    let auditor = fleet.join(Role::Operator, "olga").await;
    let alarms = async || {
        let request = ListEventsRequest {
            kind: EventKind::Sink.into(),
            ..ListEventsRequest::default()
        };
        let records = auditor.events(request).await;
        let reasons = records.into_iter().map(|record| {
            let record = fleet::export::Record::new(record);
            record.event.reason
        });
        reasons.collect::<Vec<_>>()
    };

    until(async || alarms().await.len() == 1).await;
    assert!(alarms().await[0].contains("siem has not taken what is"));
    // Longer than it takes to try again, and to be late again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(alarms().await.len(), 1);

    *status.lock().unwrap() = 200;
    until(async || alarms().await.len() == 2).await;
    assert_eq!(alarms().await[0], "sink siem takes events again");
    let expected = log(&auditor).await;
    until(async || names(&lines(&posts)) == expected).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(alarms().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_a_receiver_refuses_for_ever_is_skipped_alone_and_that_is_an_event() {
    let (port, posts) = receivers::picky("\"seq\":4,").await;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'picky'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{port}/'\n\
         from = 'beginning'\nkinds = ['refused', 'sink']\n"
    ))
    .await;
    let data = fleet.dir.path().join("data");
    let auditor = fleet.join(Role::Operator, "olga").await;
    let host = fleet.join(Role::Host, "web-1").await;
    let none = controller::skip_record(&data, "picky").await;
    assert!(
        matches!(none, Err(controller::SinkError::NothingWaits { .. })),
        "{none:?}"
    );
    let mut journal: Vec<EventRecord> = Vec::new();
    for number in 0..7 {
        let event = Event::new(EventKind::Refused, 1_795_000_000_000);
        let (seq, chain) = journal.last().map_or((0, [0; 32]), |last| {
            (last.seq, last.chain.as_slice().try_into().unwrap())
        });
        assert_eq!(seq, number);
        journal.push(EventRecord::after(seq, &chain, event));
    }
    push(&host, &journal).await;
    // What is before it arrives, though it was refused with it in one batch.
    until(async || lines(&posts).len() == 3 && !sinks(&auditor).await[0].error.is_empty()).await;

    let skipped = controller::skip_record(&data, "picky").await.unwrap();

    assert_eq!(
        (skipped.seq, &*skipped.host, &*skipped.kind),
        (4, "web-1", "refused")
    );
    until(async || lines(&posts).len() == 7).await;
    let got = names(&lines(&posts));
    assert!(got.iter().all(|name| !name.ends_with(" 4")), "{got:?}");
    let last = lines(&posts).pop().unwrap();
    let told = format!(
        "sink picky is not sent record {} (refused, event 4",
        skipped.id
    );
    assert!(last.contains(&told), "{last}");
    until(async || sinks(&auditor).await[0].lag_ms == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_takes_only_the_kinds_that_it_names_and_begins_with_what_comes() {
    let (port, posts) = receivers::http(Arc::new(Mutex::new(200))).await;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'some'\ntype = 'webhook'\nurl = 'http://127.0.0.1:{port}/'\n\
         kinds = ['replay', 'drift']\n"
    ))
    .await;
    let auditor = fleet.join(Role::Operator, "olga").await;
    let host = fleet.join(Role::Host, "web-1").await;
    // It begins with the newest record when the controller starts.
    until(async || sinks(&auditor).await[0].delivered_id > 0).await;

    push(&host, &every_kind()).await;

    until(async || {
        let sink = &sinks(&auditor).await[0];
        sink.delivered_id == sink.newest_id && sink.lag_ms == 0
    })
    .await;
    let delivered = names(&lines(&posts));
    let kinds = delivered.iter().map(|name| name.split(' ').nth(1).unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["drift", "replay"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_rsyslog_receives_everything_over_tls_also_when_it_was_down() {
    let mut rsyslog = Rsyslog::prepare();
    let files = rsyslog.dir.path().display().to_string();
    let port = rsyslog.port;
    let fleet = fleet_with(&format!(
        "[[sink]]\nname = 'log'\ntype = 'syslog'\naddress = '127.0.0.1:{port}'\n\
         from = 'beginning'\nca = '{files}/ca.pem'\n\
         certificate = '{files}/client.pem'\nkey = '{files}/client.key'\n\
         [[sink]]\nname = 'stranger'\ntype = 'syslog'\naddress = '127.0.0.1:{port}'\n\
         from = 'beginning'\nca = 'ca.pem'\n"
    ))
    .await;
    let auditor = fleet.join(Role::Operator, "olga").await;
    let host = fleet.join(Role::Host, "web-1").await;
    push(&host, &every_kind()).await;
    until(async || !sinks(&auditor).await[0].error.is_empty()).await;

    rsyslog.start();

    let expected = log(&auditor).await;
    until(async || rsyslog.received().len() >= expected.len()).await;
    assert_eq!(rsyslog.received(), expected);
    // Nothing is sent to whoever has no certificate of the authority that is named.
    until(async || sinks(&auditor).await[1].error.contains("certificate")).await;
    assert_eq!(sinks(&auditor).await[1].delivered_id, 0);
}
