//! `make demo`: a fleet at work, on real parts.
//!
//! A controller, three hosts and four people, each in a network namespace with its own address.
//! Every line that the story tells is checked as it is told; the first that is not so ends it with
//! exit code 1. Nothing is left behind in either case.

mod scenes;
mod stage;
mod story;

use std::process::ExitCode;

use harness::lab::{Lab, Whose, sweep};

use crate::stage::Stage;
use crate::story::Story;

fn main() -> ExitCode {
    let mut story = Story::begin();
    match Wish::from_arguments() {
        Wish::Show => {}
        Wish::Sweep => {
            story.say(&format!("{} labs removed.", sweep(Whose::Anyones)));
            return ExitCode::SUCCESS;
        }
        Wish::Check => {
            return harness::check().map_or_else(
                |error| {
                    story.say(&format!("{error:#}"));
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        Wish::Explain => {
            story.say(
                "usage: demo [--sweep|--check]\n   \
                 --sweep  remove what killed demos and tests have left\n   \
                 --check  say what this machine lacks for the tests",
            );
            return ExitCode::from(2);
        }
    }
    match show(&mut story) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            story.fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// Sets the stage, plays every scene and clears the stage.
fn show(story: &mut Story) -> harness::Result<()> {
    let lab = Lab::new()?;
    let played = Stage::set(&lab, story).and_then(|mut stage| scenes::play(&mut stage, story));
    if played.is_err() {
        story.logs(&lab.logs());
    }
    let name = lab.name().to_owned();
    drop(lab);
    let cleared = story.cleared(&name);
    played.and(cleared)
}

/// What the caller wants; the command line has at most one switch.
enum Wish {
    Show,
    Sweep,
    Check,
    Explain,
}

impl Wish {
    fn from_arguments() -> Self {
        let mut arguments = std::env::args().skip(1);
        match (arguments.next().as_deref(), arguments.next()) {
            (None, _) => Self::Show,
            (Some("--sweep"), None) => Self::Sweep,
            (Some("--check"), None) => Self::Check,
            _ => Self::Explain,
        }
    }
}
