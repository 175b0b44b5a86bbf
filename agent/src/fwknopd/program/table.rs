//! What becomes of each switch of fwknopd: the table of the page about compatibility.

use program::doc_table::Row;

const LIFE: &str = "as_fwknopd_a_host_is_started_asked_reread_and_stopped";
const OWN: &str =
    "the_one_of_its_run_directory_is_ended_and_no_other_and_no_stranger_with_its_number";
const PRINTED: &str = "the_values_in_force_are_those_that_fwknopd_prints_for_the_same_files";
const DIGESTS: &str = "what_fwknopd_has_seen_is_a_replay_here";
const SAMPLE: &str =
    "the_sample_that_debian_ships_is_taken_as_it_is_and_with_every_line_of_it_in_force";
const UNDERSTOOD: &str = "every_switch_of_fwknopd_is_understood";

/// Its rows, each by the switch's long name.
pub static ROWS: &[Row] = &[
    obeyed("--access-file", "", PRINTED),
    obeyed("--access-folder", "in the place of a file", UNDERSTOOD),
    obeyed("--config-file", "", PRINTED),
    obeyed(
        "--override-config",
        "of several the last, and commas stand between those that are all meant",
        PRINTED,
    ),
    obeyed("--foreground", "", LIFE),
    obeyed("--interface", "", UNDERSTOOD),
    obeyed(
        "--packet-limit",
        "some packets more may be judged before the end",
        UNDERSTOOD,
    ),
    obeyed(
        "--digest-file",
        "what an earlier fwknopd has seen is taken from there; nothing is written there",
        DIGESTS,
    ),
    obeyed(
        "--dump-config",
        "values as fwknopd prints them, and the policy without its secrets",
        PRINTED,
    ),
    obeyed(
        "--kill",
        "by the lock and not by the number in the file; returns when the process is gone",
        OWN,
    ),
    obeyed(
        "--restart",
        "reads the policy again, without a moment of deafness and without closing what is open; with mistakes nothing changes and it ends with 1",
        LIFE,
    ),
    obeyed("--status", "by the lock on the PID file", OWN),
    moot("--locale", "log lines are the same everywhere"),
    obeyed("--pid-file", "", LIFE),
    obeyed("--pcap-filter", "", UNDERSTOOD),
    obeyed("--run-dir", "", LIFE),
    moot(
        "--rotate-digest-cache",
        "what was seen is forgotten by itself when it is too old to be accepted",
    ),
    obeyed("--test", "dry run", UNDERSTOOD),
    obeyed("--udp-server", "", UNDERSTOOD),
    obeyed("--verbose", "", UNDERSTOOD),
    obeyed("--syslog-enable", "", UNDERSTOOD),
    obeyed("--version", "", UNDERSTOOD),
    refused("--afl-fuzzing", "for builds that are tested with a fuzzer"),
    moot(
        "--dump-serv-err-codes",
        "errors are said in words and have no numbers",
    ),
    obeyed(
        "--exit-parse-config",
        "with mistakes it ends with 1",
        SAMPLE,
    ),
    obeyed(
        "--exit-parse-digest-cache",
        "says how many packets are in it",
        DIGESTS,
    ),
    moot(
        "--fault-injection-tag",
        "only builds for tests of fwknopd have it",
    ),
    obeyed("--pcap-file", "read on as it grows", UNDERSTOOD),
    refused("--pcap-any-direction", "as ENABLE_PCAP_ANY_DIRECTION"),
    obeyed("--fw-list", "what is open, for whom, and until when", LIFE),
    obeyed(
        "--fw-list-all",
        "what nft, else iptables, lists",
        UNDERSTOOD,
    ),
    obeyed("--fw-flush", "refused while it runs", UNDERSTOOD),
    moot("--gpg-home-dir", "as GPG_HOME_DIR of fwknopd.conf"),
    moot("--gpg-exe", "no other program decrypts"),
    moot("--sudo-exe", "as SUDO_EXE of fwknopd.conf"),
    moot(
        "--no-ipt-check-support",
        "rules are not added by a program that would have to be asked first",
    ),
    moot("--no-firewd-check-support", "as --no-ipt-check-support"),
    obeyed("--key-gen", "", UNDERSTOOD),
    obeyed("--key-gen-file", "0600", UNDERSTOOD),
    obeyed(
        "--key-len",
        "32 at most, which is all that a packet can be encrypted with",
        UNDERSTOOD,
    ),
    obeyed("--hmac-key-len", "", UNDERSTOOD),
    obeyed(
        "--hmac-digest-type",
        "SHA3 has a length of its own, where fwknopd ends with an error",
        UNDERSTOOD,
    ),
];

const fn obeyed(name: &'static str, note: &'static str, tests: &'static str) -> Row {
    Row {
        name,
        verdict: "obeyed",
        note,
        tests,
    }
}

const fn moot(name: &'static str, note: &'static str) -> Row {
    Row {
        name,
        verdict: "moot",
        note,
        tests: UNDERSTOOD,
    }
}

const fn refused(name: &'static str, note: &'static str) -> Row {
    Row {
        name,
        verdict: "refused",
        note,
        tests: UNDERSTOOD,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;
    use program::doc_table;

    use super::super::switches::Switches;
    use super::*;

    #[test]
    fn every_switch_has_its_row_and_every_row_its_switch() {
        let command = Switches::command();
        let own = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set());
        let mut own: Vec<_> = own.filter_map(|argument| argument.get_long()).collect();
        let mut rows: Vec<_> = ROWS
            .iter()
            .map(|row| row.name.trim_start_matches('-'))
            .collect();
        own.sort_unstable();
        rows.sort_unstable();

        assert_eq!(own, rows);
    }

    #[test]
    fn the_page_about_compatibility_has_the_table_of_the_switches() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
        let table = doc_table::table(ROWS.iter().cloned());

        assert_eq!(doc_table::compare(&page, "fwknopd", &table), Ok(()));
    }
}
