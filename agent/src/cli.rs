//! The command line. Doc comments are the help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use program::{CompletionsArgs, LogArgs, ManArgs, Manner};

use crate::commands::audit::AuditArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::floor::FloorArgs;
use crate::commands::grants::GrantsArgs;
use crate::commands::import::ImportArgs;
#[cfg(feature = "link")]
use crate::commands::join::JoinArgs;
use crate::commands::protect::ProtectArgs;
use crate::commands::reload::ReloadArgs;
use crate::commands::rotate_keys::RotateKeysArgs;
use crate::commands::status::StatusArgs;
use crate::commands::syns::SynsArgs;
use crate::config::{Named, RawConfig};
use crate::explain::ExplainArgs;
use crate::fwknopd::read::Files;

/// Opens ports for those who send an authentic packet, and for nobody else
#[derive(Debug, Parser)]
#[command(name = "postern-agent", version, max_term_width = 100, after_help = program::EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: LogArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Capture packets and open ports, in the foreground, until told to stop
    Run(Box<RunArgs>),
    #[cfg(feature = "link")]
    Join(JoinArgs),
    Import(ImportArgs),
    Explain(ExplainArgs),
    Protect(ProtectArgs),
    Status(StatusArgs),
    Grants(GrantsArgs),
    Audit(AuditArgs),
    Doctor(DoctorArgs),
    Syns(SynsArgs),
    Reload(ReloadArgs),
    RotateKeys(RotateKeysArgs),
    Floor(FloorArgs),
    Flush(FlushArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Flags of `run`. What is not given here may stand in the environment (POSTERN_AGENT_MAX_AGE_SECS=60)
/// or in the file.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Configuration file [default: /etc/postern/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Run by this fwknopd.conf and the access.conf that it names; --config is laid over it [default:
    /// /etc/fwknop/fwknopd.conf, if agent.toml says nothing and this host has not joined]
    #[arg(long, value_name = "FILE")]
    pub fwknopd_conf: Option<PathBuf>,

    /// Lay this file over the fwknopd.conf; may be given several times, and the last wins
    #[arg(
        short = 'O',
        long,
        value_name = "FILE",
        requires = "fwknopd_conf",
        value_delimiter = ','
    )]
    pub override_config: Vec<String>,

    /// Where membership and journal are kept [default: /var/lib/postern-agent]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Run alone, with this access.conf; reread at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub access_file: Option<PathBuf>,

    /// Dial the controller here instead of where the membership says; may be given several times
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "access_file")]
    pub controller: Vec<String>,

    /// Capture on this interface; may be given several times [default: any]
    #[arg(short, long, value_name = "IF")]
    pub interface: Vec<String>,

    /// Read packets from a capture file
    #[arg(long, value_name = "FILE")]
    pub pcap_file: Option<PathBuf>,

    /// Go on reading the capture file as it grows
    #[arg(long, requires = "pcap_file")]
    pub follow: bool,

    /// Read what rules of this host hand out to this group of NFLOG
    #[arg(long, value_name = "GROUP")]
    pub nflog_group: Option<u16>,

    /// Receive packets on a UDP socket
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    pub udp_server: Option<String>,

    /// Receive packets on a TCP socket too, one in each connection
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    pub tcp_server: Option<String>,

    /// Port that packets are sent to [default: 62201]
    #[arg(long, value_name = "PORT")]
    pub spa_port: Option<u16>,

    /// What packets travel in: udp, tcp, icmp, gre, other; may be given several times [default: udp]
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    pub transport: Vec<String>,

    /// Capture what matches this pcap filter instead
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,

    /// Judge what this host sends or forwards, too; implies --gateway
    #[arg(long)]
    pub any_direction: bool,

    /// Judge packets whatever address they are sent to: this host stands in front of others
    #[arg(long)]
    pub gateway: bool,

    /// Judge packets sent to this network too, not only to this host's own addresses; may be given
    /// several times
    #[arg(long, value_name = "NET", value_delimiter = ',')]
    pub accept_destination: Vec<String>,

    /// Drop everything to this port that is not opened, like tcp/22; may be given several times
    #[arg(long, value_name = "PROTO/PORT", value_delimiter = ',')]
    pub protect: Vec<String>,

    /// How the packet filter is changed: auto, nftables or iptables [default: auto]
    #[arg(long, value_name = "WHICH")]
    pub backend: Option<String>,

    /// Name of our chain [default: POSTERN]
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,

    /// Where the owner's own rules accept what we let in: auto, none, or a chain like `inet filter
    /// input`; may be given several times [default: auto]
    #[arg(long, value_name = "CHAIN", value_delimiter = ',')]
    pub hook: Vec<String>,

    /// Touch no packet filter; only say what would be opened
    #[arg(long)]
    pub dry_run: bool,

    /// Accept packets of any age
    #[arg(long, conflicts_with = "max_age")]
    pub no_ageing: bool,

    /// How old a packet may be by its own date [default: 120]
    #[arg(long, value_name = "SECS")]
    pub max_age: Option<u64>,

    /// How far a packet may be dated ahead of the clock; after a loss of the journal, packets are
    /// refused for as long [default: as --max-age; in a fleet 30]
    #[arg(long, value_name = "SECS")]
    pub max_future: Option<u64>,

    /// Read packets in the form of HTTP requests too
    #[arg(long)]
    pub spa_over_http: bool,

    /// Of HTTP requests, read those of any program, not only of fwknop
    #[arg(long)]
    pub any_user_agent: bool,

    /// Run commands where a stanza permits them [default: yes with an access file, no when joined]
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub commands: Option<bool>,

    /// Lead packets on to other hosts where a stanza permits it [default: no]
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub nat_forward: Option<bool>,

    /// Lead packets on to other ports of this host where a stanza permits it [default: no]
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub nat_local: Option<bool>,

    /// Close at the start what an earlier run left open [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub flush_at_start: Option<bool>,

    /// Close at the end what is open [default: yes]
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no())]
    pub flush_at_exit: Option<bool>,

    /// Keep capture, keys and packet filter in one process
    #[arg(long)]
    pub no_separation: bool,

    /// Let Prometheus ask for numbers here [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<String>,

    /// Stay in the foreground; always so, and accepted as fwknopd has it
    #[arg(short, long)]
    pub foreground: bool,
}

/// Remove our chain, its jump and our sets from the packet filter, and nothing else
///
/// For a host whose agent is gone for good: the list of protected ports in its state directory goes
/// too. Refused while an agent runs with the same chain.
#[derive(Args, Clone, Debug)]
pub struct FlushArgs {
    /// Name of our chain [default: the one that the state remembers, else POSTERN]
    #[arg(long, value_name = "NAME")]
    pub chain: Option<String>,
    /// Where the agent kept its state
    #[arg(long, value_name = "DIR", default_value = crate::STATE_DIR)]
    pub state: PathBuf,
}

// === impl Command ===

impl Command {
    /// How it logs: only what runs for long says more than warnings.
    #[must_use]
    pub const fn manner(&self) -> Manner {
        match self {
            Self::Run(_) | Self::Protect(_) => Manner::Daemon,
            #[cfg(feature = "link")]
            Self::Join(_) => Manner::Tool,
            Self::Audit(_)
            | Self::Completions(_)
            | Self::Doctor(_)
            | Self::Explain(_)
            | Self::Floor(_)
            | Self::Flush(_)
            | Self::Grants(_)
            | Self::Import(_)
            | Self::Man(_)
            | Self::Reload(_)
            | Self::RotateKeys(_)
            | Self::Status(_)
            | Self::Syns(_) => Manner::Tool,
        }
    }
}

// === impl RunArgs ===

impl From<&RunArgs> for Named {
    fn from(args: &RunArgs) -> Self {
        let conf = args.fwknopd_conf.as_ref();
        let overrides = &args.override_config;
        Self {
            file: args.config.clone(),
            fwknopd: conf.map(|conf| Files::of(conf).with_overrides(overrides.iter().cloned())),
        }
    }
}

impl From<RunArgs> for RawConfig {
    fn from(args: RunArgs) -> Self {
        let RunArgs {
            config: _,
            fwknopd_conf: _,
            override_config: _,
            state,
            access_file,
            controller,
            interface,
            pcap_file,
            follow,
            nflog_group,
            udp_server,
            tcp_server,
            spa_port,
            transport,
            filter,
            any_direction,
            gateway,
            accept_destination,
            protect,
            backend,
            chain,
            hook,
            dry_run,
            no_ageing,
            max_age,
            max_future,
            spa_over_http,
            any_user_agent,
            commands,
            nat_forward,
            nat_local,
            flush_at_start,
            flush_at_exit,
            no_separation,
            metrics_listen,
            foreground: _,
        } = args;
        Self {
            state_dir: state,
            access_file,
            controller: (!controller.is_empty()).then_some(controller),
            interfaces: (!interface.is_empty()).then_some(interface),
            pcap_file,
            follow: follow.then_some(true),
            nflog_group,
            udp_server,
            tcp_server,
            spa_port,
            transports: (!transport.is_empty()).then_some(transport),
            filter,
            any_direction: any_direction.then_some(true),
            gateway: gateway.then_some(true),
            accept_destinations: (!accept_destination.is_empty()).then_some(accept_destination),
            backend,
            chain,
            hooks: (!hook.is_empty()).then_some(hook),
            protect: (!protect.is_empty()).then_some(protect),
            flush_at_start,
            flush_at_exit,
            dry_run: dry_run.then_some(true),
            ageing: no_ageing.then_some(false),
            max_age_secs: max_age,
            max_future_secs: max_future,
            spa_over_http: spa_over_http.then_some(true),
            any_user_agent: any_user_agent.then_some(true),
            commands,
            nat_forward,
            nat_local,
            separation: no_separation.then_some(false),
            metrics_listen,
            ..Self::default()
        }
    }
}

fn yes_or_no() -> impl clap::builder::TypedValueParser<Value = bool> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(["yes", "no"]).map(|word| word == "yes")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_help_text_is_as_it_was() {
        insta::assert_snapshot!("reference", program::reference(Cli::command()));
    }
}
