//! What strangers do to be in the way, and that they are not.

use std::time::Duration;

use fleet::Role;
use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{ClaimRequest, ListHostsRequest, RedeemRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::claims::{STATIC, static_domain};
use crate::raw;
use crate::support::{Fleet, Member, all, patiently};

/// As many as one stranger once needed to stop the fleet, and some more.
const MANY: usize = 1_100;
/// Longer than the controller waits for a peer that says nothing, and shorter than twice that.
const IN_TIME: Duration = Duration::from_secs(15);

/// What a fleet does all day, over new connections.
async fn go_on(fleet: &Fleet, operator: &Member, host: &Member, number: u64) {
    fleet.join(Role::User, &format!("user-{number}")).await;
    let channel = fleet.channel(&operator.answer.certificate_der, &operator.joiner);
    let mut fresh = fleet::wire::operator_client::OperatorClient::new(channel.await);
    fresh.list_hosts(ListHostsRequest {}).await.unwrap();
    let claim = ClaimRequest {
        domain: static_domain().to_vec(),
        digest: vec![u8::try_from(number).unwrap(); 32],
        seq: number,
        forget_after_secs: 0,
        dated_secs: 0,
    };
    host.agent().claim(claim).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_one_address_keep_nobody_out() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let host = fleet.join(Role::Host, "web-1").await;
    operator.apply(0, STATIC).await.unwrap();
    let connector = raw::connector(&fleet);

    // Half of them are silent below TLS, half above it.
    let mut below = Vec::new();
    for _ in 0..MANY / 2 {
        below.push(TcpStream::connect(fleet.running.address()).await.unwrap());
    }
    patiently(go_on(&fleet, &operator, &host, 1)).await;
    let mut above = Vec::new();
    for _ in 0..11 {
        let wave = all((0..MANY / 22).map(|_| raw::tls(&fleet, &connector))).await;
        above.extend(wave.into_iter().flatten());
    }
    assert!(above.len() > MANY / 4, "{} got through TLS", above.len());
    patiently(go_on(&fleet, &operator, &host, 2)).await;

    // Who was there before is there still.
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert_eq!(hosts.unwrap().into_inner().hosts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_what_is_next_is_closed_in_time() {
    let fleet = Fleet::start().await;
    let connector = raw::connector(&fleet);
    let began = tokio::time::Instant::now();

    let mut below = TcpStream::connect(fleet.running.address()).await.unwrap();
    let mut above = raw::tls(&fleet, &connector).await.unwrap();
    let mut half = raw::tls(&fleet, &connector).await.unwrap();
    assert!(raw::say(&mut half, &raw::BEGINNING[..20]).await);
    tokio::join!(
        raw::until_closed(&mut below, IN_TIME),
        raw::until_closed(&mut above, IN_TIME),
        raw::until_closed(&mut half, IN_TIME),
    );

    assert!(
        began.elapsed() > Duration::from_secs(4),
        "not at once either"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_2_is_closed_at_once() {
    let fleet = Fleet::start().await;
    let mut stream = raw::tls(&fleet, &raw::connector(&fleet)).await.unwrap();

    raw::say(&mut stream, b"GET / HTTP/1.1\r\nHost: controller\r\n\r\n").await;

    raw::until_closed(&mut stream, Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_their_connection_and_no_other() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let mut stream = raw::tls(&fleet, &raw::connector(&fleet)).await.unwrap();
    let headers = raw::headers("/postern.v1.Enrollment/Redeem");
    let mut burst = raw::BEGINNING.to_vec();
    for number in 0..2_000 {
        let id = 2 * number + 1;
        // HEADERS with END_HEADERS, then RST_STREAM: CANCEL.
        burst.extend(raw::frame(1, 4, id, &headers));
        burst.extend(raw::frame(3, 0, id, &[0, 0, 0, 8]));
    }

    raw::say(&mut stream, &burst).await;

    raw::until_closed(&mut stream, Duration::from_secs(5)).await;
    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert!(hosts.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_refused_before_it_is_read() {
    let fleet = Fleet::start().await;
    let request = RedeemRequest {
        requested_name: "x".repeat(1_000_000),
        ..RedeemRequest::default()
    };

    let refused = EnrollmentClient::new(fleet.stranger().await)
        .redeem(request)
        .await
        .unwrap_err();

    let codes = [Code::OutOfRange, Code::ResourceExhausted];
    assert!(codes.contains(&refused.code()), "{refused:?}");
}

/// What HTTP/2 lets a peer say that is cheap to say and dear to hear.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let many = |count: usize, frame: &[u8]| frame.repeat(count);
    let headers = raw::headers("/postern.v1.Enrollment/Redeem");
    let of_name = |length: usize| {
        // A literal that is not indexed, with a name and a value of this length each.
        let long = vec![b'x'; length];
        let number = |length: usize| {
            let rest = length - 127;
            [
                0x7f,
                u8::try_from(rest % 128 + 128).unwrap(),
                u8::try_from(rest / 128).unwrap(),
            ]
        };
        [&[0][..], &number(length), &long, &number(length), &long].concat()
    };
    let huge = of_name(8_000).repeat(16);
    let pieces: Vec<u8> = huge.chunks(16_000).enumerate().fold(
        // HEADERS that do not end, with more and more behind them.
        raw::frame(1, 0, 1, &headers),
        |mut sent, (_, piece)| {
            sent.extend(raw::frame(9, 0, 1, piece));
            sent
        },
    );
    let open = raw::frame(1, 4, 1, &headers);
    vec![
        (
            "settings",
            many(200_000, &raw::frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ),
        ("pings", many(200_000, &raw::frame(6, 0, 0, &[7; 8]))),
        (
            "priorities",
            many(200_000, &raw::frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ),
        ("headers that never end", pieces),
        (
            "empty continuations",
            [
                raw::frame(1, 0, 1, &headers),
                many(200_000, &raw::frame(9, 0, 1, &[])),
            ]
            .concat(),
        ),
        (
            "empty data",
            [open.clone(), many(200_000, &raw::frame(0, 0, 1, &[]))].concat(),
        ),
        (
            "windows of nothing",
            [open, many(200_000, &raw::frame(8, 0, 0, &[0, 0, 0, 1]))].concat(),
        ),
        (
            "a frame longer than any",
            raw::frame(0, 0, 1, &vec![0; 1 << 20]),
        ),
        ("no frames", vec![0x55; 1 << 20]),
    ]
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().split_ascii_whitespace().next().unwrap();
    kib.parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flood_of_frames_or_of_garbage_takes_memory_or_keeps_others_waiting() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let connector = raw::connector(&fleet);
    let before = resident();
    for (what, flood) in floods() {
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = raw::tls(&fleet, &connector).await.unwrap();
            let burst = [raw::BEGINNING, &flood].concat();
            held.push(tokio::spawn(async move {
                // Whoever is not read any more waits; whoever is closed is told so.
                let said = raw::say(&mut stream, &burst);
                let _ = tokio::time::timeout(Duration::from_millis(400), said).await;
                stream
            }));
        }
        let mut client = operator.operator();
        let asked = client.list_hosts(ListHostsRequest {});
        let answered = tokio::time::timeout(Duration::from_secs(5), asked).await;
        assert!(answered.is_ok_and(|answer| answer.is_ok()), "{what}");
        for stream in held {
            drop(stream.await.unwrap());
        }
    }
    // The bytes that were sent are this process's too, and are given back.
    let more = resident().saturating_sub(before);
    assert!(more < 64 << 20, "{more} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_closed_and_keeps_nobody_waiting() {
    let fleet = Fleet::start().await;
    let operator = fleet.join(Role::Operator, "root").await;
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x05\x01\x00\xff\xff\xff",
        b"\x80\x2e\x01\x00\x02",
        &[0xa5; 70_000],
    ];

    let mut streams = Vec::new();
    for bytes in garbage {
        let mut stream = TcpStream::connect(fleet.running.address()).await.unwrap();
        let _ = stream.write_all(bytes).await;
        streams.push(stream);
    }

    let hosts = operator.operator().list_hosts(ListHostsRequest {}).await;
    assert!(hosts.is_ok());
    for mut stream in streams {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(IN_TIME, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "not closed");
        assert!(rest.len() < 64, "{} bytes of an answer", rest.len());
    }
}
