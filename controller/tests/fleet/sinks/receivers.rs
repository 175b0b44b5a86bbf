//! What receives events: an HTTP server, a syslog server over TCP and an OTLP collector, each on a
//! port of its own and as small as can be.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// A list that a receiver fills.
pub(super) type List<T> = Arc<Mutex<Vec<T>>>;

/// Gives the status for a body.
type Judge = Arc<dyn Fn(&[u8]) -> u16 + Send + Sync>;

/// A POST as it came.
#[derive(Clone, Debug)]
pub(super) struct Post {
    /// In lower case, with their values.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

// === impl Post ===

impl Post {
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.body.clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// An HTTP server that answers each POST with the status that stands in `status` then; only what it
/// answered with 200 is in the list. Gives its port.
pub(super) async fn http(status: Arc<Mutex<u16>>) -> (u16, List<Post>) {
    judging(Arc::new(move |_| *status.lock().unwrap())).await
}

/// The same, but what has these words in it is refused for ever, and all that comes with it.
pub(super) async fn picky(refused: &'static str) -> (u16, List<Post>) {
    let judge = move |body: &[u8]| {
        let has_it = String::from_utf8_lossy(body).contains(refused);
        if has_it { 400 } else { 200 }
    };
    judging(Arc::new(judge)).await
}

async fn judging(judge: Judge) -> (u16, List<Post>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let posts = List::<Post>::default();
    let taken = Arc::clone(&posts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&judge), Arc::clone(&taken)));
        }
    });
    (port, posts)
}

async fn answer(stream: TcpStream, judge: Judge, taken: List<Post>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        }
        let mut post = Post {
            headers,
            body: Vec::new(),
        };
        post.body = vec![0; post.header("content-length").parse().unwrap()];
        stream.read_exact(&mut post.body).await.unwrap();
        let status = judge(&post.body);
        if status == 200 {
            taken.lock().unwrap().push(post);
        }
        let said = format!("HTTP/1.1 {status} x\r\ncontent-length: 4\r\n\r\nsaid");
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A syslog server that counts bytes, as RFC 6587 and 5425 have it.
pub(super) async fn syslog() -> (u16, List<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let messages = List::<String>::default();
    let taken = Arc::clone(&messages);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            loop {
                let mut length = Vec::new();
                if stream.read_until(b' ', &mut length).await.unwrap_or(0) == 0 {
                    break;
                }
                let length = String::from_utf8(length).unwrap();
                let mut message = vec![0; length.trim().parse().unwrap()];
                stream.read_exact(&mut message).await.unwrap();
                taken
                    .lock()
                    .unwrap()
                    .push(String::from_utf8(message).unwrap());
            }
        }
    });
    (port, messages)
}

/// A collector; of each record what its attributes name it.
pub(super) async fn otlp() -> (u16, List<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = List::<String>::default();
    let collector = LogsServiceServer::new(Collector(Arc::clone(&names)));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(collector)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (port, names)
}

struct Collector(List<String>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        for resource in request.into_inner().resource_logs {
            for record in resource
                .scope_logs
                .into_iter()
                .flat_map(|it| it.log_records)
            {
                let attribute = |name: &str| {
                    let found = record.attributes.iter().find(|it| it.key == name);
                    match found.and_then(|it| it.value.clone()?.value) {
                        Some(Value::StringValue(text)) => text,
                        Some(Value::IntValue(number)) => number.to_string(),
                        _ => String::new(),
                    }
                };
                let name = ["postern.host", "postern.kind", "postern.seq"].map(attribute);
                self.0.lock().unwrap().push(name.join(" "));
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
