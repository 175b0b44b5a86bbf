//! What is said of the PostgreSQL server that a database is at.

use super::{Finding, doubtful, sound, wrong};
use crate::store::model::ServerFacts;

const SERVER: &str = "database server";
const STANDBYS: &str = "standbys";
const ROLE: &str = "database role";
pub(super) const STRANGERS: &str = "database triggers";
pub(super) const CLOCK: &str = "database clock";
/// The oldest version that is known to do, and how it is written.
const OLDEST: (u64, &str) = (140_000, "14");
/// Clocks that are further apart are not what anybody wants, milliseconds.
const APART_MAX_MS: u64 = 5_000;

/// Everything that is to be said of it.
pub(super) fn findings(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = vec![server(facts), standbys(facts)];
    if facts.is_superuser {
        findings.push(doubtful(
            ROLE,
            "it is a superuser, and needs only to own its tables: whoever has its password has the whole server",
        ));
    }
    if facts.apart_ms > APART_MAX_MS {
        let apart = facts.apart_ms / 1_000;
        let detail =
            format!("{apart} s apart from the clock of this machine; one of the two is wrong");
        findings.push(wrong(CLOCK, detail));
    }
    if !facts.strangers.is_empty() {
        let named = facts.strangers.join("; ");
        let detail = format!("{named}: run by the controller's statements, and not made by it");
        findings.push(wrong(STRANGERS, detail));
    }
    findings
}

fn server(facts: &ServerFacts) -> Finding {
    let ServerFacts {
        version, encoding, ..
    } = facts;
    let (oldest, named) = OLDEST;
    if facts.version_number < oldest {
        let detail = format!("PostgreSQL {version}; {named} is the oldest that is known to do");
        return wrong(SERVER, detail);
    }
    if encoding != "UTF8" {
        let detail = format!("its texts are {encoding}, and not every name can be kept in that");
        return wrong(SERVER, detail);
    }
    let size = program::disk::size(facts.bytes);
    sound(SERVER, format!("PostgreSQL {version}, {encoding}; {size}"))
}

/// Whether what was answered is there after a failover.
fn standbys(facts: &ServerFacts) -> Finding {
    let ServerFacts {
        synchronous_commit,
        synchronous_standby_names: names,
        standbys,
        ..
    } = facts;
    if *standbys > 0 && names.is_empty() {
        let detail = format!(
            "{standbys} connected, and no commit waits for any (synchronous_standby_names is empty): after a \
             failover to one of them packets could be granted twice"
        );
        return doubtful(STANDBYS, detail);
    }
    if synchronous_commit == "off" {
        return doubtful(
            STANDBYS,
            "synchronous_commit is off for this role: the controller turns it on for itself, and whatever else \
             writes there may lose what it was told",
        );
    }
    match (standbys, names.as_str()) {
        (0, "") => sound(STANDBYS, "none"),
        (0, names) => doubtful(
            STANDBYS,
            format!(
                "none is connected, and commits wait for one ({names}): nothing is written until it is there"
            ),
        ),
        (standbys, names) => sound(
            STANDBYS,
            format!("{standbys} connected, commits wait for {names} ({synchronous_commit})"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            version: "15.8".to_owned(),
            version_number: 150_008,
            encoding: "UTF8".to_owned(),
            synchronous_commit: "on".to_owned(),
            bytes: 3 << 20,
            ..ServerFacts::default()
        }
    }

    /// What is not simply well, by what it is of, and whether it only is to be thought of.
    fn said(facts: &ServerFacts) -> Vec<(&'static str, bool)> {
        let found = findings(facts).into_iter();
        let found = found.filter(|it| !it.is_sound || it.is_warning);
        found.map(|it| (it.what, it.is_sound)).collect()
    }

    #[test]
    fn a_server_at_which_what_was_answered_could_be_lost_is_named_and_a_sound_one_is_not() {
        assert_eq!(said(&facts()), []);
        let synchronous = ServerFacts {
            standbys: 1,
            synchronous_standby_names: "*".to_owned(),
            ..facts()
        };
        assert_eq!(said(&synchronous), []);
        for (facts, expected) in [
            (
                ServerFacts {
                    standbys: 1,
                    ..facts()
                },
                (STANDBYS, true),
            ),
            (
                ServerFacts {
                    standbys: 0,
                    ..synchronous
                },
                (STANDBYS, true),
            ),
            (
                ServerFacts {
                    synchronous_commit: "off".to_owned(),
                    ..facts()
                },
                (STANDBYS, true),
            ),
            (
                ServerFacts {
                    version_number: 130_012,
                    ..facts()
                },
                (SERVER, false),
            ),
            (
                ServerFacts {
                    encoding: "LATIN1".to_owned(),
                    ..facts()
                },
                (SERVER, false),
            ),
            (
                ServerFacts {
                    is_superuser: true,
                    ..facts()
                },
                (ROLE, true),
            ),
            (
                ServerFacts {
                    apart_ms: 6_000,
                    ..facts()
                },
                (CLOCK, false),
            ),
            (
                ServerFacts {
                    strangers: vec!["trigger evil on events".to_owned()],
                    ..facts()
                },
                (STRANGERS, false),
            ),
        ] {
            assert_eq!(said(&facts), [expected], "{facts:?}");
        }
    }
}
