//! The options and rc variables of fwknop's client, and what becomes of each here: one table, which the
//! command line of `fwknop`, its help, the reader of rc files and the page about compatibility read.
//!
//! The order is that in which variables are saved. A row has an option, a variable, or both.

/// An option, a variable, or both of one meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The long name without its dashes; empty for a variable alone.
    pub(crate) long: &'static str,
    /// The letter.
    pub(crate) letter: Option<char>,
    /// What stands for the value in the help; empty for an option that takes none.
    pub(crate) value: &'static str,
    /// The rc variable that says the same; empty for an option alone.
    pub(crate) variable: &'static str,
    /// What becomes of it.
    pub(crate) verdict: Verdict,
    /// What it does.
    pub(crate) help: &'static str,
    /// The test that shows it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test makes the page from it"))]
    pub(crate) test: &'static str,
}

/// What becomes of an option or variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It means what it means there.
    Same,
    /// It means the same, but for this.
    Differs(&'static str),
    /// It is refused, for this reason.
    Refused(&'static str),
}

use Verdict::{Differs, Refused, Same};

const GPG_TEST: &str = "packets_of_our_client_open_a_real_fwknopd";
const GPG_AGENT_TEST: &str =
    "keys_of_curves_open_between_ours_and_keys_that_gpg_agent_holds_sign_by_gpg";

/// A row; the arguments stand as in [`Row`].
const fn row(
    (long, letter, value): (&'static str, Option<char>, &'static str),
    variable: &'static str,
    verdict: Verdict,
    help: &'static str,
    test: &'static str,
) -> Row {
    Row {
        long,
        letter,
        value,
        variable,
        verdict,
        help,
        test,
    }
}

/// Without an option.
const NO_OPTION: (&str, Option<char>, &str) = ("", None, "");

const SEEN: &str = "every_option_makes_the_packet_that_fwknop_makes";
const SAVED: &str = "a_saved_stanza_is_the_one_that_fwknop_saves";
const RAW: &str =
    "raw_packets_are_those_of_the_reference_but_for_random_fields_and_empty_checksums";
const ASKS: &str = "the_outside_address_is_asked_for_as_the_options_say";
const LAST: &str = "the_last_arguments_are_kept_without_secrets";
const MADE: &str = "keys_are_made_and_kept_as_fwknop_does";
const FILES: &str = "the_rc_file_is_made_found_and_left_out_as_the_options_say";
const SECRETS: &str = "keys_come_from_files_descriptors_and_options";

/// All of them.
#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    row(("digest-type", Some('m'), "TYPE"), "DIGEST_TYPE", Same, "Digest inside the packet [default: sha256]", SEEN),
    row(("server-proto", Some('P'), "PROTO"), "SPA_SERVER_PROTO", Same, "udp, tcp, http, udpraw, tcpraw or icmp [default: udp]", RAW),
    row(("server-port", Some('p'), "PORT"), "SPA_SERVER_PORT", Same, "Port to send to [default: 62201]", SEEN),
    row(("source-port", Some('S'), "PORT"), "SPA_SOURCE_PORT", Differs("also obeyed over udp, tcp and http, where the reference passes over it"), "Port to send from", "the_source_port_is_obeyed_over_udp_tcp_and_http"),
    row(("fw-timeout", Some('f'), "SECONDS"), "FW_TIMEOUT", Differs("at most 65536, which is all that a server reads"), "Seconds to stay open", SEEN),
    row(("allow-ip", Some('a'), "IP"), "ALLOW_IP", Differs("IPv6 too; octets with leading zeros, which a server reads as octal, are refused"), "Address to open for", SEEN),
    row(("source-ip", Some('s'), ""), "ALLOW_IP", Differs("is saved in a stanza as `source`; the reference forgets it"), "Open for wherever the packet comes from", SEEN),
    row(("time-offset-plus", None, "TIME"), "TIME_OFFSET", Same, "Date the packet later, by seconds or with m, h, d", SEEN),
    row(("time-offset-minus", None, "TIME"), "TIME_OFFSET", Same, "Date the packet earlier", SEEN),
    row(("encryption-mode", Some('M'), "MODE"), "ENCRYPTION_MODE", Same, "CBC, CTR, CFB, OFB, ECB or legacy [default: CBC]", SEEN),
    row(("gpg-encryption", Some('g'), ""), "USE_GPG", Differs("keys of elliptic curves work, too; a length that a server guesses wrongly cannot occur"), "Encrypt and sign with GPG", GPG_TEST),
    row(("gpg-agent", None, ""), "USE_GPG_AGENT", Same, "Let gpg-agent hold the password", GPG_AGENT_TEST),
    row(("gpg-recipient-key", None, "KEY"), "GPG_RECIPIENT", Differs("must name one key of the home"), "Key of the server", GPG_TEST),
    row(("gpg-signer-key", None, "KEY"), "GPG_SIGNER", Differs("without it the first key that can sign does"), "Key to sign with", GPG_TEST),
    row(("gpg-home-dir", None, "DIR"), "GPG_HOMEDIR", Same, "Home of GnuPG", GPG_TEST),
    row(("gpg-exe", None, "FILE"), "GPG_EXE", Differs("run for keys of gpg-agent only"), "The gpg program", GPG_AGENT_TEST),
    row(NO_OPTION, "GPG_SIGNING_PW", Same, "", GPG_TEST),
    row(NO_OPTION, "GPG_SIGNING_PW_BASE64", Same, "", GPG_TEST),
    row(("gpg-no-signing-pw", None, ""), "GPG_NO_SIGNING_PW", Same, "The key to sign with has no password", GPG_TEST),
    row(("spoof-user", Some('U'), "USER"), "SPOOF_USER", Differs("cut to 29 characters as there; `postern knock` keeps 48, which is what a server reads"), "User name in the packet", SEEN),
    row(("spoof-source", Some('Q'), "IP"), "SPOOF_SOURCE_IP", Same, "Source address to write into a packet of udpraw, tcpraw or icmp", RAW),
    row(("access", Some('A'), "PORTS"), "ACCESS", Differs("leading zeros of a port are refused"), "Ports to open, as tcp/22,udp/53", SEEN),
    row(("destination", Some('D'), "HOST"), "SPA_SERVER", Differs("IPv6 too; every address of a name is knocked at"), "Address or name to send to", SEEN),
    row(("rand-port", Some('r'), ""), "RAND_PORT", Same, "Send to a random port", SEEN),
    row(("use-wget-user-agent", None, ""), "USE_WGET_USER_AGENT", Same, "Do not say that it is fwknop who asks for -R", ASKS),
    row(("key-rijndael", None, "KEY"), "KEY", Differs("with a warning: others see the command line"), "Encryption passphrase", SECRETS),
    row(("key-base64-rijndael", None, "KEY"), "KEY_BASE64", Differs("with a warning: others see the command line; comes before a KEY of the stanza, where the reference takes another"), "Encryption key in base64", SECRETS),
    row(("get-key", Some('G'), "FILE"), "KEY_FILE", Differs("comes before a KEY of the stanza, where the reference takes another"), "File with lines `HOST: encryption key`", SECRETS),
    row(("hmac-digest-type", None, "TYPE"), "HMAC_DIGEST_TYPE", Same, "Digest of the HMAC [default: sha256]", SEEN),
    row(("key-hmac", None, "KEY"), "HMAC_KEY", Differs("with a warning: others see the command line"), "HMAC passphrase", SECRETS),
    row(("key-base64-hmac", None, "KEY"), "HMAC_KEY_BASE64", Differs("with a warning: others see the command line"), "HMAC key in base64", SECRETS),
    row(("get-hmac-key", None, "FILE"), "HMAC_KEY_FILE", Differs("the variable names the HMAC key's file; the reference takes the encryption key from it"), "File with lines `HOST: HMAC key`", SECRETS),
    row(("use-hmac", None, ""), "USE_HMAC", Same, "Ask for an HMAC key when none is found elsewhere", SECRETS),
    row(("nat-access", Some('N'), "HOST:PORT"), "NAT_ACCESS", Same, "Internal service to forward to", SEEN),
    row(("user-agent", Some('u'), "NAME"), "HTTP_USER_AGENT", Same, "User agent of -P http and of -R", ASKS),
    row(("resolve-url", None, "URL"), "RESOLVE_URL", Differs("ports of five digits work"), "Web page that -R asks", ASKS),
    row(("nat-local", None, ""), "NAT_LOCAL", Same, "Redirect a port of the server itself", SEEN),
    row(("nat-rand-port", None, ""), "NAT_RAND_PORT", Differs("without -N and --nat-local it changes nothing"), "Open a random port, which NAT leads on", SEEN),
    row(("nat-port", None, "PORT"), "NAT_PORT", Same, "Open this port, which NAT leads on", SEEN),
    row(("verbose", Some('v'), ""), "VERBOSE", Differs("the fields are shown by our names: for people, not for programs"), "Say what is in the packet; may be given several times", SEEN),
    row(NO_OPTION, "RESOLVE_IP_HTTP", Same, "", ASKS),
    row(("resolve-ip-https", Some('R'), ""), "RESOLVE_IP_HTTPS", Differs("asked by itself, without wget"), "Open for the address that a web page says we have", ASKS),
    row(("resolve-http-only", None, ""), "RESOLVE_HTTP_ONLY", Differs("asks for -R by itself, and is saved so"), "Let -R ask over plain HTTP", ASKS),
    row(("wget-cmd", Some('w'), "FILE"), "WGET_CMD", Same, "Program that asks for -R, called as wget is", ASKS),
    row(("no-save-args", None, ""), "NO_SAVE_ARGS", Same, "Do not keep the arguments for -l", LAST),
    row(("server-resolve-ipv4", None, ""), "SERVER_RESOLVE_IPV4", Same, "Send over IPv4 only", SEEN),
    row(("server-cmd", Some('C'), "COMMAND"), "", Same, "Command to run on the server", SEEN),
    row(("http-proxy", Some('H'), "PROXY"), "", Differs("the Host header names the server, and not the proxy; a name and password for it are refused"), "Web proxy to send through, as HOST:PORT", "through_a_proxy_the_request_names_the_server"),
    row(("icmp-type", None, "NUMBER"), "", Differs("over IPv6 the default is its echo reply"), "ICMP type of -P icmp", RAW),
    row(("icmp-code", None, "NUMBER"), "", Same, "ICMP code of -P icmp", RAW),
    row(("stdin", None, ""), "", Differs("the second line is the HMAC key, where one is asked for"), "Read the key from standard input", SECRETS),
    row(("fd", None, "NUMBER"), "", Differs("the second line is the HMAC key, where one is asked for"), "Read the key from this descriptor", SECRETS),
    row(("key-gen", Some('k'), ""), "", Differs("an encryption key that no server takes, of more than 32 bytes, is not made"), "Make an encryption key and an HMAC key", MADE),
    row(("key-gen-file", Some('K'), "FILE"), "", Differs("nobody but its owner may read the file"), "Write the keys that are made to this file", MADE),
    row(("key-len", None, "BYTES"), "", Differs("1 to 32"), "Length of the encryption key that is made", MADE),
    row(("hmac-key-len", None, "BYTES"), "", Differs("64 with sha3 types, where the reference fails"), "Length of the HMAC key that is made, 1 to 128", MADE),
    row(("named-config", Some('n'), "STANZA"), "", Same, "Stanza of the rc file to start from", FILES),
    row(("rc-file", None, "FILE"), "", Differs("a file that cannot be made ends it"), "The rc file [default: ~/.fwknoprc]", FILES),
    row(("no-rc-file", None, ""), "", Same, "Read no rc file", FILES),
    row(("no-home-dir", None, ""), "", Differs("with --no-save-args -E is not needed"), "Do not look at the home directory; --rc-file and -E say what to use", FILES),
    row(("save-rc-stanza", None, ""), "", Differs("comments of the file stay, and keys that no option replaces"), "Write the options as the stanza of -n, or else of -D", SAVED),
    row(("force-stanza", None, ""), "", Differs("without a terminal keys are replaced with it only, where the reference waits for ever"), "Let --save-rc-stanza drop the keys of the stanza without asking", "keys_of_a_stanza_are_replaced_with_the_word_only"),
    row(("stanza-list", None, ""), "", Same, "List the stanzas of the rc file", FILES),
    row(("save-args-file", Some('E'), "FILE"), "", Same, "Keep the arguments here [default: ~/.fwknop.run]", LAST),
    row(("last-cmd", Some('l'), ""), "", Differs("keys are not kept, and are asked for again"), "Do it again with the arguments of the last time", LAST),
    row(("show-last", None, ""), "", Differs("keys that the reference kept are not shown"), "Show the arguments of the last time", LAST),
    row(("save-packet", Some('B'), "FILE"), "", Differs("nobody but its owner may read the file, as the packet still opens; a file that cannot be written ends it"), "Write the packet to this file, too", "a_packet_is_kept_in_the_file_that_was_named"),
    row(("save-packet-append", Some('b'), ""), "", Same, "Add the packet to the end of the file of -B", "a_packet_is_kept_in_the_file_that_was_named"),
    row(("test", Some('T'), ""), "", Differs("what a server reads as something else is refused also without it; the fields are shown by our names"), "Make the packet, and show it instead of sending it", "a_packet_that_fwknop_cannot_read_is_said_to_be_one_and_ends_its_test_with_1"),
    row(("version", Some('V'), ""), "", Same, "Print the version", "the_version_and_the_help_end_with_0"),
    row(("help", Some('h'), ""), "", Same, "Print this help", "the_version_and_the_help_end_with_0"),
    row(("fault-injection-tag", None, "TAG"), "", Refused("of test builds of the reference, whose own releases refuse it too"), "", "what_is_no_option_ends_with_1"),
];

/// Variables that fwknop's own client does not know, and ends at.
const OWN: &[Row] = &[row(
    NO_OPTION,
    KEY_SOURCE,
    Same,
    "",
    "keys_of_a_stanza_are_in_the_keyring_and_nowhere_else_on_this_machine",
)];

/// Says that the keys of a stanza are in the keyring.
pub(crate) const KEY_SOURCE: &str = "KEY_SOURCE";

/// The rows of variables, each variable once.
pub(crate) fn variables() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(OWN).filter(|row| {
        !row.variable.is_empty() && row.long != "source-ip" && row.long != "time-offset-minus"
    })
}

/// The row of a variable.
pub(crate) fn variable(name: &str) -> Option<&'static Row> {
    variables().find(|row| row.variable == name)
}

// === impl Row ===

impl Row {
    /// Whether its value is a secret, which is kept nowhere.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(
            self.long,
            "key-rijndael" | "key-base64-rijndael" | "key-hmac" | "key-base64-hmac"
        )
    }
}

// === impl Verdict ===

impl Verdict {
    /// Why a variable is refused.
    pub(crate) fn refuses(self) -> Option<&'static str> {
        match self {
            Refused(why) => Some(why),
            Same | Differs(_) => None,
        }
    }
}

/// Yes is the letter alone, and every other word is no, as fwknop reads them.
pub(crate) fn is_yes(text: &str) -> bool {
    text.eq_ignore_ascii_case("y")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use program::doc_table;

    use super::*;

    #[test]
    fn the_page_says_of_every_option_and_variable_of_the_client_what_becomes_of_it() {
        let rows = ROWS.iter().map(|row| {
            let (verdict, note) = match row.verdict {
                Same => ("works", ""),
                Differs(how) => ("works", how),
                Refused(why) => ("refused", why),
            };
            let letter = row.letter.map(|letter| format!("-{letter}"));
            let long = Some(row.long).filter(|long| !long.is_empty());
            let long = long.map(|long| format!("--{long}"));
            let variable = Some(row.variable.to_owned()).filter(|name| !name.is_empty());
            let names: Vec<_> = letter.into_iter().chain(long).chain(variable).collect();
            doc_table::Row {
                name: names.join(" ").into(),
                verdict,
                note,
                tests: row.test,
            }
        });
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fwknop-compatibility.md");

        let table = doc_table::table(rows.collect::<Vec<_>>());

        assert_eq!(doc_table::compare(&page, "fwknop", &table), Ok(()));
    }

    #[test]
    fn every_row_that_works_names_its_test() {
        for row in ROWS {
            let works = matches!(row.verdict, Same | Differs(_));
            assert!(
                !works || !row.test.is_empty(),
                "{} {}",
                row.long,
                row.variable
            );
        }
    }
}
