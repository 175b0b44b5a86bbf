//! A webhook: records in the body of a POST, signed.
//!
//! | header | has |
//! |---|---|
//! | `Postern-Sink` | the name of the sink |
//! | `Postern-Records` | the first and the last record's place in the log, `17-42` |
//! | `Postern-Timestamp` | when it was sent, seconds since the Unix epoch |
//! | `Postern-Signature` | `sha256=` and, in hexadecimal, HMAC-SHA256 under the contents of `secret_file` (without the end of its line) over the timestamp, a full stop and the body |
//!
//! A receiver computes the same, compares, and turns away what is older than some minutes.

use std::time::Duration;

use fleet::export::Record;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use ureq::http::{HeaderName, HeaderValue};
use ureq::tls::{ClientCert, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use super::access;
use super::error::{Answer, DeliveryError};
use super::text;
use crate::clock;
use crate::settings::{Access, Body, Format};

/// Bytes of an answer that are read, and of it what is shown.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const SAID_CHARS_MAX: usize = 200;

/// Posts to one URL.
pub(crate) struct Webhook {
    pub(super) sink: String,
    pub(super) url: String,
    pub(super) format: Format,
    pub(super) body: Body,
    pub(super) access: Access,
    pub(super) timeout: Duration,
    /// Made at the first attempt and after a failure: it reads files anew.
    pub(super) agent: Option<ureq::Agent>,
}

/// One request, ready to be sent.
struct Post {
    agent: ureq::Agent,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

// === impl Webhook ===

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    pub(super) async fn send(&mut self, records: &[Record]) -> Result<Answer, DeliveryError> {
        let post = self.post(records)?;
        let sent = tokio::task::spawn_blocking(move || post.send()).await;
        let answer = sent.unwrap_or(Err(DeliveryError::Timeout));
        if answer.is_err() {
            self.agent = None;
        }
        answer
    }

    fn post(&mut self, records: &[Record]) -> Result<Post, DeliveryError> {
        let agent = match &self.agent {
            Some(agent) => agent.clone(),
            None => self.agent.insert(self.connect()?).clone(),
        };
        let (body, content_type) = self.body(records);
        let at_secs = clock::now().secs();
        let ids = [records.first(), records.last()].map(|record| record.map_or(0, |it| it.id));
        let mut texts = vec![
            ("content-type", content_type.to_owned()),
            ("postern-sink", self.sink.clone()),
            ("postern-records", format!("{}-{}", ids[0], ids[1])),
            ("postern-timestamp", at_secs.to_string()),
        ];
        if let Some(path) = &self.access.secret {
            let secret = access::secret(path)?;
            texts.push(("postern-signature", signature(&secret, at_secs, &body)));
        }
        let mut headers = Vec::new();
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.push((HeaderName::from_static(name), value));
            }
        }
        if let Some(([name, prefix], path)) = &self.access.token {
            let token = access::token(path, prefix)?;
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(&token)) {
                value.set_sensitive(true);
                headers.push((name, value));
            }
        }
        Ok(Post {
            agent,
            url: self.url.clone(),
            headers,
            body,
        })
    }

    fn body(&self, records: &[Record]) -> (String, &'static str) {
        let lines = records.iter().map(|record| text::line(record, self.format));
        match self.body {
            Body::Lines => {
                let lines = lines.map(|line| line + "\n");
                (lines.collect(), "application/x-ndjson")
            }
            Body::Array => {
                let lines: Vec<String> = lines.collect();
                (format!("[{}]", lines.join(",")), "application/json")
            }
        }
    }

    fn connect(&self) -> Result<ureq::Agent, DeliveryError> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(self.timeout))
            // Where records go is in the settings, and nowhere else.
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .user_agent(concat!("postern-controller/", env!("CARGO_PKG_VERSION")));
        if self.url.starts_with("https:") {
            let authorities = access::authorities(&self.access)?;
            let authorities: Vec<_> = authorities
                .iter()
                .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
                .collect();
            let mut tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&authorities));
            if let Some([certificate, key]) = &self.access.client {
                tls = tls.client_cert(Some(client_certificate(certificate, key)?));
            }
            config = config.tls_config(tls.build());
        }
        Ok(config.build().new_agent())
    }
}

// === impl Post ===

impl Post {
    fn send(self) -> Result<Answer, DeliveryError> {
        let mut request = self.agent.post(&self.url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let failed = |error| DeliveryError::Http(Box::new(error));
        let mut response = request.send(self.body.as_str()).map_err(failed)?;
        let status = response.status();
        let limited = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        // What a receiver says beside its status is for people; it may be anything.
        let said = shown(
            &limited
                .lossy_utf8(true)
                .read_to_string()
                .unwrap_or_default(),
        );
        if status.is_success() {
            return Ok(Answer(format!("{}{said}", status.as_u16())));
        }
        Err(DeliveryError::Refused {
            status: status.as_u16(),
            said,
        })
    }
}

/// See the module.
fn signature(secret: &[u8], at_secs: u64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        // HMAC takes keys of every length.
        return String::new();
    };
    mac.update(format!("{at_secs}.").as_bytes());
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// The beginning of an answer, on one line.
fn shown(said: &str) -> String {
    let printable = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    let said: String = said
        .trim()
        .chars()
        .take(SAID_CHARS_MAX)
        .map(printable)
        .collect();
    if said.is_empty() {
        said
    } else {
        format!(": {said}")
    }
}

fn client_certificate(
    certificate: &std::path::Path,
    key: &std::path::Path,
) -> Result<ClientCert, DeliveryError> {
    let malformed = |path: &std::path::Path, what| DeliveryError::Malformed {
        path: path.to_owned(),
        what,
    };
    let chain = access::certificates(certificate)?;
    let chain: Vec<_> = chain
        .iter()
        .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
        .collect();
    let pem: Zeroizing<Vec<u8>> = access::secret(key)?;
    let parsed = ureq::tls::PrivateKey::from_pem(&pem);
    let parsed = parsed.map_err(|_| malformed(key, "private key in PEM"))?;
    Ok(ClientCert::new_with_certs(&chain, parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_on_one_line_and_not_for_ever() {
        assert_eq!(shown(" \n "), "");
        assert_eq!(shown("no\nsuch index\u{1b}[31m"), ": no such index [31m");
        assert_eq!(shown(&"x".repeat(10_000)).len(), SAID_CHARS_MAX + 2);
    }

    /// As `printf '1795603200.{}' | openssl dgst -sha256 -hmac secret` has it.
    #[test]
    fn the_signature_is_over_timestamp_and_body() {
        assert_eq!(
            signature(b"secret", 1_795_603_200, "{}"),
            "sha256=2d5ffaaaeef68a10b2ed13713c1b92065ac790f10a66aacfdea0449f26508894"
        );
    }
}
