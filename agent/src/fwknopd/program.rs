//! The agent under the name `fwknopd`: what init scripts, cron jobs and people at a shell have
//! called so far goes on working, with the exit codes that they know, 0 and 1.
//!
//! | file | what |
//! |---|---|
//! | `switches` | the command line |
//! | `background` | the daemon that outlives who started it, and says when it is ready |
//! | `pid_file` | who runs: by the lock on the PID file and not by the number in it |
//! | `keys` | `--key-gen` |
//! | `limit` | `-C` |
//! | `table` | what becomes of each switch, for the documentation |

mod background;
mod keys;
mod limit;
mod pid_file;
mod switches;
pub mod table;

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser as _;
use policy::Secrets;
use program::{Failure, LogArgs, LogFormat};

use self::pid_file::{Holder, PidFile};
use self::switches::{Ask, Switches};
use crate::cli::FlushArgs;
use crate::commands::grants::GrantsArgs;
use crate::commands::local::StateArgs;
use crate::commands::reload::ReloadArgs;
use crate::commands::{flush, grants, reload};
use crate::config::fwknopd::{Meaning, Service};
use crate::config::{ConfigError, Layers, Mode, Named, RawConfig};
use crate::domains::log_to::LogTo;
use crate::fwknopd::digests;
use crate::journal::FILE_NAME;
use crate::policies;
use crate::start::start;

/// How long the one that is told to end may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why it was not done. Ends with 1, whatever it is.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("nothing was done: {0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no fwknopd runs with the PID file {}", .0.display())]
    NotRunning(PathBuf),
    #[error("{0}")]
    Host(String, #[source] io::Error),
    #[error("an agent runs already with the PID file {} (PID {pid})", path.display())]
    Running { path: PathBuf, pid: i32 },
    #[error("the agent with PID {pid} did not end within {} seconds", PATIENCE.as_secs())]
    StillThere { pid: i32 },
    #[error("it is not ready within {0} seconds, and was ended; nothing runs")]
    NotReady(u64),
    #[error("it has ended before it was ready")]
    Ended,
    #[error("{0}")]
    Other(String),
}

/// Whether the program was started by this name.
#[must_use]
pub fn is_called_so() -> bool {
    let name = env::args_os().next().map(PathBuf::from);
    name.is_some_and(|path| path.file_name() == Some("fwknopd".as_ref()))
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let switches = match Switches::try_parse() {
        Ok(switches) => switches,
        Err(told) => {
            let _ = told.print();
            return ExitCode::from(u8::from(told.use_stderr()));
        }
    };
    match run(&switches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let ended = program::fail(&*failure);
            // The unit asks whether to start it again; scripts know 0 and 1.
            if env::var_os("NOTIFY_SOCKET").is_some() {
                ended
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

type Done = Result<(), Box<dyn Failure>>;

fn run(switches: &Switches) -> Done {
    let ask = switches.ask().map_err(|why| boxed(Failed::Usage(why)))?;
    match ask {
        Ask::KeyGen => return keys::generate(switches).map_err(boxed),
        Ask::Nothing(why) => return print(&format!("{why}\n")),
        Ask::Dump
        | Ask::ParseConfig
        | Ask::ParseDigests
        | Ask::Status
        | Ask::Kill
        | Ask::Restart
        | Ask::List
        | Ask::ListAll
        | Ask::Flush
        | Ask::Run => {}
    }
    let named = Named {
        file: None,
        fwknopd: Some(switches.files().map_err(|why| boxed(Failed::Usage(why)))?),
    };
    let flags = switches.flags();
    let layers = Layers::of(&named, flags.clone());
    let state_dir = layers.readable().state_dir_or_default();
    let state = || StateArgs {
        state: Some(state_dir.clone()),
    };
    let Some(meaning) = layers.of_fwknopd() else {
        return Err(match layers.config() {
            Ok(_) => boxed(Failed::Other("nothing was read".to_owned())),
            Err(unread) => boxed(Failed::Config(unread)),
        });
    };
    let service = meaning.service.clone();
    match ask {
        Ask::KeyGen | Ask::Nothing(_) => Ok(()),
        Ask::Dump => dump(layers),
        Ask::ParseConfig => parse(layers),
        Ask::ParseDigests => parse_digests(&service.digest_file),
        Ask::Status => status(&service),
        Ask::Kill => kill(&service),
        Ask::Restart => {
            running(&service)?;
            let asked = ReloadArgs {
                state: state(),
                json: false,
            };
            reload::run(&asked).map_err(|error| Box::new(error) as Box<dyn Failure>)
        }
        Ask::List if !state_dir.join(FILE_NAME).exists() => Ok(()),
        Ask::List => {
            let asked = GrantsArgs {
                user: None,
                state: state(),
                json: false,
            };
            grants::run(&asked).map_err(|error| Box::new(error) as Box<dyn Failure>)
        }
        Ask::ListAll => list_all(),
        Ask::Flush => {
            let chain = layers.readable().chain.clone();
            let state = state_dir;
            let done = flush::run(&FlushArgs { chain, state });
            done.map_err(|error| Box::new(error) as Box<dyn Failure>)
        }
        Ask::Run => serve(switches, layers, named, flags, &service),
    }
}

fn boxed(failed: Failed) -> Box<dyn Failure> {
    Box::new(failed)
}

fn print(text: &str) -> Done {
    program::print(text).map_err(|error| Box::new(error) as Box<dyn Failure>)
}

/// Runs: as this process, or as one of its own that goes on when this one has said that it is
/// ready.
fn serve(
    switches: &Switches,
    layers: Layers,
    named: Named,
    flags: RawConfig,
    service: &Service,
) -> Done {
    if switches.is_background() {
        let mistakes = layers.config().map(drop);
        mistakes.map_err(|error| boxed(Failed::Config(error)))?;
        if let Some(pid) = PidFile::holder(&service.pid_file).pid() {
            let path = service.pid_file.clone();
            return Err(boxed(Failed::Running { path, pid }));
        }
        return background::start_and_wait().map_err(boxed);
    }
    let log = LogArgs {
        verbose: switches.verbose.max(service.verbose),
        log: LogFormat::Text,
    };
    let log = if switches.in_background || switches.syslog_enable {
        LogTo::syslog(log, &service.identity, service.facility)
    } else {
        LogTo::stderr(log)
    };
    log.begin();
    switches.say_what_is_moot();
    let held = PidFile::hold(&service.pid_file).map_err(boxed)?;
    if switches.in_background {
        background::leave_the_terminal();
    }
    if let Some(packets) = switches.packet_limit.filter(|packets| *packets > 0) {
        let state_dir = layers.readable().state_dir_or_default();
        limit::end_after(packets, state_dir)
            .map_err(|cause| boxed(Failed::Host("cannot count packets".to_owned(), cause)))?;
    }
    drop(layers);
    let ended = start(named, flags, &log);
    held.leave();
    ended
}

/// What is in force, in the order and form in which fwknopd prints it, and then the policy without
/// its secrets.
fn dump(layers: Layers) -> Done {
    let values = layers.of_fwknopd().map(in_force).unwrap_or_default();
    let config = layers
        .config()
        .map_err(|error| boxed(Failed::Config(error)))?;
    print(&values)?;
    let Mode::Alone { access_file } = &config.mode else {
        return Ok(());
    };
    let compiled = policies::load_to_run(
        access_file,
        &config.gnupg,
        config.gate.commands,
        crate::clock::now(),
    )
    .map_err(|error| Box::new(error) as Box<dyn Failure>)?;
    print(&format!("\n{}", compiled.policy().print(Secrets::Redact)))
}

fn in_force(meaning: &Meaning) -> String {
    let line = |(index, (name, value)): (usize, &(&str, Option<String>))| {
        let value = value.as_deref().unwrap_or("<not set>");
        format!("{index:3}. {name:<28} =  '{value}'\n")
    };
    // The first two are the names of the files, in the reference.
    let numbered = meaning.in_force.iter().enumerate();
    numbered
        .map(|(index, one)| line((index + 2, one)))
        .collect()
}

/// Everything that a start would read, and nothing else.
fn parse(layers: Layers) -> Done {
    layers.say();
    let config = layers
        .config()
        .map_err(|error| boxed(Failed::Config(error)))?;
    if let Mode::Alone { access_file } = &config.mode {
        policies::load_to_run(
            access_file,
            &config.gnupg,
            config.gate.commands,
            crate::clock::now(),
        )
        .map_err(|error| Box::new(error) as Box<dyn Failure>)?;
    }
    print("the files have no mistakes\n")
}

/// What an earlier fwknopd has seen, counted.
fn parse_digests(path: &Path) -> Done {
    let cache = digests::read_if_there(path).map_err(|cause| {
        boxed(Failed::Host(
            format!("cannot read {}", path.display()),
            cause,
        ))
    })?;
    let (packets, bad) = (cache.seen.len(), cache.bad);
    if bad > 0 {
        let text = format!("{}: {bad} lines are none", path.display());
        return Err(boxed(Failed::Other(text)));
    }
    print(&format!("{}: {packets} packets\n", path.display()))
}

fn running(service: &Service) -> Result<i32, Box<dyn Failure>> {
    let path = &service.pid_file;
    match PidFile::holder(path) {
        Holder::Process(pid) => Ok(pid),
        Holder::Nobody => Err(boxed(Failed::NotRunning(path.clone()))),
        Holder::Unseen => Err(boxed(Failed::Other(format!(
            "{} is held by a process that cannot be seen from here: ask in its own container",
            path.display()
        )))),
    }
}

fn status(service: &Service) -> Done {
    let pid = running(service)?;
    print(&format!("fwknopd is running (PID {pid})\n"))
}

/// Ends the one that holds the lock now, and waits until it is gone.
fn kill(service: &Service) -> Done {
    let pid = running(service)?;
    pid_file::end(&service.pid_file, pid, PATIENCE).map_err(boxed)?;
    print(&format!("fwknopd is ended (PID {pid})\n"))
}

/// What the host's packet filter holds altogether, as the host's own program says it.
fn list_all() -> Done {
    let programs: [&[&str]; 2] = [&["nft", "list", "ruleset"], &["iptables-save"]];
    let mut last = None;
    for words in programs {
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let mut command = Command::new(program);
        match command.args(arguments).stdin(Stdio::null()).status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(_) => {}
            Err(cause) => last = Some(cause),
        }
    }
    let cause = last.unwrap_or_else(|| io::Error::other("both have failed"));
    let what = "neither nft nor iptables lists the packet filter".to_owned();
    Err(boxed(Failed::Host(what, cause)))
}

impl Failure for Failed {
    fn exit(&self) -> program::Exit {
        program::Exit::Refused
    }

    fn hint(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Running { .. } => {
                Some("`fwknopd -K` ends it, `fwknopd -R` has it read its files".into())
            }
            Self::NotReady(_) => {
                Some("an interface that is not there? `fwknopd -f` waits for it and says so".into())
            }
            Self::Config(cause) => cause.hint(),
            Self::Usage(_) => Some("`fwknopd --help` names every switch".into()),
            Self::NotRunning(_)
            | Self::Host(..)
            | Self::StillThere { .. }
            | Self::Ended
            | Self::Other(_) => None,
        }
    }
}
