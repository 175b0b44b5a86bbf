//! The gate domain: all that decides, in a process that knows the keys and has no power over the host.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use caps::Capability;
use nix::libc;
use nix::unistd::Pid;
use program::Failure;
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::confine::{Files, Powers};
use super::parts::Apart;
use super::spawn::{self, Domain};
use crate::config::{Config, ConfigSource, DEFAULT_FILE, Layers, Mode, Named, RawConfig};
use crate::fwknopd::DEFAULT_CONF;
use crate::fwknopd::read::Files as FwknopdFiles;
use crate::fwknopd::variables;
use crate::report::DomainReport;
use crate::{policies, run};

/// What the domain is started with. It reads the configuration itself, as it does again at a reload.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GateStart {
    file: Option<PathBuf>,
    fwknopd: Option<WrittenFiles>,
    flags: RawConfig,
    /// The chain in which is hidden what was hidden first.
    chain: String,
    /// How many channels there are for sources of packets.
    captures: usize,
    /// All processes of the agent, for who asks.
    pub processes: Vec<(String, i32)>,
}

/// The files of fwknopd, with variables by their names.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct WrittenFiles {
    conf: PathBuf,
    overrides: Vec<PathBuf>,
    switches: Vec<(String, String)>,
}

// === impl GateStart ===

impl GateStart {
    /// The same configuration once more.
    #[must_use]
    pub fn of(named: &Named, flags: &RawConfig, config: &Config) -> Self {
        let written = |files: &FwknopdFiles| WrittenFiles {
            conf: files.conf.clone(),
            overrides: files.overrides.clone(),
            switches: files
                .switches
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        };
        Self {
            file: named.file.clone(),
            fwknopd: named.fwknopd.as_ref().map(written),
            flags: flags.clone(),
            chain: config.firewall.chain.clone(),
            captures: config.captures.len(),
            processes: Vec::new(),
        }
    }

    /// The files that say what is to be done, all of which are read again at a reload.
    fn configuration(&self) -> Vec<PathBuf> {
        let of_fwknopd = self.fwknopd.iter().flat_map(|written| {
            let overrides = written.overrides.iter().cloned();
            std::iter::once(written.conf.clone()).chain(overrides)
        });
        let mut files: Vec<PathBuf> = self.file.iter().cloned().chain(of_fwknopd).collect();
        // Those that are read where none is named: behind a link they stand elsewhere.
        files.extend([DEFAULT_FILE, DEFAULT_CONF].map(PathBuf::from));
        files
    }

    fn named(&self) -> Named {
        let files = |written: &WrittenFiles| FwknopdFiles {
            conf: written.conf.clone(),
            overrides: written.overrides.clone(),
            switches: written
                .switches
                .iter()
                .filter_map(|(name, value)| Some((variables::of_name(name)?.name, value.clone())))
                .collect(),
        };
        Named {
            file: self.file.clone(),
            fwknopd: self.fwknopd.as_ref().map(files),
        }
    }

    /// The channels behind the supervisor's, in their order.
    fn parts(&self, channels: Vec<Channel>) -> Apart {
        let mut channels = channels.into_iter();
        Apart {
            filter: channels.next().zip(channels.next()),
            domains: self
                .processes
                .iter()
                .map(|(name, pid)| DomainReport::new(name.clone(), *pid))
                .collect(),
            captures: channels.by_ref().take(self.captures).collect(),
            syns: channels.next(),
            commands: channels.next(),
        }
    }
}

/// Gives up what the gate does not need, and runs until it is told to stop.
///
/// # Errors
///
/// What keeps it from running.
pub(super) fn run(
    start: GateStart,
    supervisor: Pid,
    channels: Vec<Channel>,
) -> Result<(), Box<dyn Failure>> {
    let named = start.named();
    let layers = Layers::of(&named, start.flags.clone());
    let boxed = |error| Box::new(run::RunError::from(error)) as Box<dyn Failure>;
    let (raw, mut config) = layers.raw_and_config().map_err(boxed)?;
    config.firewall.chain.clone_from(&start.chain);
    powers(&config, start.configuration())
        .confine()
        .log(Domain::Gate.name());
    if let Err(cause) = spawn::end_with(supervisor) {
        return Err(Box::new(run::RunError::Domains(cause)));
    }
    let mut parts = start.parts(channels);
    let source = ConfigSource::new(named, start.flags, raw);
    run::run(&config, source, &mut parts).map_err(|error| Box::new(error) as Box<dyn Failure>)
}

/// Where the agent writes.
fn own_folders(config: &Config) -> [PathBuf; 2] {
    [config.state_dir.clone(), config.witness_dir.clone()]
}

/// Makes the folders in which the agent writes, before any of its processes is started: what one may
/// write in must be there to be named when it gives up the rest. Whoever needs it says what is wrong.
pub(super) fn make_folders(config: &Config) {
    for folder in own_folders(config) {
        let mut builder = fs::DirBuilder::new();
        let _ = builder.recursive(true).mode(0o700).create(folder);
    }
}

/// What a gate with this configuration, which stands in these files, keeps: its own files, and sockets
/// to its controller.
fn powers(config: &Config, configuration: Vec<PathBuf>) -> Powers {
    let write = own_folders(config).to_vec();
    let mut read: Vec<PathBuf> = Files::SYSTEM.iter().map(PathBuf::from).collect();
    read.extend(["/etc/postern", "/etc/fwknop"].map(PathBuf::from));
    read.extend(named_files(config, configuration));
    let mut capabilities = others_files(&[&*read, &*write].concat());
    let metrics_port = config.metrics_listen.map(|address| address.port());
    if metrics_port.is_some_and(|port| port < 1024) {
        capabilities.push(Capability::CAP_NET_BIND_SERVICE);
    }
    Powers {
        capabilities,
        user: None,
        files: Some(Files {
            read,
            write,
            connects: true,
        }),
        families: vec![
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ],
        runs_programs: false,
    }
}

/// The files of the configuration, those that it names, and those that these name: with their folders,
/// in which editors make them anew.
fn named_files(config: &Config, configuration: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut files = configuration;
    if let Mode::Alone { access_file } = &config.mode {
        files.push(access_file.clone());
        files.extend(policies::places(access_file, &config.gnupg.of_host));
    }
    files.push(config.gnupg.of_host.clone());
    files.extend(config.digest_cache.clone());
    files.push(config.os_signatures.path().to_owned());
    // Behind a link stands a file with a folder of its own.
    let targets: Vec<PathBuf> = files
        .iter()
        .filter_map(|file| file.canonicalize().ok())
        .collect();
    files.extend(targets);
    let folders: Vec<PathBuf> = files
        .iter()
        .filter(|file| file.is_file())
        .filter_map(|file| std::path::absolute(file).ok()?.parent().map(Path::to_owned))
        .filter(|folder| folder.parent().is_some())
        .collect();
    files.extend(folders);
    files
}

/// The capabilities that it takes to use files of other users, where there are any: a host that kept
/// its files so goes on.
pub(super) fn others_files(paths: &[PathBuf]) -> Vec<Capability> {
    let me = nix::unistd::geteuid().as_raw();
    let is_closed = |found: &fs::Metadata| found.uid() != me && found.mode() & 0o004 == 0;
    let mut closed = paths
        .iter()
        .filter(|path| fs::metadata(path).is_ok_and(|found| is_closed(&found)));
    match closed.next() {
        None => Vec::new(),
        Some(path) => {
            tracing::info!(
                path = %path.display(),
                "belongs to another user: the right to use files of others is kept"
            );
            vec![
                Capability::CAP_DAC_OVERRIDE,
                Capability::CAP_DAC_READ_SEARCH,
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_may_read_again_every_file_of_its_configuration_wherever_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let place = |folder: &str, name: &str| {
            let folder = dir.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join(name);
            fs::write(&file, "").unwrap();
            file
        };
        let own = place("own", "agent1.toml");
        let conf = place("theirs", "fwknopd.conf");
        let overlay = place("over", "more.conf");
        // Behind a link stands another file, in a folder of its own.
        let linked = dir.path().join("linked.conf");
        let target = place("behind", "linked.conf");
        std::os::unix::fs::symlink(&target, &linked).unwrap();
        let named = Named {
            file: Some(own.clone()),
            fwknopd: Some(FwknopdFiles {
                conf: conf.clone(),
                overrides: vec![overlay.clone(), linked],
                switches: Vec::new(),
            }),
        };
        let config = Config::try_from(RawConfig::default()).unwrap();
        let start = GateStart::of(&named, &RawConfig::default(), &config);

        let read = powers(&config, start.configuration()).files.unwrap().read;

        for file in [&own, &conf, &overlay, &target] {
            assert!(read.contains(file), "{}", file.display());
            let folder = file.parent().unwrap().to_owned();
            assert!(read.contains(&folder), "{}", folder.display());
        }
    }
}
