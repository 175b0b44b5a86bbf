//! `fwknop`: this program under the name of fwknop's client, with its options, files and exit codes.
//!
//! Whatever has an rc variable is said as one, on top of the stanza, so that a command line means what a
//! stanza with the same words means, and saving it is writing it down.
//!
//! | module | what it knows |
//! |---|---|
//! | `line` | words → options, as getopt reads them |
//! | `overlay` | options → variables on top of a stanza, and those that none has |
//! | `stanza` | variables → the text of an rc file |
//! | `save` | stanzas and keys that are written |
//! | `files` | where all of it is |
//! | `last` | the arguments of the last time, without secrets |
//! | `key_gen` | new keys |
//! | `run` | all of it, in the order in which the reference does it |

mod files;
mod help;
mod key_gen;
mod last;
mod line;
mod overlay;
mod run;
mod save;
mod stanza;

use std::ffi::OsString;
use std::path::Path;

pub(crate) use self::help::text as help;
pub(crate) use self::run::run;

/// The name that makes this program fwknop's client.
const NAME: &str = "fwknop";

/// The words behind the name, if this program was called as fwknop's client: by a link of that name, or
/// by a first word of that name.
pub(crate) fn words(all: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut all = all.into_iter();
    let program = all.next()?;
    if Path::new(&program)
        .file_name()
        .is_some_and(|name| name == NAME)
    {
        return Some(all.collect());
    }
    (all.next()? == NAME).then(|| all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fwknop_by_a_link_or_by_the_first_word() {
        let behind = |line: &str| {
            let all: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            words(all).map(|words| words.len())
        };

        assert_eq!(behind("fwknop -A tcp/22"), Some(2));
        assert_eq!(behind("/usr/local/bin/fwknop"), Some(0));
        assert_eq!(behind("postern fwknop -V"), Some(1));
        assert_eq!(behind("postern knock fwknop"), None);
        assert_eq!(behind("postern"), None);
    }
}
