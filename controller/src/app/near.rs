//! Which known name somebody who has mistyped one may have meant.

/// What goes after a sentence about a name that nobody knows; empty when none is like it.
pub(crate) fn did_you_mean(word: &str, known: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let slips_max = if word.chars().count() < 4 { 1 } else { 2 };
    let distance = |name: &str| strsim::osa_distance(&word.to_lowercase(), &name.to_lowercase());
    let known = known.into_iter().map(|name| name.as_ref().to_owned());
    let others = known.filter(|name| *name != word);
    let nearest = others.map(|name| (distance(&name), name)).min();
    match nearest {
        Some((slips, name)) if slips <= slips_max => format!("; did you mean {name}?"),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_differs_least_is_meant_and_none_that_differs_much() {
        let known = ["alice", "bob", "web-1"];

        assert_eq!(did_you_mean("alcie", known), "; did you mean alice?");
        assert_eq!(did_you_mean("Web1", known), "; did you mean web-1?");
        assert_eq!(did_you_mean("bo", known), "; did you mean bob?");
        assert_eq!(did_you_mean("mallory", known), "");
        assert_eq!(did_you_mean("alice", [""; 0]), "");
    }
}
