//! fwknop's options that this client does not offer, each with what to use instead.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::CommandError;

/// Long name, letter, and what to use instead.
const NOT_OFFERED: &[(&str, Option<char>, &str)] = &[
    ("--last-cmd", Some('l'), AS_FWKNOP),
    ("--show-last", None, AS_FWKNOP),
    ("--save-args-file", Some('E'), AS_FWKNOP),
    ("--key-gen", Some('k'), KEYGEN),
    ("--key-gen-file", Some('K'), KEYGEN),
    ("--key-len", None, KEYGEN),
    ("--hmac-key-len", None, KEYGEN),
    ("--resolve-ip-http", None, RESOLVE),
    ("--save-rc-stanza", None, AS_FWKNOP),
    ("--force-stanza", None, AS_FWKNOP),
    ("--stanza-list", None, AS_FWKNOP),
    ("--no-home-dir", None, AS_FWKNOP),
];
const AS_FWKNOP: &str = "`postern fwknop` has it";
const KEYGEN: &str =
    "`postern fwknop` has it; `postern keygen NAME --server ADDRESS` makes keys for both sides";
const RESOLVE: &str = "-R asks over HTTPS; --resolve-http-only does without it";

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

/// Options whose value is a key.
const WITH_A_KEY: &[&str] = &[
    "--key-rijndael",
    "--key-base64-rijndael",
    "--key-hmac",
    "--key-base64-hmac",
];

/// What an error of the command line means to whoever knows fwknop; `None` for everything else.
pub(crate) fn explain(error: &clap::Error, words: &[OsString]) -> Option<CommandError> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // What stands behind the name is a key, perhaps.
    if let Some(option) = WITH_A_KEY.iter().find(|name| unknown.starts_with(**name)) {
        let told = format!("{option} has no blank or `=` behind it");
        return Some(CommandError::usage(told));
    }
    let is_typed = |command: &str| words.iter().any(|word| *word == *command);
    if is_typed("run") && !is_typed("--") && !unknown.starts_with('-') {
        let told = format!("`{unknown}` is not understood: before the command stands `--`");
        return Some(
            CommandError::usage(told).with_hint("as in `postern run web-1 -- ./deploy.sh`"),
        );
    }
    if !is_typed("knock") && !is_typed("close") {
        let is_alone = words.first().and_then(|word| word.to_str());
        let is_alone = is_alone.is_some_and(|word| word.starts_with('-'));
        return (is_alone && OF_KNOCK.contains(&unknown.as_str())).then(|| {
            CommandError::usage(format!("{unknown} is an option of a command")).with_hint(
                "`postern knock` takes fwknop's options, and `postern fwknop` is its client",
            )
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
    fn a_key_without_a_blank_in_front_is_not_repeated() {
        let words = ["knock", "192.0.2.1", "--key-rijndaelhunter2"].map(OsString::from);
        let all = [OsString::from("postern")].into_iter().chain(words.clone());
        let error = Cli::command().try_get_matches_from(all).unwrap_err();

        let told = explain(&error, &words).unwrap().to_string();

        assert_eq!(told, "--key-rijndael has no blank or `=` behind it");
    }

    #[test]
    fn whoever_leaves_out_the_command_is_told_which_it_is() {
        let told = explained("-A tcp/22 -D 192.0.2.1").unwrap();

        assert!(told.contains("postern knock"), "{told}");
        assert_eq!(explained("knock 192.0.2.1 --nonsense"), None);
        assert_eq!(explained("--nonsense"), None);
    }
}
