//! `postern-agent explain`: what this agent would do with a packet, and why. Opens nothing.
//!
//! Packets are read from standard input, one a line, as they are on the wire; for each, one JSON
//! object goes to standard output, in the same order and flushed. The packets of one run meet one
//! gate, the very one that `run` has, in the order given: a second copy of a packet is a replay. No
//! limit on trials applies, and keys are not left out for their SOURCE, so that the answer names the
//! rule that refuses.

#[cfg_attr(not(feature = "link"), path = "explain/enforced_absent.rs")]
mod enforced;
mod line;
mod running;

use std::io::{self, BufRead, Read as _, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gate::{
    Addressees, Budget, Capacity, CompiledPolicy, Datagram, Floors, Gate, HostAddresses, LinkType,
    Memory, Now, Settings, Transport,
};
use policy::{NatSettings, Networks, OsSignatures};

pub use enforced::NotEnforced;
use program::PrintError;

use crate::capture::{CaptureError, each_syn};
use crate::clock;
use crate::config::{Config, ConfigError, Layers, Mode, RawConfig};
use crate::journal::{self, JournalError};
use crate::os_signatures::{BadOsSignatures, OsSignaturesFile};
use crate::policies::{self, InvalidAccessFile};

/// Says what this agent would do with each packet on standard input, and why; opens nothing
///
/// Judged by an access file, or on a host that has joined by the policy that it enforces now, as its
/// journal has it; whether or not an agent runs. One that runs is asked what it enforces, and standard
/// error says whether packets were judged by just that, or by a file that it has not read yet. No
/// secret is printed.
///
/// Reads packets, one a line, as they are on the wire, and prints one JSON object a line for each.
/// "check" is "accepted", or the check that refuses: destination, parse, match, authenticate, fresh, replay,
/// authorize. "reason" says why in words. The fields of the message are given whenever the packet is
/// authentic, and are null otherwise. Exits with 0 when every line has been answered, with 64 when
/// the access file is invalid.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// access.conf to judge by [default: the one that the configuration names; on a host that has
    /// joined, its policy]
    #[arg(long, value_name = "FILE")]
    pub access_file: Option<PathBuf>,
    /// Configuration file, where no access file is named [default: /etc/postern/agent.toml, if it is
    /// there]
    #[arg(long, value_name = "FILE", conflicts_with = "access_file")]
    pub config: Option<PathBuf>,
    /// Address the packets come from
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub source: IpAddr,
    /// Address the packets are sent to
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub destination: IpAddr,
    /// An address of the host; may be given several times. Says what becomes of packets that are sent
    /// to another one [default: every destination is the host's own]
    #[arg(long, value_name = "IP")]
    pub host_address: Vec<IpAddr>,
    /// Port the packets are sent to
    #[arg(long, value_name = "PORT", default_value_t = fleet::DEFAULT_SPA_PORT)]
    pub spa_port: u16,
    /// Accept messages of any age
    #[arg(long, conflicts_with_all = ["clock", "max_age"])]
    pub no_ageing: bool,
    /// Judge the age of messages at this time instead of now, in seconds since the epoch
    #[arg(long, value_name = "EPOCH")]
    pub clock: Option<u64>,
    /// How old a message may be by its own date, in seconds
    #[arg(long, value_name = "SECS", default_value_t = gate::AGEING_DEFAULT.as_secs())]
    pub max_age: u64,
    /// How far a message may be dated ahead of the clock, in seconds [default: as --max-age]
    #[arg(long, value_name = "SECS")]
    pub max_future: Option<u64>,
    /// Lead packets on to other hosts where a stanza permits it, as a host with nat_forward does
    #[arg(long)]
    pub nat_forward: bool,
    /// Lead packets on to other ports of the host, as a host with nat_local does
    #[arg(long)]
    pub nat_local: bool,
    /// Take host names to be looked up, as a host with nat_dns does
    #[arg(long)]
    pub nat_dns: bool,
    /// Take the SYNs of this capture file for seen, where a stanza says REQUIRE_OS; --source is who
    /// sent them
    #[arg(long, value_name = "FILE")]
    pub syns: Option<PathBuf>,
    /// Signatures of operating systems [default: those that the configuration names]
    #[arg(long, value_name = "FILE")]
    pub os_signatures: Option<PathBuf>,
    /// Refuse by its date what the agent refuses that keeps its state here
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// What ends a run before its input does.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is nothing to judge by.
    #[error(transparent)]
    AccessFile(#[from] InvalidAccessFile),
    /// The configuration, which should say what to judge by, has mistakes.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// This host should be judged by the policy of a fleet, and is not.
    #[error(transparent)]
    Enforced(#[from] NotEnforced),
    /// The journal whose floors were asked for cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The SYNs that were named cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The signatures cannot be used.
    #[error(transparent)]
    Signatures(#[from] BadOsSignatures),
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}

/// The longest payload of a UDP datagram. Of a longer line, no more than this is looked at.
const PAYLOAD_BYTES_MAX: usize = 65_507;

/// Explains the packets on standard input.
///
/// # Errors
///
/// [`ExplainError`] when input or output fails, or the access file has mistakes: then with all of
/// them.
pub fn run(args: &ExplainArgs) -> Result<(), ExplainError> {
    let Basis {
        compiled,
        state,
        config,
        said,
    } = basis(args)?;
    for line in said {
        program::note(line);
    }
    let floors = match &state {
        Some(dir) => journal::floors_of(dir)?,
        None => Floors::default(),
    };
    // What a controller sent was looked at when it was applied, and has none.
    policies::warn(compiled.policy());
    let mut replays = Memory::new(Capacity::default(), floors);
    let mut gate = Gate::new(settings(args, config.as_ref()), compiled);
    gate.set_addressees(addressees(args));
    gate.set_own_addresses(args.host_address.iter().map(|own| (*own).into()).collect());
    gate.set_os_signatures(signatures(args, config.as_ref())?);
    let (input, output) = (io::stdin().lock(), io::stdout().lock());
    explain(args, &mut gate, &mut replays, input, output)
}

/// What packets are judged by.
struct Basis {
    compiled: Arc<CompiledPolicy>,
    /// Whose floors hold.
    state: Option<PathBuf>,
    /// The configuration of this host, where that is what was asked for.
    config: Option<Config>,
    /// What that has to do with the agent that runs here.
    said: Vec<String>,
}

fn basis(args: &ExplainArgs) -> Result<Basis, ExplainError> {
    let flags = RawConfig {
        state_dir: args.state.clone(),
        ..RawConfig::default()
    };
    let layers = Layers::read(args.config.as_deref(), flags);
    if let Some(file) = &args.access_file {
        // Whatever else is wrong with the configuration: the file was named.
        let gnupg = layers.readable().gnupg_homes();
        return Ok(Basis {
            compiled: policies::load(file, &gnupg, now(args))?,
            state: args.state.clone(),
            config: None,
            said: vec![format!(
                "judged by {}, as it was named; whatever an agent enforces",
                file.display()
            )],
        });
    }
    let config = layers.config()?;
    let running = running::ask(&config.state_dir);
    let told = running
        .access_file()
        .map(|access_file| Mode::Alone { access_file });
    let (compiled, state, said) = match told.as_ref().unwrap_or(&config.mode) {
        Mode::Alone { access_file } => {
            let compiled = policies::load(access_file, &config.gnupg, now(args))?;
            let said = running.of_access_file(access_file, compiled.policy());
            (compiled, args.state.clone(), said)
        }
        Mode::Joined { .. } => {
            let state = config.state_dir.clone();
            let compiled = enforced::policy(&state, now(args))?;
            let said = running.of_generation(compiled.generation());
            (compiled, Some(state), said)
        }
    };
    Ok(Basis {
        compiled,
        state,
        config: Some(config),
        said,
    })
}

/// As the configuration of this host says, where that was asked for; a flag wins.
fn settings(args: &ExplainArgs, config: Option<&Config>) -> Settings {
    let nat = config.map(|config| config.nat).unwrap_or_default();
    let max_future = config.map_or(args.max_age, |config| config.gate.max_future.as_secs());
    Settings {
        ageing: (!args.no_ageing).then(|| Duration::from_secs(args.max_age)),
        max_future: Duration::from_secs(args.max_future.unwrap_or(max_future)),
        nat: NatSettings {
            is_possible: true,
            forward: args.nat_forward || nat.forward,
            local: args.nat_local || nat.local,
            names: args.nat_dns || nat.names,
            ..nat
        },
        duplicate_within: Duration::ZERO,
        budget: Budget::UNLIMITED,
        thorough: true,
        ..Settings::default()
    }
}

fn signatures(
    args: &ExplainArgs,
    config: Option<&Config>,
) -> Result<Arc<OsSignatures>, BadOsSignatures> {
    match (&args.os_signatures, config) {
        (None, Some(config)) => config.os_signatures.read(),
        (named, _) => OsSignaturesFile::new(named.clone()).read(),
    }
}

/// The frames with SYNs that count as seen.
fn syns(args: &ExplainArgs) -> Result<Vec<(LinkType, Vec<u8>)>, CaptureError> {
    let mut syns = Vec::new();
    if let Some(file) = &args.syns {
        each_syn(file, &mut |link, frame| syns.push((link, frame.to_vec())))?;
    }
    Ok(syns)
}

fn addressees(args: &ExplainArgs) -> Addressees {
    if args.host_address.is_empty() {
        return Addressees::Everyone;
    }
    let own = args.host_address.iter().map(IpAddr::to_canonical);
    Addressees::Host(Arc::new(HostAddresses {
        own: own.collect(),
        accepted: Networks::Only(Box::default()),
    }))
}

fn explain(
    args: &ExplainArgs,
    gate: &mut Gate,
    replays: &mut Memory,
    mut input: impl BufRead,
    mut output: impl Write,
) -> Result<(), ExplainError> {
    let mut packet = Vec::new();
    let syns = syns(args)?;
    // A second passes for the budgets with every packet, so that none runs out.
    let mut steady = Duration::ZERO;
    while read_packet(&mut input, &mut packet).map_err(ExplainError::Input)? {
        steady += Duration::from_secs(1);
        let datagram = Datagram {
            source: args.source,
            destination: args.destination,
            source_port: args.spa_port,
            destination_port: args.spa_port,
            transport: Transport::Udp,
            payload: &packet,
        };
        let now = Now {
            steady,
            ..now(args)
        };
        for (link, syn) in &syns {
            gate.note_syn(syn, *link, now);
        }
        let decision = gate.admit_seen(&datagram, now, replays);
        line::print(decision.as_ref(), &mut output).map_err(PrintError::Stdout)?;
    }
    Ok(())
}

/// Reads one line without its newline; reports whether there was one. What no datagram can hold is
/// read past.
fn read_packet(input: &mut impl BufRead, packet: &mut Vec<u8>) -> io::Result<bool> {
    packet.clear();
    let bytes_max = PAYLOAD_BYTES_MAX as u64 + 1;
    if input.by_ref().take(bytes_max).read_until(b'\n', packet)? == 0 {
        return Ok(false);
    }
    if packet.last() == Some(&b'\n') {
        packet.pop();
    } else {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

/// The clock, or the one that was asked for.
fn now(args: &ExplainArgs) -> Now {
    match args.clock {
        Some(wall_secs) => Now {
            wall_secs,
            ..Now::default()
        },
        None => clock::now(),
    }
}

#[cfg(test)]
mod tests;
