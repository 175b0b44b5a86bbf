//! `postern-agent status`: what the running agent says about itself.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::PrintError;

use crate::report::{
    CaptureReport, FirewallReport, FloorReport, ObstacleReport, Report, SOCKET_NAME,
};

/// Says how the running agent is: policy, grants, captures, journal, and everything it counts
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR", default_value = crate::STATE_DIR)]
    pub state: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusFailed {
    #[error("no agent answers at {}", path.display())]
    NoAgent {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the agent at {} did not say how it is", path.display())]
    Silent {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// For how long an answer is waited for: the agent gives up sooner.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks and prints.
///
/// # Errors
///
/// [`StatusFailed`] when no agent runs there, or it does not answer.
pub fn run(args: &StatusArgs) -> Result<(), StatusFailed> {
    let report = fetch(&args.state)?;
    let text = if args.json {
        let object = serde_json::to_string(&report).map_err(io::Error::from);
        object.map_err(PrintError::Stdout)? + "\n"
    } else {
        text(&report)
    };
    Ok(program::print(text)?)
}

/// Asks the agent that keeps its state in this directory.
///
/// # Errors
///
/// [`StatusFailed`] when no agent runs there, or it does not answer.
pub fn fetch(state_dir: &Path) -> Result<Report, StatusFailed> {
    let path = state_dir.join(SOCKET_NAME);
    let mut stream = UnixStream::connect(&path).map_err(|cause| StatusFailed::NoAgent {
        path: path.clone(),
        cause,
    })?;
    let mut read = || {
        let mut text = String::new();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_string(&mut text)?;
        if text.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(serde_json::from_str(&text)?)
    };
    read().map_err(|cause| StatusFailed::Silent { path, cause })
}

fn text(report: &Report) -> String {
    let Report {
        version,
        generation,
        policy_age_secs,
        rejected_generation,
        drift,
        nat_fault,
        locked,
        grants_open,
        journal_seq,
        journal_writable,
        journal_fault,
        floor,
        firewall,
        captures,
        counters,
    } = report;
    let mut lines = format!(
        "version      {version}\n\
         generation   {generation}, in force for {policy_age_secs} s\n"
    );
    if let Some(rejected) = rejected_generation {
        let _ = writeln!(lines, "rejected     generation {rejected}");
    }
    if let Some(fault) = nat_fault {
        let _ = writeln!(lines, "nat          warning: {fault}");
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
        down,
    } = capture;
    let link = link.as_ref().map(|link| format!(", {link}"));
    let link = link.unwrap_or_default();
    let state = match down {
        None => "up".to_owned(),
        Some(why) => format!("waiting: {why}"),
    };
    format!("{name}{link}, {frames} frames, {dropped} packets lost, {state}")
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
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_matters_first_and_then_every_counter() {
        let report = Report {
            version: "1.2.3".to_owned(),
            generation: 4,
            policy_age_secs: 60,
            rejected_generation: Some(5),
            drift: None,
            nat_fault: None,
            locked: Some("stolen".to_owned()),
            grants_open: 2,
            journal_seq: 99,
            journal_writable: false,
            journal_fault: Some("the disk is full".to_owned()),
            floor: FloorReport {
                through_secs: 1_800_000_120,
                reason: "the journal that was here is gone".to_owned(),
                ends_in_secs: 90,
                clock_is_proven: false,
            },
            firewall: FirewallReport {
                backend: "nftables".to_owned(),
                why: "the kernel has it".to_owned(),
                recognised: vec!["Docker".to_owned(), "nftables".to_owned()],
                hidden: vec!["tcp/22".to_owned(), "tcp/8080".to_owned()],
                published: vec!["tcp/8080 leads to 172.17.0.2 port 80, hidden".to_owned()],
                obstacles: vec![ObstacleReport {
                    rule: "inet filter input: policy drop".to_owned(),
                    services: vec!["tcp/1-65535".to_owned()],
                    is_certain: true,
                    cure: vec!["in agent.toml: hooks = [\"inet filter input\"]".to_owned()],
                }],
                blocked_sources: 2,
                ..FirewallReport::default()
            },
            captures: vec![
                CaptureReport {
                    name: "eth0".to_owned(),
                    link: Some("Ethernet".to_owned()),
                    frames: 17,
                    dropped: 3,
                    down: None,
                },
                CaptureReport {
                    name: "tun7".to_owned(),
                    down: Some("there is no such interface".to_owned()),
                    ..CaptureReport::default()
                },
            ],
            counters: [
                ("received", 12),
                ("reassembled", 5),
                ("fragments_waiting", 1),
                ("fragments_refused", 4),
                ("fragments_expired", 2),
                ("fragments_crowded_out", 3),
            ]
            .map(|(name, count)| (name.to_owned(), count))
            .to_vec(),
        };

        let expected = "\
version      1.2.3
generation   4, in force for 60 s
rejected     generation 5
locked       by the controller: stolen
grants open  2
journal      event 99, and cannot be written
             the disk is full
floor        packets dated at or before 1800000120 are refused: the journal that was here is gone; over in 90 s
firewall     nftables: the kernel has it
  recognised Docker, nftables
  hidden     tcp/22, tcp/8080
  published  tcp/8080 leads to 172.17.0.2 port 80, hidden
  blocked    2 addresses or networks, by the owner: they stay so
  obstacle   inet filter input: policy drop
             for tcp/1-65535
             in agent.toml: hooks = [\"inet filter input\"]
capture      eth0, Ethernet, 17 frames, 3 packets lost, up
capture      tun7, 0 frames, 0 packets lost, waiting: there is no such interface
fragments    5 packets put together, 1 waiting for more; given up: 2 late, 3 crowded out; 4 fragments refused
received              12
reassembled           5
fragments_waiting     1
fragments_refused     4
fragments_expired     2
fragments_crowded_out 3
";
        assert_eq!(text(&report), expected);
    }
}
