//! What the listener answers, to whom, and how much of it.

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use super::*;

async fn ask_with(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A connection that is cut after its answer has still answered.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask_with(address, &request).await
}

async fn served(source: impl Fn() -> Option<String> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, source, std::future::pending()));
    address
}

fn registry() -> Registry {
    let mut registry = Registry::with_prefix("postern");
    let packets = Counter::<u64>::default();
    packets.inc_by(3);
    registry.register("packets", "Packets that came", packets);
    registry
}

#[tokio::test]
async fn the_numbers_and_the_health_are_answered_and_no_other_path() {
    let registry = registry();
    let address = served(move || text(&registry)).await;

    let metrics = get(address, "/metrics").await;
    let health = get(address, "/healthz").await;

    assert!(metrics.starts_with("HTTP/1.1 200 "), "{metrics}");
    assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(metrics.contains("\npostern_packets_total 3\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("\r\n\r\nok\n"));
    for path in ["/", "/metrics/", "/debug", "/../etc/passwd"] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    let posted = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(ask_with(address, posted).await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn who_does_not_know_the_numbers_is_not_well() {
    let address = served(|| None).await;

    for path in ["/metrics", "/healthz"] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn nobody_sends_more_than_a_few_requests() {
    let address = served(|| Some(String::new())).await;
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(1 << 20));

    let answer = ask_with(address, &long).await;

    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn who_says_nothing_keeps_a_place_for_its_time_and_no_longer() {
    let address = served(|| Some(String::new())).await;
    for said in ["", "GET /metr", "GET /metrics HTTP/1.1\r\nX: y\r\n"] {
        let begun = Instant::now();

        timeout(PATIENCE, ask_with(address, said)).await.unwrap();

        let kept = begun.elapsed();
        assert!(kept < HEAD_PATIENCE * 2, "{said:?}: {kept:?}");
    }
}

/// Connections that have begun a question and do not go on with it.
async fn half_open(address: SocketAddr, from: &str, count: usize) -> Vec<TcpStream> {
    let mut half_open = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
        half_open.push(stream);
    }
    half_open
}

#[tokio::test]
async fn two_hundred_half_open_connections_do_not_keep_an_honest_one_waiting() {
    let address = served(|| Some(String::new())).await;
    for from in ["127.0.0.1", "127.0.0.9"] {
        let _slow = half_open(address, from, 200).await;
        for path in ["/metrics", "/healthz"] {
            let begun = Instant::now();

            let answer = get(address, path).await;

            assert!(answer.starts_with("HTTP/1.1 200 "), "{from}: {answer}");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(1), "{from}: {took:?}");
        }
    }
}

#[tokio::test]
async fn who_does_not_take_her_answer_keeps_nobody_waiting() {
    let address = served(|| Some("x".repeat(16 << 20))).await;
    let mut deaf = half_open(address, "127.0.0.1", CONNECTIONS_MAX).await;
    for stream in &mut deaf {
        stream
            .write_all(b"ics HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
    }
    let begun = Instant::now();

    let answer = get(address, "/healthz").await;

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let took = begun.elapsed();
    assert!(took < HEAD_PATIENCE, "{took:?}");
}

#[tokio::test]
async fn the_oldest_slow_one_of_who_has_most_places_makes_room_and_never_one_that_is_answered() {
    let begun = Instant::now();
    let mut tasks = JoinSet::<()>::new();
    let mut place = |from: &str, after_ms, asks| Place {
        network: network(from.parse().unwrap()),
        since: begun + Duration::from_millis(after_ms),
        is_asking: Arc::new(AtomicBool::new(asks)),
        task: tasks.spawn(std::future::pending()),
    };
    let taken = [
        place("192.0.2.1", 0, false),
        place("2001:db8::1", 1, true),
        place("2001:db8::2", 3, false),
        place("2001:db8::3", 2, false),
        place("192.0.2.2", 1, false),
        place("2001:db8:0:1::3", 1, false),
    ];
    let slowest = |after_ms| slowest(&taken, begun + Duration::from_millis(after_ms));

    assert_eq!(slowest(49), None);
    assert_eq!(slowest(50), Some(0));
    assert_eq!(slowest(52), Some(3));
    assert_eq!(slowest(60), Some(3));
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, until) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, || None, async {
        let _ = until.await;
    }));

    stop.send(()).unwrap();

    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[test]
fn an_address_is_an_ip_address_and_a_port() {
    for good in ["127.0.0.1:9464", "[::1]:9464", " 0.0.0.0:1 "] {
        parse_listen(good).unwrap();
    }
    for bad in [
        "",
        "9464",
        "localhost:9464",
        "127.0.0.1",
        "127.0.0.1:0",
        "::1:9464",
    ] {
        let error = parse_listen(bad).unwrap_err();
        assert!(error.to_string().contains("like 127.0.0.1:9464"), "{bad}");
    }
}
