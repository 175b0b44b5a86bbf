//! What the listener answers, to whom, and how much of it.

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(address).await.unwrap());
    }

    let answer = tokio::time::timeout(PATIENCE * 4, get(address, "/healthz")).await;

    assert!(answer.unwrap().starts_with("HTTP/1.1 200 "));
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
