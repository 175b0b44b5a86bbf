//! `[[sink]]`: where events are sent on to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::EventKind;

/// One sink, all of it valid; files are not read yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkSettings {
    /// Names it in the log, in metrics and in the store, where its cursor is.
    pub name: String,
    /// Where to, and how.
    pub target: Target,
    /// Only events of these kinds; `None` for all, those of later versions too.
    pub kinds: Option<BTreeSet<EventKind>>,
    /// Where a new sink begins.
    pub from: Begin,
    /// Records that are sent at once, at most.
    pub batch: u16,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The age of the oldest record that is not delivered, above which it is an alarm.
    pub alarm_after: Duration,
}

/// Where a new sink begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// With the first record of the log.
    Beginning,
    /// With what comes next.
    Now,
}

/// Where events go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Appended to a file, a line each.
    File {
        /// Made when there is none, mode 0600.
        path: PathBuf,
        /// Of each line.
        format: Format,
    },
    /// OTLP over gRPC.
    Otlp {
        /// `https://collector:4317`
        url: String,
        /// Of TLS and of who we are.
        access: Access,
    },
    /// RFC 5424.
    Syslog {
        /// `host:port`
        address: String,
        /// What carries it.
        transport: Transport,
        /// What the message is.
        format: Format,
        /// Of TLS.
        access: Access,
    },
    /// POST.
    Webhook {
        /// `https://siem.example/events`
        url: String,
        /// Of each record.
        format: Format,
        /// How records stand in the body.
        body: Body,
        /// Of TLS and of who we are.
        access: Access,
    },
}

/// How we know the receiver, and it knows us. All are files, read when a connection is made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// Authorities whose certificate the receiver must have; the system's when there is none.
    pub ca: Option<PathBuf>,
    /// Our own certificate and key, where the receiver asks for one.
    pub client: Option<[PathBuf; 2]>,
    /// Key of the signature.
    pub secret: Option<PathBuf>,
    /// Name and prefix of the header whose rest the file has: `Authorization: Bearer`.
    pub token: Option<([String; 2], PathBuf)>,
}

/// What carries syslog.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// RFC 5425.
    Tls,
    /// RFC 6587, counted; in clear.
    Tcp,
    /// RFC 5426; in clear, and nobody knows what is lost.
    Udp,
}

/// How one record is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// As `postern audit list --json`.
    Json,
    /// OCSF.
    Ocsf,
    /// Of syslog: structured data, and a sentence.
    Structured,
}

/// How records stand in the body of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// One a line.
    Lines,
    /// A JSON array.
    Array,
}

// === impl Target ===

impl Target {
    /// The name of its type, as in the settings.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Otlp { .. } => "otlp",
            Self::Syslog { .. } => "syslog",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// Where it is, for people. The query of a URL is left out: receivers have keys in it.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Otlp { url, .. } | Self::Webhook { url, .. } => {
                let end = url.find(['?', '#']).unwrap_or(url.len());
                let place = url.get(..end).unwrap_or_default();
                let more = if end < url.len() { "?…" } else { "" };
                let clear = if goes_in_clear(url) {
                    " (in clear)"
                } else {
                    ""
                };
                format!("{place}{more}{clear}")
            }
            Self::Syslog {
                address, transport, ..
            } => match transport {
                Transport::Tls => format!("{address} (TLS)"),
                Transport::Tcp => format!("{address} (TCP, in clear)"),
                Transport::Udp => format!("{address} (UDP, in clear)"),
            },
        }
    }
}

/// Whether what goes there can be read on its way. On this machine nobody is between.
fn goes_in_clear(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let address = host.parse::<std::net::IpAddr>();
    host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}

// === impl SinkSettings ===

impl SinkSettings {
    /// What is permitted and perhaps not meant, in one sentence.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (url, access) = match &self.target {
            Target::Otlp { url, access } | Target::Webhook { url, access, .. } => (url, access),
            Target::File { .. } | Target::Syslog { .. } => return None,
        };
        let name = &self.name;
        let what = match (access.token.is_some(), url.contains('?')) {
            (true, _) => "its token goes",
            (false, true) => "the query of its URL goes",
            (false, false) => return None,
        };
        goes_in_clear(url).then(|| {
            format!("sink {name}: {what} over the network in clear with every batch: let the url be https")
        })
    }

    /// Whether records of this kind are for this sink; `None` for one of a later version.
    #[must_use]
    pub fn wants(&self, kind: Option<EventKind>) -> bool {
        let Some(kinds) = &self.kinds else {
            return true;
        };
        kind.is_some_and(|kind| kinds.contains(&kind))
    }

    /// Files are named from the directory of the settings.
    #[must_use]
    pub(crate) fn under(mut self, dir: &Path) -> Self {
        let under = |path: &mut PathBuf| *path = dir.join(&*path);
        let access = match &mut self.target {
            Target::File { path, .. } => {
                under(path);
                return self;
            }
            Target::Otlp { access, .. }
            | Target::Syslog { access, .. }
            | Target::Webhook { access, .. } => access,
        };
        let Access {
            ca,
            client,
            secret,
            token,
        } = access;
        ca.iter_mut().for_each(under);
        client.iter_mut().flatten().for_each(under);
        secret.iter_mut().for_each(under);
        token.iter_mut().for_each(|(_, path)| under(path));
        self
    }
}
