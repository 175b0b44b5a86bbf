//! What fwknopd.conf means: a layer of the configuration, and what only a service under fwknopd's
//! name has.
//!
//! | area | where |
//! |---|---|
//! | captures and the gate | here |
//! | the packet filter and what is led on | `netfilter` |
//!
//! The defaults are those of fwknopd where it would be another host with ours: the interface,
//! looking up names, and no ageing for what is read from a file.

mod netfilter;

use std::path::{Path, PathBuf};

use program::files::ReadError;

use super::RawConfig;
use crate::fwknopd::read::{Files, Note, Reading};
use crate::fwknopd::values;
use crate::fwknopd::variables::{self, Kind, Variable, Verdict};
use crate::fwknopd::{DEFAULT_RUN_DIR, is_default_run_dir};

/// What files of fwknopd say.
#[derive(Debug)]
pub struct Meaning {
    /// The layer.
    pub raw: RawConfig,
    /// What a service of this name has besides.
    pub service: Service,
    /// What there is to say about the files.
    pub notes: Vec<Note>,
    /// Why they cannot be used.
    pub mistakes: Vec<super::Mistake>,
    /// What every variable that fwknopd prints has in force.
    pub in_force: Vec<(&'static str, Option<String>)>,
}

/// Of a service: where its files are, and how it logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    pub run_dir: PathBuf,
    pub pid_file: PathBuf,
    /// What fwknopd remembers of the packets that it has seen.
    pub digest_file: PathBuf,
    /// The name in syslog.
    pub identity: String,
    /// The number of the facility in syslog.
    pub facility: u8,
    /// How much more is logged.
    pub verbose: u8,
}

/// Where the state is below a run directory that is not the default.
const STATE_BELOW: &str = "postern-agent";
/// Where fwknopd expects it.
const ACCESS_FILE: &str = "/etc/fwknop/access.conf";
use super::COMMAND_TIMEOUT_SECS_MAX;

/// Reads files and says what they mean.
///
/// # Errors
///
/// [`ReadError`] for a file that cannot be read; mistakes are in the meaning.
pub fn read(files: &Files) -> Result<Meaning, ReadError> {
    Ok(of(files.read()?, files.conf.parent()))
}

/// What was read, by the directory that the file is in.
#[must_use]
pub fn of(reading: Reading, dir: Option<&Path>) -> Meaning {
    let mut reading = reading;
    say_what_is_moot(&mut reading);
    refuse(&mut reading);
    let mut raw = RawConfig::default();
    captures(&mut reading, &mut raw);
    if raw.interfaces.as_ref().is_some_and(Vec::is_empty) {
        // As `-i "$IF"` gives it; nobody means every interface by it.
        let place = reading.place("PCAP_INTF");
        reading.mistake(place, "PCAP_INTF", "names no interface");
    }
    gate(&mut reading, &mut raw);
    netfilter::add(&mut reading, &mut raw);
    raw.access_file = Some(access_file(&reading, dir));
    raw.command_timeout_secs = command_timeout(&mut reading);
    raw.sudo_exe = reading.path("SUDO_EXE");
    raw.gpg_home_dir = reading.path("GPG_HOME_DIR");
    let service = service(&reading);
    raw.digest_cache = Some(service.digest_file.clone());
    if !is_default_run_dir(&service.run_dir) {
        raw.state_dir = Some(service.run_dir.join(STATE_BELOW));
    }
    let in_force = in_force(&reading, &raw, &service);
    let of_config = |mistake: &crate::fwknopd::read::Mistake| {
        super::Mistake::at(mistake.place.clone(), &mistake.name, &mistake.message)
    };
    Meaning {
        raw,
        service,
        in_force,
        mistakes: reading.mistakes.iter().map(of_config).collect(),
        notes: reading.notes,
    }
}

/// What a variable was given, for those who ask what it means.
trait Ask {
    fn text(&self, name: &str) -> Option<&str>;
    fn path(&self, name: &str) -> Option<PathBuf>;
    /// Yes or no; `None` where nothing was given.
    fn switch(&self, name: &str) -> Option<bool>;
    fn number(&self, name: &str) -> Option<u64>;
    fn place(&self, name: &str) -> String;
}

impl Ask for Reading {
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|given| &*given.value)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn switch(&self, name: &str) -> Option<bool> {
        let value = self.text(name)?;
        let in_doubt = variables::of_name(name).is_some_and(values::doubtful);
        Some(values::switch(value).unwrap_or(in_doubt))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(values::number).map(|(n, _)| n)
    }

    fn place(&self, name: &str) -> String {
        let given = self.get(name);
        given.map_or_else(String::new, |given| given.place.clone())
    }
}

/// Whether what was given is what would be so without a word, or asks for nothing.
fn asks_for_nothing(variable: &Variable, value: &str) -> bool {
    match variable.kind {
        Kind::Switch => {
            let default = variable.default.unwrap_or("N");
            values::switch(value).unwrap_or(false) == (default == "Y")
        }
        Kind::Text | Kind::Path | Kind::Number(..) | Kind::Facility | Kind::Chain => {
            variable.default == Some(value)
        }
    }
}

fn say_what_is_moot(reading: &mut Reading) {
    let moot = reading.given.iter().filter_map(|(name, given)| {
        let variable = variables::of_name(name)?;
        let is_moot =
            variable.verdict == Verdict::Moot && !asks_for_nothing(variable, &given.value);
        is_moot.then(|| (given.place.clone(), variable))
    });
    for (place, variable) in moot.collect::<Vec<_>>() {
        let text = format!("changes nothing here: {}", variable.why);
        reading.inform(&place, variable.name, &text);
    }
}

fn refuse(reading: &mut Reading) {
    let refused = reading.given.iter().filter_map(|(name, given)| {
        let variable = variables::of_name(name)?;
        let is_refused =
            variable.verdict == Verdict::Refused && !asks_for_nothing(variable, &given.value);
        is_refused.then(|| (given.place.clone(), variable))
    });
    for (place, variable) in refused.collect::<Vec<_>>() {
        reading.mistake(place, variable.name, variable.why);
    }
}

fn captures(reading: &mut Reading, raw: &mut RawConfig) {
    let file = capture_file(reading);
    let by_queue = reading.switch("ENABLE_NFQ_CAPTURE") == Some(true);
    let port = |name: &str| {
        reading
            .number(name)
            .and_then(|port| u16::try_from(port).ok())
    };
    let filter = reading.text("PCAP_FILTER").map(str::to_owned);
    match filter.as_deref().map(|text| (port_of(text), text)) {
        Some((Some(port), _)) => raw.spa_port = Some(port),
        Some((None, text)) => raw.filter = Some(text.to_owned()),
        None if by_queue => raw.spa_port = port("NFQ_PORT"),
        None => {}
    }
    if let Some(path) = file {
        raw.pcap_file = Some(path);
        raw.follow = Some(true);
    } else if reading.switch("ENABLE_UDP_SERVER") == Some(true) {
        let port = port("UDPSERV_PORT").unwrap_or(fleet::DEFAULT_SPA_PORT);
        raw.udp_server = Some(port.to_string());
        // What is asked for to be sent to one is what that is for.
        raw.spa_port = raw.spa_port.or(Some(port));
    } else {
        let queue = by_queue.then(|| reading.text("NFQ_INTERFACE").unwrap_or("any"));
        let interface = reading.text("PCAP_INTF");
        let named = match (interface, queue) {
            (None, Some(queue)) => queue.to_owned(),
            (interface, None) => interface.unwrap_or("eth0").to_owned(),
            (Some(interface), Some(queue)) => format!("{interface},{queue}"),
        };
        let mut names: Vec<String> = Vec::new();
        for name in named
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        raw.interfaces = Some(names);
    }
    if reading.switch("ENABLE_TCP_SERVER") == Some(true) {
        // As with fwknopd it takes nothing from what captures.
        let port = port("TCPSERV_PORT").unwrap_or(fleet::DEFAULT_SPA_PORT);
        raw.tcp_server = Some(port.to_string());
    }
    raw.promiscuous = reading.switch("ENABLE_PCAP_PROMISC");
    raw.any_direction = reading.switch("ENABLE_PCAP_ANY_DIRECTION");
}

/// The file that packets come out of: of PCAP_FILE, and where fwknop before 2.0 was told that another
/// program sniffs, that of its own variable.
fn capture_file(reading: &mut Reading) -> Option<PathBuf> {
    let named = reading.path("PCAP_FILE");
    let mode = ["DATA_COLLECT_MODE", "AUTH_MODE"];
    let mode = mode.into_iter().find(|name| reading.get(name).is_some());
    let Some(name) = mode else {
        return named;
    };
    let value = reading.text(name).unwrap_or_default().to_owned();
    let place = reading.place(name);
    match &*value {
        "PCAP" => named,
        "FILE_PCAP" | "ULOG_PCAP" => {
            let file = named.or_else(|| reading.path("PCAP_PKT_FILE"));
            if file.is_none() {
                let text = format!("{value} needs the name of the file: PCAP_FILE says it");
                reading.mistake(place, name, text);
            }
            file
        }
        _ => {
            let text = format!("`{value}` is not PCAP, FILE_PCAP or ULOG_PCAP");
            reading.mistake(place, name, text);
            None
        }
    }
}

/// The port of a filter that says nothing else.
fn port_of(filter: &str) -> Option<u16> {
    let words: Vec<&str> = filter.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["udp", "port", port] | ["udp", "dst", "port", port] => {
            port.parse().ok().filter(|port| *port > 0)
        }
        _ => None,
    }
}

fn gate(reading: &mut Reading, raw: &mut RawConfig) {
    raw.ageing = reading.switch("ENABLE_SPA_PACKET_AGING");
    raw.max_age_secs = reading.number("MAX_SPA_PACKET_AGE");
    raw.spa_over_http = reading.switch("ENABLE_SPA_OVER_HTTP");
    raw.any_user_agent = reading.switch("ALLOW_ANY_USER_AGENT");
    raw.x_forwarded_for = reading.switch("ENABLE_X_FORWARDED_FOR");
    if raw.pcap_file.is_some() && raw.ageing.is_none() {
        raw.ageing = Some(false);
        let names = ["PCAP_FILE", "PCAP_PKT_FILE"];
        let name = names.into_iter().find(|name| reading.get(name).is_some());
        let name = name.unwrap_or("PCAP_FILE");
        let place = reading.place(name);
        let text = "packets of any age are accepted out of a file, as with fwknopd; \
                    ENABLE_SPA_PACKET_AGING Y accepts recent ones only";
        reading.warn(&place, name, text);
    }
}

fn command_timeout(reading: &mut Reading) -> Option<u64> {
    let text = reading.text("CMD_EXEC_TIMEOUT")?.to_owned();
    let place = reading.place("CMD_EXEC_TIMEOUT");
    match values::number(&text).map(|(secs, _)| secs) {
        Some(secs @ 1..=COMMAND_TIMEOUT_SECS_MAX) => Some(secs),
        Some(0) => {
            let text = "commands always have a limit: it is the default, 10 seconds";
            reading.warn(&place, "CMD_EXEC_TIMEOUT", text);
            None
        }
        Some(_) => {
            let text = format!("commands have {COMMAND_TIMEOUT_SECS_MAX} seconds at most");
            reading.warn(&place, "CMD_EXEC_TIMEOUT", &text);
            Some(COMMAND_TIMEOUT_SECS_MAX)
        }
        None => {
            reading.mistake(
                place,
                "CMD_EXEC_TIMEOUT",
                format_args!("`{text}` is no number"),
            );
            None
        }
    }
}

/// A folder wins over a file. A relative name is one from where the agent was started, as with
/// fwknopd; where there is none, one beside the file that says it, as its sample means it.
fn access_file(reading: &Reading, dir: Option<&Path>) -> PathBuf {
    let named = reading
        .path("ACCESS_FOLDER")
        .or_else(|| reading.path("ACCESS_FILE"));
    let Some(named) = named else {
        return ACCESS_FILE.into();
    };
    if named.is_absolute() || named.exists() {
        return std::path::absolute(&named).unwrap_or(named);
    }
    let beside = dir.map(|dir| dir.join(&named)).filter(|path| path.exists());
    beside.unwrap_or(named)
}

fn service(reading: &Reading) -> Service {
    let run_dir = reading.path("FWKNOP_RUN_DIR");
    let run_dir = run_dir.unwrap_or_else(|| DEFAULT_RUN_DIR.into());
    let below = |name: &str, default: &str| {
        let path = reading.path(name);
        path.unwrap_or_else(|| run_dir.join(default))
    };
    let facility = reading.text("SYSLOG_FACILITY");
    Service {
        pid_file: below("FWKNOP_PID_FILE", "fwknopd.pid"),
        digest_file: below("DIGEST_FILE", "digest.cache"),
        identity: reading
            .text("SYSLOG_IDENTITY")
            .unwrap_or("fwknopd")
            .to_owned(),
        facility: facility.and_then(values::facility).unwrap_or(3),
        verbose: reading
            .number("VERBOSE")
            .map_or(0, |n| u8::try_from(n).unwrap_or(u8::MAX)),
        run_dir,
    }
}

/// As `fwknopd -D` has it: what was given, else the default.
fn in_force(
    reading: &Reading,
    raw: &RawConfig,
    service: &Service,
) -> Vec<(&'static str, Option<String>)> {
    let printed = variables::PRINTED
        .iter()
        .filter_map(|name| variables::of_name(name));
    let value = |variable: &'static Variable| {
        let given = reading.text(variable.name).map(str::to_owned);
        let default = || match variable.name {
            "FWKNOP_PID_FILE" => Some(service.pid_file.display().to_string()),
            "DIGEST_FILE" => Some(service.digest_file.display().to_string()),
            "ENABLE_SPA_PACKET_AGING" if raw.ageing == Some(false) => Some("N".to_owned()),
            _ => variable.default.map(str::to_owned),
        };
        (variable.name, given.or_else(default))
    };
    printed.map(value).collect()
}

#[cfg(test)]
mod tests;
