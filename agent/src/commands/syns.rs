//! `postern-agent syns`: which operating systems the SYNs of a capture file show.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use gate::syn_of;
use policy::{OsSignatures, Syn};
use program::PrintError;
use serde::Serialize;

use crate::capture::{CaptureError, each_syn};
use crate::os_signatures::{BadOsSignatures, OsSignaturesFile};

/// Show which operating systems the SYNs of a capture file are of, for REQUIRE_OS
///
/// One line for each SYN: where it came from, what the signatures call it, and the signature that it
/// has, ready to be put into their file. What a SYN shows is a hint and never a proof.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  tcpdump -w syns.pcap 'tcp[13] & 0x17 = 2'    Record SYNs, then
  postern-agent syns syns.pcap                 show what they are
  postern-agent syns --json syns.pcap          One object a line")]
pub struct SynsArgs {
    /// Capture file, as tcpdump -w writes it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Signatures in the form of p0f 3 [default: /etc/postern/os.fp, if it is there]
    #[arg(long, value_name = "FILE")]
    pub os_signatures: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
pub enum SynsFailed {
    /// The capture file cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The signatures cannot be used.
    #[error(transparent)]
    Signatures(#[from] BadOsSignatures),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// What one SYN shows.
#[derive(Debug, Serialize)]
struct Row {
    source: IpAddr,
    /// `Linux 6.x`; `None` where no signature fits.
    label: Option<String>,
    /// Whether it fits but for what a network on the way may have changed.
    fuzzy: bool,
    signature: String,
}

/// Reads the file and prints what its SYNs show.
///
/// # Errors
///
/// [`SynsFailed`].
pub fn run(args: &SynsArgs) -> Result<(), SynsFailed> {
    let signatures = OsSignaturesFile::new(args.os_signatures.clone()).read()?;
    let mut rows = Vec::new();
    each_syn(&args.file, &mut |link, frame| {
        if let Some((source, syn)) = syn_of(frame, link) {
            rows.push(row(source, &syn, &signatures));
        }
    })?;
    let mut text = String::new();
    for row in rows {
        text += &if args.json {
            let object = serde_json::to_string(&row).map_err(io::Error::from);
            object.map_err(PrintError::Stdout)?
        } else {
            let label = row.label.as_deref().unwrap_or("unknown");
            let fuzzy = if row.fuzzy { " (fuzzy)" } else { "" };
            format!("{}  {label}{fuzzy}  {}", row.source, row.signature)
        };
        text.push('\n');
    }
    Ok(program::print(text)?)
}

fn row(source: IpAddr, syn: &Syn, signatures: &OsSignatures) -> Row {
    let found = signatures.identify(syn);
    Row {
        source,
        label: found.map(|found| found.label.words()),
        fuzzy: found.is_some_and(|found| found.is_fuzzy),
        signature: syn.to_string(),
    }
}
