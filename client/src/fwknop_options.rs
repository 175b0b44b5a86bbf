//! fwknop's options that this client does not offer, each with what to use instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CommandError;

/// Long name, letter, and what to use instead.
const NOT_OFFERED: &[(&str, Option<char>, &str)] = &[
    (
        "--save-packet",
        Some('B'),
        "--dry-run prints the packet: `postern knock .. -T > FILE`",
    ),
    (
        "--save-packet-append",
        Some('b'),
        "--dry-run prints the packet: `postern knock .. -T >> FILE`",
    ),
    (
        "--spoof-source",
        Some('Q'),
        "a forged source address is not offered; -a names the address to open for",
    ),
    (
        "--user-agent",
        Some('u'),
        "HTTP_USER_AGENT in a stanza of the rc file names it",
    ),
    (
        "--use-wget-user-agent",
        None,
        "HTTP_USER_AGENT in a stanza of the rc file names it",
    ),
    ("--wget-cmd", Some('w'), "-R asks by itself, without wget"),
    (
        "--http-proxy",
        Some('H'),
        "-P http sends to the host itself; -D and -p may name a proxy that passes it on",
    ),
    (
        "--last-cmd",
        Some('l'),
        "arguments are never saved; a stanza of the rc file (-n) keeps them",
    ),
    (
        "--show-last",
        None,
        "arguments are never saved; a stanza of the rc file (-n) keeps them",
    ),
    (
        "--save-args-file",
        Some('E'),
        "arguments are never saved; a stanza of the rc file (-n) keeps them",
    ),
    (
        "--fd",
        None,
        "--stdin reads the key from standard input, --key-file from a file",
    ),
    (
        "--key-gen",
        Some('k'),
        "`postern keygen NAME --server ADDRESS` makes a pair of keys",
    ),
    (
        "--key-gen-file",
        Some('K'),
        "`postern keygen NAME --server ADDRESS` writes a pair of keys to files",
    ),
    (
        "--key-len",
        None,
        "`postern keygen` makes keys of the best length",
    ),
    (
        "--hmac-key-len",
        None,
        "`postern keygen` makes keys of the best length",
    ),
    ("--icmp-type", None, "packets go over -P udp, tcp or http"),
    ("--icmp-code", None, "packets go over -P udp, tcp or http"),
    (
        "--gpg-encryption",
        Some('g'),
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--gpg-recipient-key",
        None,
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--gpg-signer-key",
        None,
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--gpg-no-signing-pw",
        None,
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--gpg-home-dir",
        None,
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--gpg-agent",
        None,
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--gpg-exe",
        None,
        "GPG is not offered; use an encryption key and an HMAC key",
    ),
    (
        "--save-rc-stanza",
        None,
        "`postern keygen` and `postern profile export` write stanzas",
    ),
    (
        "--force-stanza",
        None,
        "`postern keygen` and `postern profile export` write stanzas",
    ),
    (
        "--stanza-list",
        None,
        "`postern knock -n x` names the stanzas that there are",
    ),
    (
        "--no-home-dir",
        None,
        "--rc-file FILE or --no-rc-file says what to read",
    ),
];
/// Options of fwknop's that say that somebody left out `knock`.
const OF_KNOCK: &[&str] = &[
    "-A",
    "--access",
    "-a",
    "--allow-ip",
    "-D",
    "--destination",
    "-n",
    "--named-config",
    "-s",
    "--source-ip",
    "-R",
    "--resolve-ip-https",
    "-N",
    "--nat-access",
    "-C",
    "--server-cmd",
];

/// What an error of the command line means to whoever knows fwknop; `None` for everything else.
pub(crate) fn explain(error: &clap::Error, words: &[OsString]) -> Option<CommandError> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_typed = |command: &str| words.iter().any(|word| *word == *command);
    if !is_typed("knock") && !is_typed("close") {
        let is_alone = words.first().and_then(|word| word.to_str());
        let is_alone = is_alone.is_some_and(|word| word.starts_with('-'));
        return (is_alone && OF_KNOCK.contains(&unknown.as_str())).then(|| {
            CommandError::usage(format!("{unknown} is an option of a command"))
                .with_hint("`postern knock` takes fwknop's options")
        });
    }
    let letter = unknown.strip_prefix('-').and_then(|rest| {
        let mut letters = rest.chars();
        letters
            .next()
            .filter(|letter| *letter != '-' && letters.next().is_none())
    });
    let (long, _, instead) = NOT_OFFERED
        .iter()
        .find(|(long, short, _)| long == unknown || (letter.is_some() && *short == letter))?;
    Some(
        CommandError::usage(format!(
            "fwknop's option {long} is not offered by this client"
        ))
        .with_hint(*instead),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use program::Failure as _;

    use super::*;
    use crate::cli::Cli;

    fn explained(words: &str) -> Option<String> {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        let all = [OsString::from("postern")].into_iter().chain(words.clone());
        let error = Cli::command().try_get_matches_from(all).unwrap_err();
        let explained = explain(&error, &words)?;
        Some(format!("{explained}; {}", explained.hint()?))
    }

    #[test]
    fn every_option_of_fwknop_that_is_not_offered_says_what_to_use_instead() {
        for (long, short, instead) in NOT_OFFERED {
            let letter = short.map(|letter| format!("-{letter}"));
            for option in [Some((*long).to_owned()), letter].into_iter().flatten() {
                let told = explained(&format!("knock 192.0.2.1 {option}")).unwrap();

                assert!(told.contains(long), "{option}: {told}");
                assert!(told.contains(instead), "{option}: {told}");
            }
        }
    }

    #[test]
    fn whoever_leaves_out_the_command_is_told_which_it_is() {
        let told = explained("-A tcp/22 -D 192.0.2.1").unwrap();

        assert!(told.contains("postern knock"), "{told}");
        assert_eq!(explained("knock 192.0.2.1 --nonsense"), None);
        assert_eq!(explained("--nonsense"), None);
    }
}
