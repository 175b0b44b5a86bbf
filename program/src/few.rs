//! Lists that people read: the first of them, and how many more there are. Programs read all, with `--json`.

use std::collections::HashMap;

/// So many of a kind are said.
pub const FEW: usize = 20;
/// So many of a list that is one word (`tcp/1,tcp/2`) are said.
const IN_WORD: usize = 8;
/// Of a line that others are said to be like, at most, in characters.
const LIKE_MAX: usize = 100;

/// The first [`FEW`] lines of each kind, in their order, and then how many more there are of which. Lines are of
/// a kind when they differ in names and numbers only.
pub fn lines<L: AsRef<str>>(all: impl IntoIterator<Item = L>) -> Vec<String> {
    let mut said = Vec::new();
    let mut kinds: Vec<(String, usize)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut of_other_kinds = 0_usize;
    for line in all {
        let line = line.as_ref();
        let kind = kind_of(line);
        let at = match known.get(&kind) {
            Some(at) => *at,
            None if kinds.len() < FEW => {
                known.insert(kind, kinds.len());
                kinds.push((line.to_owned(), 0));
                kinds.len() - 1
            }
            None => {
                of_other_kinds += 1;
                continue;
            }
        };
        let Some((_, count)) = kinds.get_mut(at) else {
            continue;
        };
        *count += 1;
        if *count <= FEW {
            said.push(line.to_owned());
        }
    }
    for (first, count) in kinds.iter().filter(|(_, count)| *count > FEW) {
        said.push(format!(
            "and {} more like: {}",
            count - FEW,
            beginning(first)
        ));
    }
    if of_other_kinds > 0 {
        said.push(format!("and {of_other_kinds} more of other kinds"));
    }
    said
}

/// A line in which lists that are one word, as of ports, are cut to their beginning.
#[must_use]
pub fn folded(line: &str) -> String {
    let fold = |word: &str| {
        let more = word.split(',').count().saturating_sub(IN_WORD);
        let end = word.match_indices(',').nth(IN_WORD - 1);
        match end.and_then(|(end, _)| word.get(..end)) {
            // One more costs no more than saying so.
            Some(first) if more > 1 => format!("{first} and {more} more"),
            Some(_) | None => word.to_owned(),
        }
    };
    let words: Vec<String> = line.split(' ').map(fold).collect();
    words.join(" ")
}

/// The first [`FEW`] names, separated by commas, and how many more there are.
pub fn names<N: AsRef<str>>(all: &[N]) -> String {
    let (first, more) = all.split_at(all.len().min(FEW));
    let first: Vec<_> = first.iter().map(AsRef::as_ref).collect();
    let first = first.join(", ");
    match more.len() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A line without what names something: words in backticks, and those with a digit or a sign in them.
fn kind_of(line: &str) -> String {
    let outside = line.split('`').step_by(2);
    let words = outside.flat_map(str::split_whitespace);
    let words = words.map(|word| word.trim_matches(|sign: char| sign.is_ascii_punctuation()));
    let plain = words.filter(|word| word.chars().all(char::is_alphabetic));
    plain.collect::<Vec<_>>().join(" ")
}

fn beginning(line: &str) -> String {
    let first = line.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(LIKE_MAX).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_list_the_first_of_each_kind_are_said_and_how_many_more_there_are() {
        let opened = (0..30_000).map(|host| format!("tcp/22 of web-{host} becomes public"));
        let away = (0..25).map(|host| format!("`db {host}` is away: nobody knows it"));
        let said = lines(opened.chain(away).chain(["one of its own".to_owned()]));

        assert_eq!(said.len(), 20 + 20 + 1 + 2);
        assert_eq!(said[19], "tcp/22 of web-19 becomes public");
        assert_eq!(said[40], "one of its own");
        assert_eq!(
            said[41],
            "and 29980 more like: tcp/22 of web-0 becomes public"
        );
        assert_eq!(said[42], "and 5 more like: `db 0` is away: nobody knows it");
    }

    #[test]
    fn a_short_list_is_said_as_it_is_and_one_of_many_kinds_is_bounded() {
        let short = ["web-1 is away", "web-2 is away", "nothing opens"];
        assert_eq!(lines(short), short);
        let letters = |number: usize| {
            let letter =
                |at: u32| char::from(b'a' + u8::try_from(number / 26_usize.pow(at) % 26).unwrap());
            [letter(0), letter(1), letter(2)].iter().collect::<String>()
        };
        let said = lines((0..5_000).map(letters));
        assert_eq!(said.len(), 21);
        assert_eq!(said[20], "and 4980 more of other kinds");
    }

    #[test]
    fn of_many_names_the_first_are_said_and_how_many_more_there_are() {
        let all: Vec<_> = (0..10_000).map(|host| format!("web-{host}")).collect();
        assert_eq!(names(&all[..2]), "web-0, web-1");
        assert!(names(&all).ends_with(", web-19 and 9980 more"));
        assert_eq!(names::<String>(&[]), "");
    }

    #[test]
    fn a_list_in_one_word_is_cut_to_its_beginning_and_everything_else_stays() {
        let ports = |count: u32| {
            let all: Vec<String> = (1..=count).map(|port| format!("tcp/{port}")).collect();
            all.join(",")
        };
        let line = format!("f:1: allow bob {}: not, a, reason; x", ports(300));
        assert_eq!(
            folded(&line),
            format!("f:1: allow bob {} and 292 more not, a, reason; x", ports(8))
        );
        for whole in [ports(8), ports(9), "a  b,c".to_owned(), String::new()] {
            assert_eq!(folded(&whole), whole);
        }
    }
}
