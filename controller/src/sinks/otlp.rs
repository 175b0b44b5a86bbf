//! OTLP: records as log records, over gRPC.

use fleet::export::{Record, Severity, Value};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::access;
use super::error::{Answer, DeliveryError};
use crate::settings::Access;

const NANOS_PER_MS: u64 = 1_000_000;

/// Sends to one collector.
#[derive(Debug)]
pub(crate) struct Otlp {
    url: String,
    access: Access,
    /// Made at the first attempt and after a failure: it reads files anew.
    channel: Option<Channel>,
}

// === impl Otlp ===

impl Otlp {
    pub(super) fn new(url: String, access: Access) -> Self {
        Self {
            url,
            access,
            channel: None,
        }
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Answer, DeliveryError> {
        let answer = self.export(records).await;
        if answer.is_err() {
            self.channel = None;
        }
        answer
    }

    async fn export(&mut self, records: &[Record]) -> Result<Answer, DeliveryError> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.channel.insert(self.connect().await?).clone(),
        };
        let mut request = Request::new(logs(records));
        if let Some(([name, prefix], path)) = &self.access.token {
            let token = access::token(path, prefix)?;
            let name = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
            let value = AsciiMetadataValue::try_from(token.as_str());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                request.metadata_mut().insert(name, value);
            }
        }
        let answer = LogsServiceClient::new(channel).export(request).await;
        let answer = answer.map_err(|status| refused(&status))?.into_inner();
        Ok(Answer(match answer.partial_success {
            // By the protocol these are not to be sent again.
            Some(ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            }) if rejected_log_records > 0 => {
                tracing::warn!(
                    url = self.url,
                    rejected_log_records,
                    error_message,
                    "a collector took only a part, and wants the rest never"
                );
                format!("{rejected_log_records} rejected: {error_message}")
            }
            Some(_) | None => "taken".to_owned(),
        }))
    }

    async fn connect(&self) -> Result<Channel, DeliveryError> {
        let mut endpoint = Endpoint::from_shared(self.url.clone()).map_err(DeliveryError::Grpc)?;
        if self.url.starts_with("https:") {
            let roots = access::roots(&self.access)?;
            let mut tls = ClientTlsConfig::new().trust_anchors(roots.roots);
            if let Some([certificate, key]) = &self.access.client {
                let certificate = access::pem(certificate)?;
                tls = tls.identity(Identity::from_pem(certificate, access::secret(key)?));
            }
            endpoint = endpoint.tls_config(tls).map_err(DeliveryError::Grpc)?;
        }
        endpoint.connect().await.map_err(DeliveryError::Grpc)
    }
}

fn refused(status: &Status) -> DeliveryError {
    DeliveryError::GrpcRefused {
        code: status.code(),
        said: status.message().to_owned(),
    }
}

fn logs(records: &[Record]) -> ExportLogsServiceRequest {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", text("postern-controller")),
            attribute("service.version", text(env!("CARGO_PKG_VERSION"))),
        ],
        ..Resource::default()
    };
    let scope_logs = ScopeLogs {
        scope: Some(InstrumentationScope {
            name: "postern.audit".to_owned(),
            ..InstrumentationScope::default()
        }),
        log_records: records.iter().map(log_record).collect(),
        ..ScopeLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![scope_logs],
            ..ResourceLogs::default()
        }],
    }
}

/// The sentence is the body, and every field that has a value is an attribute.
fn log_record(record: &Record) -> LogRecord {
    let (number, name) = severity(Severity::of(record));
    let fields = record.fields().into_iter();
    let attributes = fields.filter(|field| !field.value.is_empty());
    LogRecord {
        time_unix_nano: record.event.at_ms.saturating_mul(NANOS_PER_MS),
        observed_time_unix_nano: record.stored_at_ms.saturating_mul(NANOS_PER_MS),
        severity_number: number.into(),
        severity_text: name.to_owned(),
        body: Some(text(&record.summary())),
        attributes: attributes
            .map(|field| attribute(&format!("postern.{}", field.name), any(&field.value)))
            .collect(),
        event_name: format!("postern.{}", record.kind_name()),
        ..LogRecord::default()
    }
}

const fn severity(severity: Severity) -> (SeverityNumber, &'static str) {
    match severity {
        Severity::Informational => (SeverityNumber::Info, "INFO"),
        Severity::Notice => (SeverityNumber::Info2, "INFO2"),
        Severity::Warning => (SeverityNumber::Warn, "WARN"),
        Severity::Error => (SeverityNumber::Error, "ERROR"),
    }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}

fn any(value: &Value<'_>) -> AnyValue {
    let value = match value {
        Value::Text(words) => return text(words),
        Value::Number(number) => match i64::try_from(*number) {
            Ok(number) => Any::IntValue(number),
            Err(_) => return text(&number.to_string()),
        },
        Value::Difference(difference) => Any::IntValue(difference.unwrap_or(0)),
        Value::List(words) => Any::ArrayValue(ArrayValue {
            values: words.iter().map(|word| text(word)).collect(),
        }),
    };
    AnyValue { value: Some(value) }
}

fn text(words: &str) -> AnyValue {
    AnyValue {
        value: Some(Any::StringValue(words.to_owned())),
    }
}
