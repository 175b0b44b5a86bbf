//! The names of variables in an rc file, and what is said of one that is none.

use super::table::{variable, variables};

/// The variable as we know it.
///
/// # Errors
///
/// In words, with the nearest name if there is one; what does not look like a variable is not
/// repeated.
pub(super) fn known(name: &str, has_value: bool) -> Result<&'static str, String> {
    if let Some(row) = variable(name) {
        return Ok(row.variable);
    }
    let upper = name.to_ascii_uppercase();
    let nearest = variables()
        .map(|row| (strsim::jaro_winkler(row.variable, &upper), row.variable))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    // It may be a key that got onto a line of its own, or one without a blank in front.
    let is_word = |b: u8| b.is_ascii_uppercase() || b == b'_';
    let looks_like_one = has_value && name.bytes().all(is_word);
    Err(match nearest {
        Some((_, nearest)) if looks_like_one => {
            format!("{name}: unknown variable; did you mean {nearest}?")
        }
        Some((_, nearest)) => {
            format!("the line does not begin with a known variable; did you mean {nearest}?")
        }
        None if looks_like_one => format!("{name}: unknown variable"),
        None => "the line does not begin with a known variable".to_owned(),
    })
}
