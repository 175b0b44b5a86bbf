//! The log: one variable, one pair of options, one form in all three programs.
//!
//! Everything goes to standard error. POSTERN_LOG, in the language of tracing's `EnvFilter`
//! (`debug`, or `info,agent::link=debug`), decides what is said; without it `-v` does. Under systemd
//! every line carries its priority, so that `journalctl -p warning` finds what matters, and no time,
//! which the journal knows better.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::journald::{self, Priority};
use crate::syslog::Syslog;

/// The options of every program about its log.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct LogArgs {
    /// More detail in the log; may be given several times
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Form of the log, which goes to standard error: text or json
    #[arg(
        long,
        value_name = "FORM",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        global = true
    )]
    pub log: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when nothing was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Somebody waits for it: warnings, without the time.
    Tool,
    /// It runs for long, and others read about it: information, with the time.
    Daemon,
}

/// Puts the journal's priority before every line of another format.
struct Prioritized<F>(F);

/// The variable that decides what is logged.
const VARIABLE: &str = "POSTERN_LOG";

/// Libraries speak up at `trace` only: whoever asks for more wants to hear about packets.
const QUIET_LIBRARIES: &str =
    "h2=info,hyper_util=info,rustls=info,tower=info,tonic=info,rusqlite_migration=warn";

/// Begins to log; to be called once, before anything else.
pub fn log_to_stderr(args: LogArgs, manner: Manner) {
    let (filter, problem) = filter(args.verbose, manner);
    let lines = lines(args.log, manner);
    // A second call is a test that runs in one process with others; the first one's log serves both.
    let _ = Registry::default().with(lines).with(filter).try_init();
    if let Some(problem) = problem {
        tracing::warn!(problem, "{VARIABLE} is not a filter; it is not used");
    }
}

/// The same to syslog, under a name and as a facility by its number, and to standard error too as long as
/// somebody reads that.
pub fn log_to_syslog(args: LogArgs, manner: Manner, identity: &str, facility: u8) {
    let (filter, problem) = filter(args.verbose, manner);
    let text = Prioritized(format().with_target(false).with_ansi(false).without_time());
    let to_syslog = layer()
        .with_writer(Syslog::new(identity, facility))
        .with_ansi(false)
        .event_format(text)
        .boxed();
    let layers = vec![lines(args.log, manner), to_syslog];
    let _ = Registry::default().with(layers).with(filter).try_init();
    if let Some(problem) = problem {
        tracing::warn!(problem, "{VARIABLE} is not a filter; it is not used");
    }
}

/// What is said, and what is wrong with the variable.
fn filter(verbose: u8, manner: Manner) -> (EnvFilter, Option<String>) {
    let by_flags = || EnvFilter::new(level(verbose, manner));
    match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => match EnvFilter::try_new(text) {
            Ok(filter) => (filter, None),
            Err(error) => (by_flags(), Some(error.to_string())),
        },
        Ok(_) | Err(_) => (by_flags(), None),
    }
}

fn level(verbose: u8, manner: Manner) -> String {
    let level = match manner {
        Manner::Tool => verbose,
        Manner::Daemon => verbose.saturating_add(1),
    };
    match level {
        0 => "warn".to_owned(),
        1 => format!("info,{QUIET_LIBRARIES}"),
        2 => format!("debug,{QUIET_LIBRARIES}"),
        _ => "trace".to_owned(),
    }
}

fn lines(form: LogFormat, manner: Manner) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let journal = journald::is_stderr();
    let text = format().with_target(false);
    let json = format().json().flatten_event(true);
    match (form, journal, manner) {
        (LogFormat::Json, false, _) => layer
            .fmt_fields(format::JsonFields::new())
            .event_format(json)
            .boxed(),
        (LogFormat::Json, true, _) => layer
            .fmt_fields(format::JsonFields::new())
            .event_format(Prioritized(json))
            .boxed(),
        (LogFormat::Text, true, _) => layer.event_format(Prioritized(text.without_time())).boxed(),
        (LogFormat::Text, false, Manner::Tool) => layer.event_format(text.without_time()).boxed(),
        (LogFormat::Text, false, Manner::Daemon) => layer.event_format(text).boxed(),
    }
}

// === impl Prioritized ===

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0
            .format_event(context, Writer::new(&mut text), event)?;
        let priority = Priority::from(event.metadata().level());
        writer.write_str(&journald::prefixed(priority, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_one_level_less_than_a_daemon() {
        assert_eq!(level(0, Manner::Tool), "warn");
        for verbose in 0..3 {
            assert_eq!(
                level(verbose + 1, Manner::Tool),
                level(verbose, Manner::Daemon)
            );
        }
        assert_eq!(level(u8::MAX, Manner::Daemon), "trace");
    }

    #[test]
    fn every_level_is_a_filter() {
        for verbose in 0..4 {
            EnvFilter::try_new(level(verbose, Manner::Tool)).unwrap();
        }
    }
}
