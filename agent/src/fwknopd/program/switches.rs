//! The command line of `fwknopd`. Doc comments are the help.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser};

use crate::config::RawConfig;
use crate::fwknopd::DEFAULT_CONF;
use crate::fwknopd::read::Files;

/// postern-agent under the name fwknopd: opens ports for those who send an authentic packet
///
/// Reads the fwknopd.conf and access.conf of this host, and goes to the background when it is
/// ready. What a switch cannot change here is said in a line of the log. Ends with 0 or 1.
///
/// Examples:
///   fwknopd                      # start, and return when it is ready
///   fwknopd -S; fwknopd -R       # does it run? have it read its files again
///   fwknopd -D -c ./fwknopd.conf # what would be in force, without secrets
#[derive(Debug, Parser)]
#[command(
    name = "fwknopd",
    version,
    disable_version_flag = true,
    verbatim_doc_comment,
    infer_long_args = true,
    max_term_width = 100
)]
pub(super) struct Switches {
    /// Policy [default: what fwknopd.conf names, else /etc/fwknop/access.conf]
    #[arg(short, long, value_name = "FILE")]
    access_file: Option<PathBuf>,
    /// Every *.conf in this folder is the policy
    #[arg(long, value_name = "DIR")]
    access_folder: Option<PathBuf>,
    /// Configuration [default: /etc/fwknop/fwknopd.conf]
    #[arg(short, long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Lay this over the configuration; several have commas between, as of several -O the last
    /// counts
    #[arg(short = 'O', long, value_name = "FILE", action = ArgAction::Append)]
    override_config: Vec<String>,
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// Capture here
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
    /// End after so many packets have come in
    #[arg(short = 'C', long, value_name = "N")]
    pub(super) packet_limit: Option<u64>,
    /// What an earlier fwknopd has seen
    #[arg(short, long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    /// Print what is in force, without secrets
    #[arg(short = 'D', long)]
    dump_config: bool,
    /// End the one that runs with this PID file
    #[arg(short = 'K', long)]
    kill: bool,
    /// Have the one that runs read its files again
    #[arg(short = 'R', long)]
    restart: bool,
    /// Say whether one runs
    #[arg(short = 'S', long)]
    status: bool,
    /// Moot: log lines are the same everywhere
    #[arg(short, long, value_name = "LOCALE")]
    locale: Option<String>,
    /// PID file
    #[arg(short, long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Which packets are looked at
    #[arg(short = 'P', long, value_name = "FILTER")]
    pcap_filter: Option<String>,
    /// Directory of PID file and state
    #[arg(short, long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Moot: what was seen is forgotten by itself when it is too old to be accepted
    #[arg(long)]
    rotate_digest_cache: bool,
    /// Touch no packet filter; only say what would be opened
    #[arg(short, long)]
    test: bool,
    /// Receive packets on a UDP socket
    #[arg(short = 'U', long)]
    udp_server: bool,
    /// More in the log
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Log to syslog in the foreground too
    #[arg(long)]
    pub(super) syslog_enable: bool,
    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,
    /// Refused: for builds that are tested with a fuzzer
    #[arg(short = 'A', long)]
    afl_fuzzing: bool,
    /// Moot: errors are said in words
    #[arg(long)]
    dump_serv_err_codes: bool,
    /// Read all files and end
    #[arg(long)]
    exit_parse_config: bool,
    /// Read what an earlier fwknopd has seen and end
    #[arg(long)]
    exit_parse_digest_cache: bool,
    /// Moot: for builds that test fwknopd
    #[arg(long, value_name = "TAG")]
    fault_injection_tag: Option<String>,
    /// Read packets from a capture file, and go on as it grows
    #[arg(long, value_name = "FILE")]
    pcap_file: Option<PathBuf>,
    /// Judge what leaves an interface too
    #[arg(long)]
    pcap_any_direction: bool,
    /// Say what is open now
    #[arg(long)]
    fw_list: bool,
    /// Print the whole packet filter
    #[arg(long)]
    fw_list_all: bool,
    /// Remove everything of ours from the packet filter; refused while it runs
    #[arg(long)]
    fw_flush: bool,
    /// Keys of GnuPG for stanzas that name none
    #[arg(long, value_name = "DIR")]
    gpg_home_dir: Option<PathBuf>,
    /// Moot: keys are read and used without gpg
    #[arg(long, value_name = "FILE")]
    gpg_exe: Option<PathBuf>,
    /// The program sudo
    #[arg(long, value_name = "FILE")]
    sudo_exe: Option<PathBuf>,
    /// Moot: rules are not added by a program that would have to be asked first
    #[arg(long)]
    no_ipt_check_support: bool,
    /// Moot: as --no-ipt-check-support
    #[arg(long)]
    no_firewd_check_support: bool,
    /// Make keys for a stanza, and print them
    #[arg(long)]
    key_gen: bool,
    /// Write them into this file instead
    #[arg(long, value_name = "FILE")]
    pub(super) key_gen_file: Option<PathBuf>,
    /// Bytes of the encryption key
    #[arg(long, value_name = "N")]
    pub(super) key_len: Option<usize>,
    /// Bytes of the HMAC key
    #[arg(long, value_name = "N")]
    pub(super) hmac_key_len: Option<usize>,
    /// Hash that the HMAC key is for
    #[arg(long, value_name = "HASH")]
    pub(super) hmac_digest_type: Option<String>,
    /// The process that goes on in the background
    #[arg(long, hide = true)]
    pub(super) in_background: bool,
    /// What fwknopd does not look at either
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ask {
    Run,
    KeyGen,
    /// Only this text.
    Nothing(&'static str),
    Dump,
    ParseConfig,
    ParseDigests,
    Status,
    Kill,
    Restart,
    List,
    ListAll,
    Flush,
}

// === impl Switches ===

impl Switches {
    /// The one thing that is to be done.
    pub(super) fn ask(&self) -> Result<Ask, String> {
        if self.version {
            return Ok(Ask::Nothing(concat!(
                "postern-agent ",
                env!("CARGO_PKG_VERSION"),
                ", as fwknopd"
            )));
        }
        if self.afl_fuzzing {
            return Err("-A is for builds that are tested with a fuzzer".to_owned());
        }
        if self.dump_serv_err_codes {
            return Ok(Ask::Nothing("errors are said in words and have no numbers"));
        }
        if self.key_gen || self.key_gen_file.is_some() {
            return Ok(Ask::KeyGen);
        }
        let of_one = [
            (self.dump_config, Ask::Dump, "-D"),
            (self.kill, Ask::Kill, "-K"),
            (self.restart, Ask::Restart, "-R"),
            (self.status, Ask::Status, "-S"),
        ];
        let mut asked = of_one.into_iter().filter(|(is_asked, ..)| *is_asked);
        match (asked.next(), asked.next()) {
            (Some((_, _, one)), Some((_, _, other))) => {
                return Err(format!("{one} and {other} ask for different things"));
            }
            (Some((_, ask, _)), None) => return Ok(ask),
            (None, _) => {}
        }
        let further = [
            (self.exit_parse_config, Ask::ParseConfig),
            (self.exit_parse_digest_cache, Ask::ParseDigests),
            (self.fw_list_all, Ask::ListAll),
            (self.fw_list, Ask::List),
            (self.fw_flush, Ask::Flush),
        ];
        let found = further.into_iter().find(|(is_asked, _)| *is_asked);
        Ok(found.map_or(Ask::Run, |(_, ask)| ask))
    }

    /// Whether another process is to run, and this one to end when that is ready.
    pub(super) fn is_background(&self) -> bool {
        !self.foreground && !self.in_background
    }

    /// The files, and what the switches give variables.
    pub(super) fn files(&self) -> Result<Files, String> {
        if let Some(dir) = self.run_dir.as_deref().filter(|dir| !dir.is_absolute()) {
            return Err(format!(
                "the run directory {} is not absolute",
                dir.display()
            ));
        }
        let conf = self
            .config_file
            .as_deref()
            .unwrap_or_else(|| Path::new(DEFAULT_CONF));
        // The last of several; commas stand between those that are all meant.
        let lists = self.override_config.last().into_iter();
        let lists = lists.flat_map(|list| list.split(','));
        let lists = lists.map(|name| absolute(Path::new(name.trim())));
        let mut files = Files::of(absolute(conf)).with_overrides(lists);
        let mut give = |name, value: Option<String>| {
            files.switches.extend(value.map(|value| (name, value)));
        };
        let path = |path: &Option<PathBuf>| path.as_deref().map(absolute);
        let word = |is_asked: bool| is_asked.then(|| "Y".to_owned());
        give("ACCESS_FILE", path(&self.access_file));
        give("ACCESS_FOLDER", path(&self.access_folder));
        give("PCAP_INTF", self.interface.clone());
        give("PCAP_FILE", path(&self.pcap_file));
        give("PCAP_FILTER", self.pcap_filter.clone());
        give("ENABLE_PCAP_ANY_DIRECTION", word(self.pcap_any_direction));
        give("ENABLE_UDP_SERVER", word(self.udp_server));
        give("FWKNOP_RUN_DIR", path(&self.run_dir));
        give("FWKNOP_PID_FILE", path(&self.pid_file));
        give("DIGEST_FILE", path(&self.digest_file));
        give("LOCALE", self.locale.clone());
        give("GPG_HOME_DIR", path(&self.gpg_home_dir));
        give("GPG_EXE", path(&self.gpg_exe));
        give("SUDO_EXE", path(&self.sudo_exe));
        give("FAULT_INJECTION_TAG", self.fault_injection_tag.clone());
        Ok(files)
    }

    /// What no variable says.
    pub(super) fn flags(&self) -> RawConfig {
        RawConfig {
            dry_run: self.test.then_some(true),
            ..RawConfig::default()
        }
    }

    /// One line of the log for each switch that changes nothing and is no variable's.
    pub(super) fn say_what_is_moot(&self) {
        let moot = [
            (
                self.override_config.len() > 1,
                "-O before another -O",
                "the last counts, and commas stand between several files, as with fwknopd",
            ),
            (
                self.rotate_digest_cache,
                "--rotate-digest-cache",
                "what was seen is forgotten by itself when it is too old to be accepted",
            ),
            (
                self.no_ipt_check_support,
                "--no-ipt-check-support",
                "rules are not added by a program that would have to be asked first",
            ),
            (
                self.no_firewd_check_support,
                "--no-firewd-check-support",
                "rules are not added by a program that would have to be asked first",
            ),
            (
                !self.rest.is_empty(),
                "words without a switch",
                "fwknopd does not look at them either",
            ),
        ];
        for (_, switch, why) in moot.iter().filter(|(is_given, ..)| *is_given) {
            tracing::info!("{switch} changes nothing here: {why}");
        }
    }
}

/// As a text, from where the program was started.
fn absolute(path: &Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Switches {
        let words = ["fwknopd"].into_iter().chain(line.split_ascii_whitespace());
        Switches::try_parse_from(words).unwrap()
    }

    #[test]
    fn every_switch_of_fwknopd_is_understood() {
        let line = "-a a --access-folder d -c c -f -i eth1 -C 3 -d d -l C -O o -p p -P udp -r /r \
                    --rotate-digest-cache -t -U -v --syslog-enable --fault-injection-tag x \
                    --pcap-file f --pcap-any-direction --gpg-home-dir g --gpg-exe e --sudo-exe s \
                    --no-firewd-check-support --no-ipt-check-support word";

        let switches = of(line);

        assert_eq!(switches.ask(), Ok(Ask::Run));
        let files = switches.files().unwrap();
        assert_eq!(files.switches.len(), 15);
        assert_eq!(switches.flags().dry_run, Some(true));
        for (line, ask) in [
            ("-D", Ask::Dump),
            ("--dump-config", Ask::Dump),
            ("-K", Ask::Kill),
            ("--kill -f", Ask::Kill),
            ("-R", Ask::Restart),
            ("-S", Ask::Status),
            ("--stat", Ask::Status),
            ("--exit-parse-config", Ask::ParseConfig),
            ("--exit-parse-digest-cache", Ask::ParseDigests),
            ("--fw-list", Ask::List),
            ("--fw-list-all", Ask::ListAll),
            ("--fw-flush", Ask::Flush),
            ("--key-gen", Ask::KeyGen),
        ] {
            assert_eq!(of(line).ask(), Ok(ask), "{line}");
        }
        assert!(of("-D -K").ask().is_err());
        assert!(of("-A").ask().is_err());
        assert!(of("-r relative").files().is_err());
        let missed = Switches::try_parse_from(["fwknopd", "--fw-lst"]).unwrap_err();
        assert!(missed.to_string().contains("--fw-list"), "{missed}");
    }

    #[test]
    fn every_help_text_is_as_it_was() {
        use clap::CommandFactory as _;
        insta::assert_snapshot!("fwknopd", program::reference(Switches::command()));
    }
}
