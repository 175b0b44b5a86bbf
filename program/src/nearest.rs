//! What somebody may have meant by a word that is none of those that are known.

/// Longer words are no slips of the pen, and comparing them costs time.
const WORD_BYTES_MAX: usize = 64;

/// The candidate that is spelt most like `word`, whatever the case, if one is spelt like it at all.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let allowed = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&word, &candidate.to_ascii_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean NAME?` where a candidate is spelt like `word`, and nothing otherwise: for the end of
/// an error.
#[must_use]
pub fn did_you_mean(word: &str, candidates: &[&str]) -> String {
    let near = nearest(word, candidates.iter().copied());
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let known = ["ageing", "max_age_secs", "interfaces"];

        assert_eq!(nearest("agening", known), Some("ageing"));
        assert_eq!(nearest("INTERFACE", known), Some("interfaces"));
        assert_eq!(nearest("max_age", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(did_you_mean("ageng", &known), "; did you mean ageing?");
        assert_eq!(did_you_mean(&"a".repeat(1 << 20), &known), "");
    }
}
