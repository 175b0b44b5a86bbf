//! A `[[sink]]` as it is written, and what is wrong with it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use fleet::EventKind;
use policy::nearest_of;
use serde::Deserialize;
use toml::Spanned;

use super::is_name;
use super::mistakes::Mistakes;
use super::sink::{Access, Begin, Body, Format, SinkSettings, Target, Transport};

const BATCH: u16 = 500;
const BATCH_MAX: u16 = 10_000;
const TIMEOUT: Duration = Duration::from_secs(30);
const ALARM_AFTER: Duration = Duration::from_secs(300);
/// TCP port of syslog over TLS, without it, and over UDP (RFC 5425, RFC 6587, RFC 5426).
const SYSLOG_TLS_PORT: u16 = 6514;
const SYSLOG_PORT: u16 = 514;

/// Every key of a `[[sink]]`.
pub(super) const KEYS: &[&str] = &[
    "name",
    "type",
    "url",
    "address",
    "transport",
    "path",
    "format",
    "body",
    "kinds",
    "from",
    "ca",
    "certificate",
    "key",
    "secret_file",
    "header",
    "token_file",
    "batch",
    "timeout",
    "alarm_after",
];

/// A `[[sink]]`, before anything is known of its values.
#[derive(Debug, Deserialize)]
pub(super) struct RawSink {
    name: Spanned<String>,
    r#type: Spanned<String>,
    url: Option<Spanned<String>>,
    address: Option<Spanned<String>>,
    transport: Option<Spanned<String>>,
    path: Option<Spanned<PathBuf>>,
    format: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
    kinds: Option<Vec<Spanned<String>>>,
    from: Option<Spanned<String>>,
    ca: Option<Spanned<PathBuf>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    secret_file: Option<Spanned<PathBuf>>,
    header: Option<Spanned<String>>,
    token_file: Option<Spanned<PathBuf>>,
    batch: Option<Spanned<i64>>,
    timeout: Option<Spanned<String>>,
    alarm_after: Option<Spanned<String>>,
}

/// Reads one sink's values.
struct Reader<'r, 'a> {
    /// `sink[1].`
    path: String,
    mistakes: &'r mut Mistakes<'a>,
}

// === impl RawSink ===

impl RawSink {
    /// All sinks; `None` for those with mistakes, which are named.
    pub(super) fn all(raw: Vec<Self>, mistakes: &mut Mistakes<'_>) -> Vec<SinkSettings> {
        let mut names = BTreeSet::new();
        let mut sinks = Vec::new();
        for (number, raw) in raw.into_iter().enumerate() {
            let path = format!("sink[{}].", number + 1);
            if !names.insert(raw.name.get_ref().clone()) {
                let what = format!("another sink is called `{}`", raw.name.get_ref());
                mistakes.add(Some(raw.name.span()), &format!("{path}name"), what);
            }
            sinks.extend(Reader { path, mistakes }.sink(raw));
        }
        sinks
    }
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn sink(&mut self, mut raw: RawSink) -> Option<SinkSettings> {
        let name = raw.name.get_ref().clone();
        if !is_name(&name) {
            let what = format!("`{name}` is not a name: letters, digits and . _ -");
            self.wrong("name", &raw.name, what);
        }
        let kinds = raw.kinds.take().map(|kinds| self.kinds(&kinds));
        let from = self.one_of(
            ("from", Begin::Now),
            raw.from.take(),
            &[("now", Begin::Now), ("beginning", Begin::Beginning)],
        );
        let batch = self.batch(raw.batch.take());
        let timeout = self.duration("timeout", raw.timeout.take(), TIMEOUT);
        let alarm_after = self.duration("alarm_after", raw.alarm_after.take(), ALARM_AFTER);
        let target = self.target(raw)?;
        Some(SinkSettings {
            name,
            target,
            kinds,
            from,
            batch,
            timeout,
            alarm_after,
        })
    }

    fn target(&mut self, mut raw: RawSink) -> Option<Target> {
        let r#type = raw.r#type.get_ref().clone();
        let target = match r#type.as_str() {
            "file" => Target::File {
                format: self.format(raw.format.take()),
                path: self.needed("path", &raw, raw.path.clone())?,
            },
            "otlp" => {
                let url = self.url(&raw, raw.url.clone())?;
                raw.url = None;
                Target::Otlp {
                    access: self.access(&mut raw, url.starts_with("http:"), &["secret_file"])?,
                    url,
                }
            }
            "webhook" => {
                let url = self.url(&raw, raw.url.clone())?;
                raw.url = None;
                Target::Webhook {
                    format: self.format(raw.format.take()),
                    body: self.one_of(
                        ("body", Body::Lines),
                        raw.body.take(),
                        &[("lines", Body::Lines), ("array", Body::Array)],
                    ),
                    access: self.access(&mut raw, url.starts_with("http:"), &[])?,
                    url,
                }
            }
            "syslog" => self.syslog(&mut raw)?,
            other => {
                let known = ["file", "otlp", "syslog", "webhook"];
                let what = match nearest_of(other, known) {
                    Some(near) => format!("`{other}` is no type of sink; did you mean {near}?"),
                    None => format!(
                        "`{other}` is no type of sink; there are {}",
                        known.join(", ")
                    ),
                };
                self.wrong("type", &raw.r#type, what);
                return None;
            }
        };
        if matches!(target, Target::File { .. }) {
            raw.path = None;
        }
        self.nothing_is_left(&raw, &r#type);
        Some(target)
    }

    fn syslog(&mut self, raw: &mut RawSink) -> Option<Target> {
        let transport = self.one_of(
            ("transport", Transport::Tls),
            raw.transport.take(),
            &[
                ("tls", Transport::Tls),
                ("tcp", Transport::Tcp),
                ("udp", Transport::Udp),
            ],
        );
        let port = match transport {
            Transport::Tls => SYSLOG_TLS_PORT,
            Transport::Tcp | Transport::Udp => SYSLOG_PORT,
        };
        let written = self.needed("address", raw, raw.address.clone())?;
        let Some(address) = with_port(&written, port) else {
            let what = format!("`{written}` is not HOST or HOST:PORT");
            let span = raw.address.take()?;
            self.wrong("address", &span, what);
            return None;
        };
        raw.address = None;
        Some(Target::Syslog {
            address,
            transport,
            format: self.one_of(
                ("format", Format::Structured),
                raw.format.take(),
                &[
                    ("structured", Format::Structured),
                    ("json", Format::Json),
                    ("ocsf", Format::Ocsf),
                ],
            ),
            access: self.access(
                raw,
                transport != Transport::Tls,
                &["secret_file", "header", "token_file"],
            )?,
        })
    }

    /// Takes what is common to all that speak TLS. `not` are keys that this type has not.
    fn access(&mut self, raw: &mut RawSink, in_clear: bool, not: &[&str]) -> Option<Access> {
        if in_clear {
            for (key, value) in [
                ("ca", &raw.ca),
                ("certificate", &raw.certificate),
                ("key", &raw.key),
            ] {
                if let Some(value) = value {
                    self.wrong(key, value, "there is no TLS to this sink");
                }
            }
        }
        let ca = raw.ca.take().map(Spanned::into_inner);
        let client = match (raw.certificate.take(), raw.key.take()) {
            (Some(certificate), Some(key)) => Some([certificate.into_inner(), key.into_inner()]),
            (None, None) => None,
            (Some(one), None) => {
                self.wrong("certificate", &one, "its key is not named");
                None
            }
            (None, Some(one)) => {
                self.wrong("key", &one, "its certificate is not named");
                None
            }
        };
        let mut access = Access {
            ca,
            client,
            ..Access::default()
        };
        if !not.contains(&"secret_file") {
            access.secret = raw.secret_file.take().map(Spanned::into_inner);
        }
        if !not.contains(&"token_file") {
            access.token = self.token(raw);
        }
        Some(access)
    }

    fn token(&mut self, raw: &mut RawSink) -> Option<([String; 2], PathBuf)> {
        let header = raw.header.take();
        let Some(file) = raw.token_file.take() else {
            if let Some(header) = header {
                self.wrong(
                    "header",
                    &header,
                    "`token_file` has the rest of it, and is not named",
                );
            }
            return None;
        };
        let text = header
            .as_ref()
            .map_or("Authorization: Bearer", |header| header.get_ref());
        let (name, prefix) = text.split_once(':').unwrap_or((text, ""));
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_text = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if name.is_empty() || !name.bytes().all(is_token) || !prefix.bytes().all(is_text) {
            let what = "not a header, such as `Authorization: Splunk` or `X-Api-Key:`";
            self.wrong("header", &header?, what);
            return None;
        }
        let header = [name.to_owned(), prefix.trim().to_owned()];
        Some((header, file.into_inner()))
    }

    fn format(&mut self, raw: Option<Spanned<String>>) -> Format {
        self.one_of(
            ("format", Format::Json),
            raw,
            &[("json", Format::Json), ("ocsf", Format::Ocsf)],
        )
    }

    fn url(&mut self, raw: &RawSink, url: Option<Spanned<String>>) -> Option<String> {
        let span = url.clone();
        let url = self.needed("url", raw, url)?;
        let rest = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        if authority.is_none_or(|it| it.is_empty() || it.contains(['@', ' '])) {
            let what = "not a URL such as https://siem.example/events (secrets go into files)";
            self.wrong("url", &span?, what);
            return None;
        }
        Some(url)
    }

    fn kinds(&mut self, raw: &[Spanned<String>]) -> BTreeSet<EventKind> {
        let mut kinds = BTreeSet::new();
        for text in raw {
            match text.get_ref().parse::<EventKind>() {
                Ok(kind) => _ = kinds.insert(kind),
                Err(unknown) => {
                    let names = EventKind::ALL.iter().map(|kind| kind.as_str());
                    let what = match nearest_of(text.get_ref(), names) {
                        Some(near) => format!("{unknown}; did you mean {near}?"),
                        None => unknown.to_string(),
                    };
                    self.wrong("kinds", text, what);
                }
            }
        }
        kinds
    }

    fn batch(&mut self, raw: Option<Spanned<i64>>) -> u16 {
        let Some(raw) = raw else {
            return BATCH;
        };
        match u16::try_from(*raw.get_ref()) {
            Ok(batch @ 1..=BATCH_MAX) => batch,
            Ok(_) | Err(_) => {
                self.wrong("batch", &raw, format!("not a number from 1 to {BATCH_MAX}"));
                BATCH
            }
        }
    }

    fn duration(&mut self, key: &str, raw: Option<Spanned<String>>, usual: Duration) -> Duration {
        let Some(raw) = raw else {
            return usual;
        };
        match humantime::parse_duration(raw.get_ref()) {
            Ok(duration) if !duration.is_zero() => duration,
            Ok(_) => {
                self.wrong(key, &raw, "not more than nothing");
                usual
            }
            Err(error) => {
                self.wrong(key, &raw, error.to_string());
                usual
            }
        }
    }

    /// `usual` when nothing is said.
    fn one_of<T: Copy>(
        &mut self,
        (key, usual): (&str, T),
        raw: Option<Spanned<String>>,
        known: &[(&str, T)],
    ) -> T {
        let found = raw.as_ref().and_then(|raw| {
            let named = known.iter().find(|(name, _)| name == raw.get_ref());
            named.map(|(_, value)| *value)
        });
        if let (Some(raw), None) = (&raw, found) {
            let names = known.iter().map(|(name, _)| *name);
            let what = format!(
                "`{}` is none of {}",
                raw.get_ref(),
                names.collect::<Vec<_>>().join(", ")
            );
            self.wrong(key, raw, what);
        }
        found.unwrap_or(usual)
    }

    fn needed<T>(&mut self, key: &str, raw: &RawSink, value: Option<Spanned<T>>) -> Option<T> {
        if value.is_none() {
            let what = format!("a sink of type {} needs it", raw.r#type.get_ref());
            self.wrong(key, &raw.r#type, what);
        }
        value.map(Spanned::into_inner)
    }

    /// Names what was set and is of no use to this type.
    fn nothing_is_left(&mut self, raw: &RawSink, r#type: &str) {
        let texts = [
            ("url", &raw.url),
            ("address", &raw.address),
            ("transport", &raw.transport),
            ("format", &raw.format),
            ("body", &raw.body),
            ("header", &raw.header),
        ];
        let files = [
            ("path", &raw.path),
            ("ca", &raw.ca),
            ("certificate", &raw.certificate),
            ("key", &raw.key),
            ("secret_file", &raw.secret_file),
            ("token_file", &raw.token_file),
        ];
        let spans = texts
            .iter()
            .filter_map(|(key, value)| Some((*key, value.as_ref()?.span())));
        let more = files
            .iter()
            .filter_map(|(key, value)| Some((*key, value.as_ref()?.span())));
        for (key, span) in spans.chain(more) {
            let what = format!("a sink of type {type} has no such setting");
            self.mistakes
                .add(Some(span), &format!("{}{key}", self.path), what);
        }
    }

    fn wrong<T>(&mut self, key: &str, at: &Spanned<T>, what: impl Into<String>) {
        let key = format!("{}{key}", self.path);
        self.mistakes.add(Some(at.span()), &key, what);
    }
}

/// `host:port`, with this port when none is written.
fn with_port(text: &str, port: u16) -> Option<String> {
    if super::port_of(text).is_some() && !text.ends_with(']') {
        let host = text.rsplit_once(':')?.0;
        // An address of IPv6 stands in brackets when a port follows.
        if !host.contains(':') || (host.starts_with('[') && host.ends_with(']')) {
            return Some(text.to_owned());
        }
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>() {
        return Some(format!("[{address}]:{port}"));
    }
    let is_host = !text.is_empty() && !text.contains([':', '/', ' ']);
    is_host.then(|| format!("{text}:{port}"))
}
