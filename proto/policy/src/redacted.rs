//! Keys that were left out when a text was shown: whoever edits it elsewhere need not have them.
//!
//! A key is put back from the policy in force, into the stanza of the same name, and only where that
//! stanza stands otherwise as it is in force: else a text could give the holders of a key that its author
//! never saw something that its owner never meant.

use std::collections::{BTreeMap, BTreeSet};

use crate::diff::{Change, diff};
use crate::parse::keys::REDACTED;
use crate::parse::parse;
use crate::policy::Policy;
use crate::print::secret;
use crate::source::NoIncludes;

/// The keywords whose values are put back.
const KEYS: [&str; 5] = [
    "KEY",
    "KEY_BASE64",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    MORE_KEYS,
];
/// A key and its HMAC key in one line.
const MORE_KEYS: &str = "MORE_KEYS_BASE64";

/// How many keys were left out of a text.
#[must_use]
pub fn keys_left_out(text: &str) -> usize {
    text.lines().filter(|line| left_out(line).is_some()).count()
}

/// The text with other keys in the place of those that were left out, so that the rest of it can be
/// read. It must never be in force.
#[must_use]
pub fn with_stand_ins(text: &str) -> String {
    let mut number = 0;
    replaced(text, |line, head| {
        number += 1;
        // 32 bytes in base64, whose last letter says four bits of them.
        let in_base64 = format!("standin{number:0>35}A=");
        let value = if line.contains(MORE_KEYS) {
            format!("{in_base64} {in_base64}")
        } else if line.contains("_BASE64") {
            in_base64
        } else {
            format!("stand-in-{number}")
        };
        Some(format!("{head} {value}"))
    })
}

/// The text with the keys that were left out, from the text in force and its policy. `None` where a
/// stanza whose key was left out is not in force under its name (or number), or differs from that in
/// anything.
#[must_use]
pub fn keys_restored(text: &str, (in_force, policy): (&str, &Policy)) -> Option<String> {
    let read = |text: &str| parse("policy", text, &NoIncludes).ok();
    let without = read(&with_stand_ins(text))?;
    let full = filled(text, in_force);
    let with = read(&full)?;
    let differing = diff(policy, &with).stanzas.into_iter();
    let differing = differing.filter(|it| it.change != Change::Removed);
    let differing: BTreeSet<String> = differing.map(|it| it.stanza).collect();
    let mut stanzas = without.stanzas.iter().zip(&with.stanzas);
    let is_meant = stanzas.all(|(without, with)| {
        let is_filled = without.static_keys() != with.static_keys();
        !is_filled || !differing.contains(&with.label())
    });
    is_meant.then_some(full)
}

/// The text with keys from the other one, wherever a name there has as many.
fn filled(text: &str, from: &str) -> String {
    let known: BTreeMap<(&str, usize), &str> = secrets(from)
        .filter_map(|(line, place)| Some((place?, line)))
        .collect();
    let lines = secrets(text).map(|(line, place)| {
        let head = left_out(line).map(str::trim);
        let key = place.filter(|_| head.is_some());
        let key = key.and_then(|place| known.get(&place)).copied();
        let key = key.filter(|key| secret(key).map(|(head, _)| head.trim()) == head);
        key.unwrap_or(line)
    });
    let mut filled = String::with_capacity(text.len());
    for line in lines {
        filled.push_str(line);
        filled.push('\n');
    }
    filled
}

/// Every line; of one with a secret also the name of its stanza, and which of its secrets it is.
fn secrets(text: &str) -> impl Iterator<Item = (&str, Option<(&str, usize)>)> {
    let (mut name, mut count) = ("", 0);
    text.lines().map(move |line| {
        if let Some(("NAME", value)) = line.trim().split_once(char::is_whitespace) {
            (name, count) = (value.trim(), 0);
            return (line, None);
        }
        let is_secret = secret(line).is_some();
        count += usize::from(is_secret);
        (line, is_secret.then_some((name, count)))
    })
}

/// Every line without its key, replaced.
fn replaced(text: &str, mut with: impl FnMut(&str, &str) -> Option<String>) -> String {
    let mut replaced = String::with_capacity(text.len());
    for line in text.lines() {
        let other = left_out(line).and_then(|head| with(line, head));
        replaced.push_str(other.as_deref().unwrap_or(line));
        replaced.push('\n');
    }
    replaced
}

/// What stands before a key that was left out.
fn left_out(line: &str) -> Option<&str> {
    let (head, value) = secret(line)?;
    let is_key = KEYS.contains(&head.trim());
    (is_key && value.trim().starts_with(REDACTED)).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, redact_text};

    const IN_FORCE: &str = "\
%group sre alice, bob

NAME prod
HOSTS env=prod
SOURCE ANY
KEY_BASE64 c2VjcmV0IG9uZSBzZWNyZXQgb25lIHNlY3JldCBvbmU=
HMAC_KEY_BASE64 c2VjcmV0IHR3byBzZWNyZXQgdHdvIHNlY3JldCB0d28=
OPEN_PORTS tcp/22

NAME last
SOURCE 10.0.0.0/8
KEY a-passphrase
HMAC_KEY another-passphrase
OPEN_PORTS tcp/80

NAME stage
HOSTS env=stage
SOURCE ANY
OPEN_PORTS tcp/22
";

    fn restored(text: &str) -> Option<String> {
        let policy = parse("fleet.conf", IN_FORCE, &NoIncludes).unwrap();
        keys_restored(text, (IN_FORCE, &policy))
    }

    #[test]
    fn a_shown_text_has_its_keys_back_also_where_other_stanzas_come_go_and_change() {
        let shown = redact_text(IN_FORCE);
        assert_eq!(keys_left_out(&shown), 4);
        assert_eq!(keys_left_out(IN_FORCE), 0);
        assert_eq!(restored(&shown).as_deref(), Some(IN_FORCE));

        let (_, stage) = shown.split_once("NAME stage").unwrap();
        for edited in [
            shown.replace("env=stage\nSOURCE ANY", "env=stage\nSOURCE 192.0.2.0/24"),
            shown.replace(stage, "\nHOSTS env=test\nSOURCE ANY\nOPEN_PORTS udp/53\n"),
            format!("{shown}\nNAME new\nSOURCE ANY\nOPEN_PORTS tcp/443\n"),
            format!("{shown}\nNAME typed\nSOURCE ANY\nKEY typed-here\nOPEN_PORTS tcp/1\n"),
        ] {
            let with_keys = restored(&edited).unwrap();
            assert_eq!(keys_left_out(&with_keys), 0);
            assert!(with_keys.contains("KEY a-passphrase\nHMAC_KEY another-passphrase\n"));
        }
    }

    #[test]
    fn no_key_is_put_into_a_stanza_that_is_otherwise_than_in_force() {
        let shown = redact_text(IN_FORCE);
        for edited in [
            shown.replace("OPEN_PORTS tcp/80", "OPEN_PORTS tcp/80, tcp/22"),
            shown.replace("SOURCE 10.0.0.0/8", "SOURCE ANY"),
            shown.replace("HOSTS env=prod", "HOSTS env=stage"),
            shown.replace("NAME prod", "NAME other"),
            shown.replace("NAME last\n", ""),
            shown.replace(
                "SOURCE ANY\nKEY_BASE64",
                "SOURCE ANY\nREQUIRE_USERNAME mallory\nKEY_BASE64",
            ),
            // Two stanzas that would share a key.
            shown.replace("NAME stage\n", "NAME stage\nKEY_BASE64 [redacted]\n"),
        ] {
            assert_eq!(restored(&edited), None, "{edited}");
        }
    }

    #[test]
    fn a_text_with_stand_ins_reads_and_holds_none_of_the_keys_in_force() {
        let text = with_stand_ins(&redact_text(IN_FORCE));

        let policy = parse("fleet.conf", &text, &NoIncludes).unwrap();

        assert_eq!(policy.stanzas.len(), 3);
        assert!(!text.contains("c2VjcmV0") && !text.contains("passphrase"));
    }
}
