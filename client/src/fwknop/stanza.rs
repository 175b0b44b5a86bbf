//! Writing a stanza into an rc file: the rest of it stays as it is, comments included.

use std::fmt::Write as _;

use super::overlay::in_place_of;
use crate::rc::table::KEY_SOURCE;

/// What `~/.fwknoprc` begins with.
pub(super) const NEW_FILE: &str = "\
# Stanzas for `fwknop` and `postern knock -n STANZA`.
#
# A line is VARIABLE VALUE. The value ends at a blank, a semicolon or a hash, so write keys in base64.
# What [default] says holds for every stanza that does not say it itself:
#
#   [default]
#   ALLOW_IP        resolve
#
#   [office]
#   SPA_SERVER      192.0.2.1
#   ACCESS          tcp/22
#   KEY_BASE64      ...
#   HMAC_KEY_BASE64 ...
#
# `fwknop --key-gen --save-rc-stanza -n office -D 192.0.2.1 -A tcp/22 -R` writes such a stanza.

[default]
";

/// Variables whose loss would lock somebody out.
const KEYS: [&str; 7] = [
    KEY_SOURCE,
    "KEY",
    "KEY_BASE64",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    "GPG_SIGNING_PW",
    "GPG_SIGNING_PW_BASE64",
];

/// The keys of the stanza that these variables would replace, by name.
pub(super) fn replaced_keys<'k>(
    text: &str,
    stanza: &str,
    variables: &[(&str, &str)],
) -> Vec<&'k str> {
    let lines: Vec<&str> = text.lines().collect();
    let Some((start, end)) = span(&lines, stanza) else {
        return Vec::new();
    };
    let held = |key: &&str| {
        let mut own = lines.iter().skip(start).take(end - start);
        own.any(|line| variable_of(line).as_deref() == Some(*key))
    };
    let goes = |key: &&str| {
        variables
            .iter()
            .any(|(name, _)| name == key || in_place_of(name).contains(key))
    };
    KEYS.into_iter().filter(held).filter(goes).collect()
}

/// What becomes of the keys that a stanza has already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OldKeys {
    /// They stay, but for those in whose place others stand.
    Stay,
    Go,
}

/// The text with the stanza written anew, at its place or at the end: these are its variables, and of what
/// it had only comments stay, and perhaps keys.
pub(super) fn with(
    text: &str,
    stanza: &str,
    variables: &[(&str, &str)],
    old_keys: OldKeys,
) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some((start, end)) = span(&lines, stanza) else {
        return added(text, stanza, variables);
    };
    let mut made = String::with_capacity(text.len() + 256);
    let (before, rest) = lines.split_at(start);
    let (own, behind) = rest.split_at(end - start);
    // What follows the last line with something on it belongs to the next stanza.
    let own_len = own.iter().rposition(|line| !line.trim().is_empty());
    let (own, gap) = own.split_at(own_len.map_or(0, |last| last + 1));
    before.iter().for_each(|line| push(&mut made, line));
    for line in own {
        let is_kept = match variable_of(line) {
            None => true,
            Some(held) => {
                let is_key = KEYS.contains(&held.as_str());
                is_key && old_keys == OldKeys::Stay && !goes(variables, &held)
            }
        };
        if is_kept {
            push(&mut made, line);
        }
    }
    for (name, value) in variables {
        push(&mut made, &assignment(name, value));
    }
    gap.iter()
        .chain(behind)
        .for_each(|line| push(&mut made, line));
    made
}

/// Whether a line that holds this variable is not wanted any more.
fn goes(variables: &[(&str, &str)], held: &str) -> bool {
    let is_said_again = variables.iter().any(|(name, _)| *name == held);
    let in_place = |(name, _): &(&str, &str)| in_place_of(name).contains(&held);
    is_said_again || variables.iter().any(in_place)
}

fn added(text: &str, stanza: &str, variables: &[(&str, &str)]) -> String {
    let mut made = text.to_owned();
    if !made.is_empty() && !made.ends_with('\n') {
        made.push('\n');
    }
    if !made.is_empty() && !made.ends_with("\n\n") {
        made.push('\n');
    }
    push(&mut made, &format!("[{stanza}]"));
    for (name, value) in variables {
        push(&mut made, &assignment(name, value));
    }
    made
}

/// The lines of the stanza behind its heading: the first, and the one behind the last.
fn span(lines: &[&str], stanza: &str) -> Option<(usize, usize)> {
    let heading = |line: &str| {
        let name = line.trim().strip_prefix('[')?.split(']').next()?;
        Some(name.trim().to_owned())
    };
    let is_it = |line: &&str| heading(line).is_some_and(|name| name.eq_ignore_ascii_case(stanza));
    let start = lines.iter().position(is_it)? + 1;
    let next = lines
        .iter()
        .skip(start)
        .position(|line| heading(line).is_some());
    Some((start, next.map_or(lines.len(), |next| start + next)))
}

/// The variable that a line sets.
fn variable_of(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with(['#', ';', '[']) {
        return None;
    }
    let name = line.split(|c: char| c.is_whitespace() || c == ':').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn assignment(name: &str, value: &str) -> String {
    format!("{name:<27} {value}")
}

fn push(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# mine\n[default]\n\n[web]\n# the key\nKEY old\nACCESS tcp/1\n\n[db]\nKEY other\n";

    #[test]
    fn a_new_stanza_stands_at_the_end() {
        let made = with(
            "[default]\n",
            "web",
            &[("ACCESS", "tcp/22"), ("KEY", "k")],
            OldKeys::Stay,
        );

        assert_eq!(
            made,
            "[default]\n\n[web]\nACCESS                      tcp/22\nKEY                         k\n"
        );
    }

    #[test]
    fn a_stanza_is_written_anew_and_its_comments_and_other_keys_stay() {
        let replaced = with(
            TEXT,
            "WEB",
            &[("SPA_SERVER", "192.0.2.1"), ("KEY_BASE64", "bmV3")],
            OldKeys::Stay,
        );
        let kept = with(TEXT, "web", &[("SPA_SERVER", "192.0.2.1")], OldKeys::Stay);
        let gone = with(TEXT, "web", &[("SPA_SERVER", "192.0.2.1")], OldKeys::Go);

        let around =
            |own: &str| format!("# mine\n[default]\n\n[web]\n# the key\n{own}\n[db]\nKEY other\n");
        let server = "SPA_SERVER                  192.0.2.1\n";
        assert_eq!(
            replaced,
            around(&format!("{server}KEY_BASE64                  bmV3\n"))
        );
        assert_eq!(kept, around(&format!("KEY old\n{server}")));
        assert_eq!(gone, around(server));
    }

    #[test]
    fn keys_of_a_stanza_are_replaced_with_the_word_only() {
        let replaced = |stanza, variables| replaced_keys(TEXT, stanza, variables);

        assert_eq!(replaced("web", &[("KEY", "k")]), ["KEY"]);
        assert_eq!(replaced("web", &[("KEY_BASE64", "k")]), ["KEY"]);
        assert!(replaced("web", &[("ACCESS", "tcp/2")]).is_empty());
        assert!(replaced("new", &[("KEY", "k")]).is_empty());
    }

    #[test]
    fn the_file_that_is_made_can_be_read() {
        let file = crate::rc::RcFile::parse("rc", NEW_FILE).unwrap();

        assert_eq!(file.names().count(), 0);
        assert!(file.stanza(None).is_some());
    }
}
