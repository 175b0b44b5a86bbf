//! What becomes of each keyword of fwknop's access.conf: the table of the page about compatibility.

/// One keyword of fwknop 2.6.
#[derive(Clone, Copy, Debug)]
pub struct FwknopKeyword {
    /// As it stands in the file.
    pub name: &'static str,
    /// What becomes of it.
    pub verdict: KeywordVerdict,
    /// What differs, or why it cannot be; empty where nothing does.
    pub note: &'static str,
    /// The tests that show it, separated by blanks.
    pub tests: &'static str,
}

/// What becomes of a keyword.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeywordVerdict {
    /// It means what it means to fwknopd, but for what its note says.
    Works,
    /// There is nothing here that it could change.
    Moot,
    /// A file with it is a mistake.
    Refused,
}

// === impl KeywordVerdict ===

impl KeywordVerdict {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Moot => "moot",
            Self::Refused => "refused",
        }
    }
}

const BESIDE: &str = "every_keyword_of_access_conf_decides_as_on_fwknopd";
const INCLUDED: &str = "stanzas_of_included_files_and_folders_open_as_on_fwknopd";
const NAT: &str =
    "every_configuration_reaches_what_real_fwknopd_reaches_and_nothing_that_was_not_asked_for";

const fn works(name: &'static str, note: &'static str, tests: &'static str) -> FwknopKeyword {
    FwknopKeyword {
        name,
        verdict: KeywordVerdict::Works,
        note,
        tests,
    }
}

const CYCLE: &str = "a_cycle_runs_what_real_fwknopd_runs_for_the_same_packets \
    weakness_23_a_close_that_is_pending_survives_reload_restart_and_kill_and_runs_once";
const SUDO: &str = "weakness_32_sudo_runs_a_command_as_its_user_and_group_without_cmd_exec_group";
const GPG: &str = "gpg_packets_open_and_refuse_as_on_fwknopd";
const RANGES: &str = "also ranges (`tcp/8000-8010`) and `icmp/echo`";
const NAT_NOTE: &str = "where the host's own configuration has NAT on; with nftables; IPv6 too";

/// Every keyword of fwknop 2.6, in the order of its meaning.
pub const FWKNOP_KEYWORDS: &[FwknopKeyword] = &[
    works(
        "SOURCE",
        "IPv6 too; `/0` is refused, as there; a mask with holes is refused",
        BESIDE,
    ),
    works(
        "DESTINATION",
        "also where packets come through a socket",
        BESIDE,
    ),
    works(
        "OPEN_PORTS",
        RANGES,
        "every_keyword_of_access_conf_decides_as_on_fwknopd several_ports_open_together_or_not_at_all",
    ),
    works("RESTRICT_PORTS", RANGES, BESIDE),
    works(
        "KEY",
        "over 32 bytes is a mistake of the file, and not of each packet",
        BESIDE,
    ),
    works("KEY_BASE64", "", BESIDE),
    works("HMAC_KEY", "over 128 bytes is a mistake", BESIDE),
    works("HMAC_KEY_BASE64", "", BESIDE),
    works(
        "HMAC_DIGEST_TYPE",
        "all seven",
        "every_keyword_of_access_conf_decides_as_on_fwknopd the_cross_product_opens_the_same_on_both_sides",
    ),
    works(
        "ENCRYPTION_MODE",
        "CBC CTR CFB OFB ECB legacy; legacy with an HMAC key is a mistake",
        "every_keyword_of_access_conf_decides_as_on_fwknopd the_cross_product_opens_the_same_on_both_sides",
    ),
    works(
        "FW_ACCESS_TIMEOUT",
        "MAX_FW_TIMEOUT caps it; at most 2,147,483 s",
        "w10_a_timeout_of_the_stanza_is_capped_too",
    ),
    works(
        "MAX_FW_TIMEOUT",
        "",
        "with_a_client_timeout_the_hole_lives_that_long_but_never_longer_than_the_cap",
    ),
    works(
        "REQUIRE_USERNAME",
        "commas separate names; `@group`",
        BESIDE,
    ),
    works(
        "REQUIRE_SOURCE_ADDRESS",
        "`Y` is the default of a stanza without KEY, which fwknop does not have",
        BESIDE,
    ),
    works("REQUIRE_SOURCE", "", BESIDE),
    works(
        "ENABLE_CMD_EXEC",
        "no shell, a time limit; on a joined host only where its own configuration says so",
        "commands_run_where_stanza_and_host_both_say_so",
    ),
    works(
        "CMD_EXEC_USER",
        "with her own supplementary groups and none of root's",
        "weakness_5_a_command_runs_as_its_user_without_roots_groups_and_its_end_is_recorded commands_run_where_stanza_and_host_both_say_so a_user_that_does_not_exist_runs_nothing",
    ),
    works(
        "CMD_EXEC_GROUP",
        "looked up among groups",
        "every_enforced_keyword_of_fwknop_is_read",
    ),
    works("ENABLE_CMD_SUDO_EXEC", "as `sudo -n ... -- COMMAND`", SUDO),
    works("CMD_SUDO_EXEC_USER", "", SUDO),
    works("CMD_SUDO_EXEC_GROUP", "needs no CMD_EXEC_GROUP", SUDO),
    works(
        "CMD_CYCLE_OPEN",
        "after all checks; on a joined host only where its own configuration says so",
        CYCLE,
    ),
    works("CMD_CYCLE_CLOSE", "survives reload and restart", CYCLE),
    works(
        "CMD_CYCLE_TIMER",
        "MAX_FW_TIMEOUT caps it where it has a line of its own",
        CYCLE,
    ),
    works("FORCE_NAT", NAT_NOTE, NAT),
    works("FORCE_SNAT", "needs no other switch", NAT),
    works("FORCE_MASQUERADE", "", NAT),
    works("DISABLE_DNAT", "", NAT),
    works("FORWARD_ALL", "", NAT),
    works(
        "ACCESS_EXPIRE",
        "local midnight, years of two digits; what follows the date is not read, and that is said",
        "every_keyword_of_access_conf_decides_as_on_fwknopd a_date_is_local_for_fwknop_and_the_same_moment_on_every_host_of_a_fleet",
    ),
    works("ACCESS_EXPIRE_EPOCH", "", BESIDE),
    works(
        "GPG_HOME_DIR",
        "read without gpg: `pubring.kbx` or `.gpg`, `private-keys-v1.d` or `secring.gpg`",
        GPG,
    ),
    works(
        "GPG_EXE",
        "has no effect: keys are read without gpg, and that is said",
        GPG,
    ),
    works(
        "GPG_DECRYPT_ID",
        "a user id, key id or fingerprint of one key of the home; without it every key of the home decrypts",
        GPG,
    ),
    works(
        "GPG_DECRYPT_PW",
        "unlocked once when the file is read; a wrong one is a mistake of the file",
        GPG,
    ),
    works("GPG_ALLOW_NO_PW", "", GPG),
    works(
        "GPG_REQUIRE_SIG",
        "as there, `N` does not let unsigned packets in",
        GPG,
    ),
    works(
        "GPG_DISABLE_SIG",
        "without an HMAC key it is warned of: then the public key opens",
        GPG,
    ),
    works(
        "GPG_IGNORE_SIG_VERIFY_ERROR",
        "a key that the stanza names needs no trust in the keyring; a signature that does not verify stays refused",
        GPG,
    ),
    works(
        "GPG_REMOTE_ID",
        "8 or 16 digits, or a fingerprint; must name one key of the home",
        GPG,
    ),
    works(
        "GPG_FINGERPRINT_ID",
        "of the key that signs, or of its primary key",
        GPG,
    ),
    works(
        "%include",
        "beside the file that names it, else from the working directory, which is said",
        "stanzas_of_included_files_and_folders_open_as_on_fwknopd a_relative_include_is_looked_for_in_the_working_directory_too_and_that_is_said",
    ),
    works("%include_folder", "in the order of names", INCLUDED),
    works(
        "%include_keys",
        "other lines in such a file are mistakes",
        BESIDE,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyword::Word;
    use crate::{Dialect, NoIncludes, parse_as};

    #[test]
    fn every_keyword_of_fwknop_is_what_its_row_says() {
        for row in FWKNOP_KEYWORDS {
            let is_refused = row.verdict == KeywordVerdict::Refused;
            let word = Word::of(row.name);
            assert_eq!(
                matches!(word, Word::Enforced(_)),
                !is_refused,
                "{}",
                row.name
            );
            assert!(!row.tests.is_empty(), "{}", row.name);
            if is_refused {
                let text = format!("SOURCE ANY\nKEY k\nHMAC_KEY h\n{} yes\n", row.name);
                let mistakes = parse_as(Dialect::Alone, "a", &text, &NoIncludes)
                    .unwrap_err()
                    .mistakes;
                assert_eq!(mistakes[0].keyword.as_deref(), Some(row.name));
            }
        }
        assert_eq!(FWKNOP_KEYWORDS.len(), 44);
    }
}
