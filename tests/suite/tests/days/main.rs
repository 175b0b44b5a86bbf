//! The days of an operator, a user and an auditor of thirty hosts and twenty users, as their pages
//! tell them: `docs/operator.md`, `docs/user.md` and `docs/auditor.md`, played one after the other
//! on one fleet of real programs. Every block of these pages is typed as it stands.

mod fleet;
mod machine;
mod scenes;

use std::fs;
use std::path::Path;

use harness::in_lab;
use suite::page::{Play, all_steps};

use crate::fleet::Fleet;

#[test]
fn every_command_of_the_days_of_operator_user_and_auditor_works_as_their_pages_say() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let days = ["operator.md", "user.md", "auditor.md"].map(|page| {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        let steps = all_steps(&text).unwrap();
        assert!(steps.len() > 20, "the marks of {page} are gone");
        steps
    });
    in_lab(|lab| {
        let mut fleet = Fleet::gather(lab)?;
        let mut play = Play::default();
        for steps in &days {
            play.all(&mut fleet, steps)?;
            fleet.evening();
        }
        play.end()
    });
}
