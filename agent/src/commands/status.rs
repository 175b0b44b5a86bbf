//! `postern-agent status`: what the running agent says about itself.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::export::printable_json;
use program::{PrintError, disk};

use crate::clock;
use crate::commands::control::{self, Unreached};
use crate::commands::local::{StateArgs, off, said};
use crate::domains::seen;
use crate::report::{
    BEGIN_ANEW, CaptureReport, DomainReport, FirewallReport, FloorReport, JournalReport,
    LinkReport, ObstacleReport, Report, SOCKET_NAME, Trouble,
};

/// Says how the running agent is: policy, grants, captures, journal, controller, and everything it
/// counts
///
/// What is wrong and what to do about it: `postern-agent doctor`. What is open for whom:
/// `postern-agent grants`.
///
/// Ends with 1 when no agent answers, or when it can open nothing: its journal takes no records, or a
/// process of it does not do its work. That is named first, with what to do.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusFailed {
    /// Nobody could be asked.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// Somebody listens there, and says nothing.
    #[error(
        "the agent at {} did not say how it is{}: nothing opens while it does not",
        path.display(),
        stopped.map(|pid| format!(", its process {pid} is stopped")).unwrap_or_default()
    )]
    Silent {
        /// Its socket.
        path: PathBuf,
        /// Its process, where that is stopped.
        stopped: Option<i32>,
        /// What went wrong.
        #[source]
        cause: io::Error,
    },
    /// It has said that it can open nothing, which has been printed.
    #[error("nothing opens on this host: {0}")]
    Stopped(String),
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// For how long an answer is waited for: the agent gives up sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than so many capabilities are told by their number.
const CAPABILITIES_SHOWN: usize = 6;

/// Asks and prints.
///
/// # Errors
///
/// [`StatusFailed`] when no agent runs there, or it does not answer.
pub fn run(args: &StatusArgs) -> Result<(), StatusFailed> {
    let report = fetch(&args.state.dir())?;
    let text = if args.json {
        let object = serde_json::to_string(&report).map_err(io::Error::from);
        printable_json(&object.map_err(PrintError::Stdout)?) + "\n"
    } else {
        text(&report, clock::now().wall_secs)
    };
    program::print(text)?;
    let troubles = report.troubles();
    if troubles.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = troubles.into_iter().map(|trouble| trouble.found).collect();
    Err(StatusFailed::Stopped(found.join("; ")))
}

/// Asks the agent that keeps its state in this directory.
///
/// # Errors
///
/// [`StatusFailed`] when no agent runs there, or it does not answer.
pub fn fetch(state_dir: &Path) -> Result<Report, StatusFailed> {
    let path = state_dir.join(SOCKET_NAME);
    let stream = control::connect_to(&path)?;
    let read = |mut stream: &UnixStream| {
        let mut text = String::new();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_string(&mut text)?;
        if text.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut report: Report = serde_json::from_str(&text)?;
        seen::look(&mut report.domains);
        Ok(report)
    };
    read(&stream).map_err(|cause| {
        let stopped = control::peer(&stream).filter(|pid| seen::is_stopped(*pid));
        StatusFailed::Silent {
            path,
            stopped,
            cause,
        }
    })
}

/// Why nothing opens here now, in words for a line beside another answer; nothing where all is well, and where
/// nobody may ask.
pub(super) fn why_nothing_opens(asked: &Result<Report, StatusFailed>) -> Option<String> {
    match asked {
        Ok(report) => {
            let troubles = report.troubles();
            let mut said = troubles
                .iter()
                .map(|it| format!("{}; {}", it.found, it.cure));
            let first = said.next()?;
            Some(said.fold(first, |all, one| format!("{all}; {one}")))
        }
        Err(silent @ StatusFailed::Silent { .. }) => Some(format!("{silent}; {BEGIN_ANEW}")),
        Err(StatusFailed::Unreached(_) | StatusFailed::Stopped(_) | StatusFailed::Print(_)) => None,
    }
}

fn text(report: &Report, now_secs: u64) -> String {
    let Report {
        version,
        generation,
        policy_age_secs,
        rejected_generation,
        drift,
        nat_fault,
        os_faults,
        locked,
        grants_open,
        journal_seq,
        journal_writable,
        journal_fault,
        floor,
        firewall,
        captures,
        counters,
        policy_not_after_secs,
        grant_latency: _,
        journal,
        link,
        access_file,
        domains,
    } = report;
    let mut lines = format!(
        "version      {version}\n\
         generation   {generation}, in force for {policy_age_secs} s\n"
    );
    for Trouble { found, cure } in report.troubles() {
        let _ = writeln!(lines, "opens        nothing: {found}\n             {cure}");
    }
    if let Some(file) = access_file {
        let _ = writeln!(lines, "             alone, by {}", file.display());
    }
    if *policy_not_after_secs > 0 {
        let left = left(*policy_not_after_secs, now_secs);
        let _ = writeln!(lines, "             ends by itself {left}");
    }
    if let Some(rejected) = rejected_generation {
        let _ = writeln!(lines, "rejected     generation {rejected}");
    }
    if let Some(fault) = nat_fault {
        let _ = writeln!(lines, "nat          warning: {fault}");
    }
    for fault in os_faults {
        let _ = writeln!(lines, "os           warning: {fault}");
    }
    if let Some(drift) = drift {
        let _ = writeln!(lines, "drift        {drift}");
    }
    if let Some(reason) = locked {
        let _ = writeln!(lines, "locked       by the controller: {reason}");
    }
    let _ = writeln!(lines, "grants open  {grants_open}");
    let note = if *journal_writable {
        ""
    } else {
        ", and cannot be written"
    };
    let _ = writeln!(lines, "journal      event {journal_seq}{note}");
    if let Some(fault) = journal_fault {
        let _ = writeln!(lines, "             {fault}");
    }
    if let Some(journal) = journal {
        text_of_journal(&mut lines, journal, link.is_some());
    }
    if let Some(link) = link {
        text_of_link(&mut lines, link, now_secs);
    }
    if floor.ends_in_secs > 0 {
        let FloorReport {
            through_secs,
            reason,
            ends_in_secs,
            clock_is_proven: _,
        } = floor;
        let _ = writeln!(
            lines,
            "floor        packets dated at or before {through_secs} are refused: {reason}; over in {ends_in_secs} s"
        );
    }
    for domain in domains {
        let _ = writeln!(lines, "process      {}", domain_text(domain));
    }
    text_of_firewall(&mut lines, firewall);
    for capture in captures {
        let _ = writeln!(lines, "capture      {}", capture_text(capture));
    }
    let _ = writeln!(lines, "fragments    {}", fragments_text(counters));
    for (name, count) in counters {
        let _ = writeln!(lines, "{name:<21} {count}");
    }
    lines
}

/// What a process can do; what is not known of it is `?`.
fn domain_text(domain: &DomainReport) -> String {
    let DomainReport {
        name,
        pid,
        uid,
        capabilities,
        no_new_privileges,
        seccomp,
        answers: _,
        state: _,
    } = domain;
    let uid = uid.map_or_else(|| "?".to_owned(), |uid| uid.to_string());
    let holds = match capabilities {
        None => "?".to_owned(),
        Some(held) if held.is_empty() => "no capability".to_owned(),
        // A whole set says nothing more by its names.
        Some(held) if held.len() > CAPABILITIES_SHOWN => format!("{} capabilities", held.len()),
        Some(held) => held.join(" "),
    };
    let has = |what: &str, has: &Option<bool>| match has {
        Some(true) => what.to_owned(),
        Some(false) => format!("not {what}"),
        None => format!("{what}?"),
    };
    let trouble = domain.trouble().map(|trouble| format!("; it {trouble}"));
    format!(
        "{name}, PID {pid}, user {uid}, {holds}, {}, {}{}",
        has("no_new_privs", no_new_privileges),
        has("seccomp", seccomp),
        trouble.unwrap_or_default(),
    )
}

/// When something ends, in words.
fn left(then_secs: u64, now_secs: u64) -> String {
    match then_secs.checked_sub(now_secs) {
        Some(left) => format!("in {}", said(left)),
        None => format!("{} ago", said(now_secs.saturating_sub(then_secs))),
    }
}

fn text_of_journal(lines: &mut String, journal: &JournalReport, is_joined: bool) {
    let JournalReport {
        bytes,
        free_bytes,
        unacknowledged,
        oldest_unacknowledged_secs,
    } = journal;
    let (size, free) = (disk::size(*bytes), disk::size(*free_bytes));
    let _ = writeln!(lines, "             {size}, {free} free on its disk");
    if is_joined {
        let waited = match unacknowledged {
            0 => String::new(),
            _ => format!(", the oldest for {}", said(*oldest_unacknowledged_secs)),
        };
        let _ = writeln!(
            lines,
            "             {unacknowledged} events wait for the controller{waited}"
        );
    }
}

fn text_of_link(lines: &mut String, link: &LinkReport, now_secs: u64) {
    let LinkReport {
        controller,
        controllers,
        returns_in_secs,
        joined_as,
        called,
        is_connected,
        since_secs,
        error,
        clock_offset_ms,
        certificate_expires_secs,
        log_conflict,
        claims_won: _,
        claims_lost: _,
        claims_unanswered: _,
    } = link;
    let (state, since) = (
        if *is_connected { "connected" } else { "away" },
        said(*since_secs),
    );
    if !called.is_empty() {
        let name = super::local::host_name(called, joined_as);
        let _ = writeln!(lines, "host         {name}");
    }
    let _ = writeln!(lines, "controller   {controller}, {state} for {since}");
    let others: Vec<&str> = controllers
        .iter()
        .map(String::as_str)
        .filter(|other| other != controller)
        .collect();
    if !others.is_empty() {
        let _ = writeln!(lines, "             or {}", others.join(", "));
    }
    if let Some(secs) = returns_in_secs {
        let first = controllers.first().map_or("another", String::as_str);
        let _ = writeln!(
            lines,
            "             goes back to {first} in {}, if it is there",
            said(*secs)
        );
    }
    if !error.is_empty() {
        let _ = writeln!(lines, "             {error}");
    }
    if let Some(ms) = clock_offset_ms {
        let _ = writeln!(lines, "             this clock is {} its clock", off(*ms));
    }
    if *certificate_expires_secs > 0 {
        let left = left(*certificate_expires_secs, now_secs);
        let _ = writeln!(lines, "             certificate over {left}");
    }
    if !log_conflict.is_empty() {
        let _ = writeln!(lines, "             warning: {log_conflict}");
    }
}

/// What the packet filter is like: one line for what is well, and all of what is not.
fn text_of_firewall(lines: &mut String, firewall: &FirewallReport) {
    let FirewallReport {
        backend,
        why,
        recognised,
        hidden,
        published,
        hooks,
        obstacles,
        blocked_sources,
        unseen,
        marks,
    } = firewall;
    if backend.is_empty() {
        return;
    }
    let _ = writeln!(lines, "firewall     {backend}: {why}");
    for (name, all) in [
        ("recognised", recognised),
        ("hidden", hidden),
        ("hooks", hooks),
    ] {
        if !all.is_empty() {
            let _ = writeln!(lines, "  {name:<10} {}", all.join(", "));
        }
    }
    for (name, all) in [
        ("published", published),
        ("not seen", unseen),
        ("marks", marks),
    ] {
        for one in all {
            let _ = writeln!(lines, "  {name:<10} {one}");
        }
    }
    if *blocked_sources > 0 {
        let _ = writeln!(
            lines,
            "  blocked    {blocked_sources} addresses or networks, by the owner: they stay so"
        );
    }
    for ObstacleReport {
        rule,
        services,
        is_certain,
        cure,
    } in obstacles
    {
        let name = if *is_certain { "obstacle" } else { "may drop" };
        let services = services.join(", ");
        let _ = writeln!(lines, "  {name:<10} {rule}\n             for {services}");
        for line in cure {
            let _ = writeln!(lines, "             {line}");
        }
    }
}

/// One capture in a line.
fn capture_text(capture: &CaptureReport) -> String {
    let CaptureReport {
        name,
        link,
        frames,
        dropped,
        counts,
        down,
    } = capture;
    let link = link.as_ref().map(|link| format!(", {link}"));
    let link = link.unwrap_or_default();
    let state = match down {
        None => "up".to_owned(),
        Some(why) => format!("waiting: {why}"),
    };
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    let counts = if counts.is_empty() {
        String::new()
    } else {
        format!("; {}", counts.join(", "))
    };
    format!("{name}{link}, {frames} frames, {dropped} packets lost, {state}{counts}")
}

/// What became of packets in fragments, whichever captures they came from.
fn fragments_text(counters: &[(String, u64)]) -> String {
    let count = |wanted: &str| {
        let mut counts = counters.iter().filter(|(name, _)| name == wanted);
        counts.next().map_or(0, |(_, count)| *count)
    };
    format!(
        "{} packets put together, {} waiting for more; given up: {} late, {} crowded out; {} \
         fragments refused",
        count("reassembled"),
        count("fragments_waiting"),
        count("fragments_expired"),
        count("fragments_crowded_out"),
        count("fragments_refused"),
    )
}

#[cfg(test)]
mod tests;
