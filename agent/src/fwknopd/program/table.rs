//! What becomes of each switch of fwknopd: the table of the page about compatibility.

use std::borrow::Cow;

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
    works("--access-file", "", PRINTED),
    works("--access-folder", "in the place of a file", UNDERSTOOD),
    works("--config-file", "", PRINTED),
    works(
        "--override-config",
        "of several the last, and commas stand between those that are all meant",
        PRINTED,
    ),
    works("--foreground", "", LIFE),
    works("--interface", "", UNDERSTOOD),
    works(
        "--packet-limit",
        "some packets more may be judged before the end",
        UNDERSTOOD,
    ),
    works(
        "--digest-file",
        "what an earlier fwknopd has seen is taken from there; nothing is written there",
        DIGESTS,
    ),
    works(
        "--dump-config",
        "values as fwknopd prints them, and the policy without its secrets",
        PRINTED,
    ),
    works(
        "--kill",
        "by the lock and not by the number in the file; returns when the process is gone",
        OWN,
    ),
    works(
        "--restart",
        "reads the policy again, without a moment of deafness and without closing what is open; with mistakes nothing changes and it ends with 1",
        LIFE,
    ),
    works("--status", "by the lock on the PID file", OWN),
    moot("--locale", "log lines are the same everywhere"),
    works("--pid-file", "", LIFE),
    works("--pcap-filter", "", UNDERSTOOD),
    works("--run-dir", "", LIFE),
    moot(
        "--rotate-digest-cache",
        "what was seen is forgotten by itself when it is too old to be accepted",
    ),
    works("--test", "dry run", UNDERSTOOD),
    works("--udp-server", "", UNDERSTOOD),
    works("--verbose", "", UNDERSTOOD),
    works("--syslog-enable", "", UNDERSTOOD),
    works("--version", "", UNDERSTOOD),
    refused("--afl-fuzzing", "for builds that are tested with a fuzzer"),
    moot(
        "--dump-serv-err-codes",
        "errors are said in words and have no numbers",
    ),
    works(
        "--exit-parse-config",
        "with mistakes it ends with 1",
        SAMPLE,
    ),
    works(
        "--exit-parse-digest-cache",
        "says how many packets are in it",
        DIGESTS,
    ),
    moot(
        "--fault-injection-tag",
        "only builds for tests of fwknopd have it",
    ),
    works("--pcap-file", "read on as it grows", UNDERSTOOD),
    works(
        "--pcap-any-direction",
        "what the host sends or forwards is judged too",
        "what_the_host_sends_is_judged_on_request_and_any_program_may_ask",
    ),
    works("--fw-list", "what is open, for whom, and until when", LIFE),
    works(
        "--fw-list-all",
        "what nft, else iptables, lists",
        UNDERSTOOD,
    ),
    works("--fw-flush", "refused while it runs", UNDERSTOOD),
    works(
        "--gpg-home-dir",
        "as GPG_HOME_DIR of fwknopd.conf",
        UNDERSTOOD,
    ),
    moot("--gpg-exe", "keys are read and used without gpg"),
    works("--sudo-exe", "as SUDO_EXE of fwknopd.conf", UNDERSTOOD),
    moot(
        "--no-ipt-check-support",
        "rules are not added by a program that would have to be asked first",
    ),
    moot("--no-firewd-check-support", "as --no-ipt-check-support"),
    works("--key-gen", "", UNDERSTOOD),
    works("--key-gen-file", "0600", UNDERSTOOD),
    works(
        "--key-len",
        "32 at most, which is all that a packet can be encrypted with",
        UNDERSTOOD,
    ),
    works("--hmac-key-len", "", UNDERSTOOD),
    works(
        "--hmac-digest-type",
        "SHA3 has a length of its own, where fwknopd ends with an error",
        UNDERSTOOD,
    ),
];

const fn works(name: &'static str, note: &'static str, tests: &'static str) -> Row {
    row(name, "works", note, tests)
}

const fn moot(name: &'static str, note: &'static str) -> Row {
    row(name, "moot", note, UNDERSTOOD)
}

const fn refused(name: &'static str, note: &'static str) -> Row {
    row(name, "refused", note, UNDERSTOOD)
}

const fn row(
    name: &'static str,
    verdict: &'static str,
    note: &'static str,
    tests: &'static str,
) -> Row {
    Row {
        name: Cow::Borrowed(name),
        verdict,
        note,
        tests,
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
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fwknop-compatibility.md");
        let table = doc_table::table(ROWS.iter().cloned());

        assert_eq!(doc_table::compare(&page, "fwknopd", &table), Ok(()));
    }
}
