//! Whether the file that holds the authorities is the one that the database knows. A file of before would give
//! back its place to a key that was disowned, and one of another controller would leave every member without a
//! controller; both are found before anybody is served.

use super::doubt::AuthorityDoubt;
use crate::store::model::AuthorityStates;

/// What the database knows of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Known {
    /// Nothing: it is of a version before.
    Nothing,
    /// It is as it was left.
    Same,
    /// Somebody was about to write it, or to note that it was written.
    Begun,
    /// The database was put back to a time before it.
    PutBack,
}

/// Judges a file with the state `file`, in a directory whose last run was `run`.
pub(super) fn judge(
    states: &AuthorityStates,
    file: Option<&str>,
    run: Option<&str>,
) -> Result<Known, AuthorityDoubt> {
    let Some((last, before)) = states.settled.split_last() else {
        return Ok(Known::Nothing);
    };
    let Some(file) = file else {
        return Err(AuthorityDoubt::Missing);
    };
    if states.begun.as_deref() == Some(file) || (last == file && states.begun.is_some()) {
        return Ok(Known::Begun);
    }
    if last == file {
        return Ok(Known::Same);
    }
    if before.iter().any(|it| it == file) {
        return Err(AuthorityDoubt::Older);
    }
    if states.run.as_deref() == run {
        Err(AuthorityDoubt::Foreign)
    } else {
        Ok(Known::PutBack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(settled: &[&str], begun: Option<&str>) -> AuthorityStates {
        AuthorityStates {
            settled: settled.iter().map(|it| (*it).to_owned()).collect(),
            begun: begun.map(str::to_owned),
            run: Some("run".to_owned()),
        }
    }

    #[test]
    fn a_file_of_authorities_is_the_one_that_the_database_knows_or_is_found_to_be_older_foreign_or_gone()
     {
        use AuthorityDoubt::{Foreign, Missing, Older};
        let (here, elsewhere) = (Some("run"), Some("another"));
        let known = states(&["a", "b"], None);
        let writing = states(&["a", "b"], Some("c"));
        for (states, file, run, expected) in [
            (&states(&[], None), None, here, Ok(Known::Nothing)),
            (&states(&[], None), Some("a"), here, Ok(Known::Nothing)),
            (&known, Some("b"), here, Ok(Known::Same)),
            (&known, Some("a"), here, Err(Older)),
            (&known, Some("z"), here, Err(Foreign)),
            (&known, None, here, Err(Missing)),
            // Killed before the file was written, and after it.
            (&writing, Some("b"), here, Ok(Known::Begun)),
            (&writing, Some("c"), here, Ok(Known::Begun)),
            (&writing, Some("a"), here, Err(Older)),
            (&writing, None, here, Err(Missing)),
            // The database is of a time before the last run.
            (&known, Some("c"), elsewhere, Ok(Known::PutBack)),
            (&known, Some("c"), None, Ok(Known::PutBack)),
            (&known, Some("a"), elsewhere, Err(Older)),
            (&known, None, elsewhere, Err(Missing)),
        ] {
            let told = format!("{states:?} {file:?} {run:?}");
            assert_eq!(judge(states, file, run), expected, "{told}");
        }
    }
}
