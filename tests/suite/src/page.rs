//! A page of the documentation, played: what it tells people to type is typed, as it stands, by
//! whom it says, and what it says comes of it must come.
//!
//! A comment before a block says what the block is:
//!
//! | comment | what follows |
//! |---|---|
//! | `<!-- run: WHO -->` | lines for a shell, which must end with exit code 0 |
//! | `<!-- run: WHO N -->` | lines for a shell that end with exit code N |
//! | `<!-- start: WHO -->` | a command that goes on until the page ends |
//! | `<!-- file: WHO NAME -->` | a file of that name |
//! | `<!-- prints -->` | lines of what the command before says; `…` stands for anything |
//! | `<!-- scene: WHAT -->` | no block: something happens that nobody types |

use std::collections::VecDeque;

use anyhow::{Context as _, bail, ensure};
use harness::{Ran, Result};

/// What a page says, in its order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Lines for a shell: whose, the exit code, and the text.
    Run(String, i32, String),
    /// A command that goes on: whose, and the text.
    Start(String, String),
    /// A file: whose, its name, and the text.
    File(String, String, String),
    /// Lines that the step before says.
    Prints(String),
    /// Something that happens.
    Scene(String),
}

/// Who plays a page.
pub trait Cast {
    /// Runs lines of a shell on somebody's machine, whatever comes of it.
    ///
    /// # Errors
    ///
    /// When there is nobody of that name, or no shell can be started.
    fn shell(&mut self, who: &str, text: &str) -> Result<Ran>;

    /// Writes a file where the shell of that person begins.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    fn file(&mut self, who: &str, name: &str, text: &str) -> Result<()>;

    /// Starts a command that goes on.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    fn start(&mut self, who: &str, text: &str) -> Result<()> {
        bail!("nothing goes on here: {who}: {text}")
    }

    /// Waits until the command that was started last has said these lines.
    ///
    /// # Errors
    ///
    /// When it does not say them in time.
    fn started_says(&mut self, text: &str) -> Result<()> {
        bail!("nothing goes on here that could say {text}")
    }

    /// Lets something happen.
    ///
    /// # Errors
    ///
    /// When nobody knows how.
    fn scene(&mut self, what: &str) -> Result<()> {
        bail!("nobody knows how this happens: {what}")
    }
}

/// The blocks of a page that a comment before them marks.
///
/// # Errors
///
/// For a comment that means nothing, or one without a block.
pub fn marked_steps(page: &str) -> Result<Vec<Step>> {
    steps(page, false)
}

/// All blocks of a page, of which every one must be marked: nothing stands there that is not tried.
///
/// # Errors
///
/// As [`marked_steps`], and for a block without a mark.
pub fn all_steps(page: &str) -> Result<Vec<Step>> {
    steps(page, true)
}

fn steps(page: &str, is_every_block_marked: bool) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(mark) = line
            .strip_prefix("<!-- ")
            .and_then(|line| line.strip_suffix(" -->"))
        else {
            ensure!(
                !is_every_block_marked || !line.starts_with("```"),
                "a block without a mark, before: {:?}",
                lines.next()
            );
            continue;
        };
        if let Some(what) = mark.strip_prefix("scene: ") {
            steps.push(Step::Scene(what.to_owned()));
            continue;
        }
        let opens = lines.next().unwrap_or_default();
        ensure!(opens.starts_with("```"), "no block after {line}");
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = block.join("\n") + "\n";
        steps.push(step(mark, text).with_context(|| format!("what is {line}?"))?);
    }
    Ok(steps)
}

fn step(mark: &str, text: String) -> Result<Step> {
    let words: Vec<&str> = mark.split(' ').collect();
    Ok(match words.as_slice() {
        ["run:", who] => Step::Run((*who).to_owned(), 0, text),
        ["run:", who, code] => Step::Run((*who).to_owned(), code.parse()?, text),
        ["start:", who] => Step::Start((*who).to_owned(), text),
        ["file:", who, name] => Step::File((*who).to_owned(), (*name).to_owned(), text),
        ["prints"] => Step::Prints(text),
        _ => bail!("no mark"),
    })
}

/// The lines of the blocks for a shell (`sh`) of a page that cannot be played from top to bottom:
/// what it tells depends on the host. That each is typed somewhere is for its test to see.
pub fn commands(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```sh\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    lines.map(|line| line.split(" #").next().unwrap_or_default().trim())
}

/// Plays steps one after the other, with the tokens that were printed and not used yet.
///
/// Each TOKEN in a text is the next token that a command printed, in the order of the page. So is what
/// somebody types who is asked for a token: the command of a line that ends with `join -`, or with
/// `--token -`.
#[derive(Debug, Default)]
pub struct Play {
    tokens: VecDeque<String>,
    last: Option<Ran>,
}

// === impl Play ===

impl Play {
    /// Plays one step.
    ///
    /// # Errors
    ///
    /// When what comes of it is not what the page says; the text names the command and its words.
    pub fn go(&mut self, cast: &mut impl Cast, step: &Step) -> Result<()> {
        match step {
            Step::File(who, name, text) => cast.file(who, name, text),
            Step::Scene(what) => {
                let done = cast.scene(what);
                done.with_context(|| format!("scene: {what}"))
            }
            Step::Start(who, text) => {
                self.last = None;
                cast.start(who, text)
            }
            Step::Prints(text) => match &self.last {
                Some(ran) => says(&ran.text(), text).with_context(|| ran.what.clone()),
                None => cast.started_says(text),
            },
            Step::Run(who, code, text) => {
                let text = self.with_tokens(text)?;
                let mut ran = cast.shell(who, &text)?;
                ran.what = format!("{who}: {}", text.trim_end());
                let ran = ran.code(*code)?;
                let is_token = |line: &&str| line.starts_with("postern1.");
                let tokens = ran.stdout.lines().filter(is_token).map(str::to_owned);
                self.tokens.extend(tokens);
                self.last = Some(ran);
                Ok(())
            }
        }
    }

    /// Plays a whole page.
    ///
    /// # Errors
    ///
    /// As [`Play::go`].
    pub fn all(&mut self, cast: &mut impl Cast, steps: &[Step]) -> Result<()> {
        for step in steps {
            self.go(cast, step)?;
        }
        Ok(())
    }

    /// Insists that every token was used.
    ///
    /// # Errors
    ///
    /// When one is left.
    pub fn end(&self) -> Result<()> {
        ensure!(self.tokens.is_empty(), "a token that nobody uses");
        Ok(())
    }

    fn with_tokens(&mut self, text: &str) -> Result<String> {
        let asks = |line: &&str| {
            let command = line.trim_end();
            command.ends_with(" join -")
                || command.contains(" join - ")
                || command.ends_with(" --token -")
        };
        let lines = text.lines().map(|line| {
            let end = if asks(&line) {
                " <<'END'\nTOKEN\nEND\n"
            } else {
                "\n"
            };
            format!("{line}{end}")
        });
        let text: String = lines.collect();
        let mut parts = text.split("TOKEN");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            filled += &self.tokens.pop_front().context("no token was printed")?;
            filled += part;
        }
        Ok(filled)
    }
}

/// Insists that each of the lines stands in what was said.
///
/// # Errors
///
/// For the first that does not; the text holds all that was said.
pub fn says(said: &str, wanted: &str) -> Result<()> {
    for line in wanted.lines().filter(|line| !line.trim().is_empty()) {
        let is_there = said.lines().any(|said| fits(&spaced(said), &spaced(line)));
        ensure!(is_there, "no line like\n{line}\nin\n{said}");
    }
    Ok(())
}

/// With one space between words: tables are as wide as what is in them.
fn spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(said: &str, line: &str) -> bool {
    let mut parts = line.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
Words.

<!-- run: alice 1 -->
```
postern can bob web-1 tcp/22
```

<!-- prints -->
```
no: …
```

<!-- scene: the clock goes wrong -->
";

    #[test]
    fn a_page_is_what_its_marks_say() {
        let run = "postern can bob web-1 tcp/22\n".to_owned();
        let steps = vec![
            Step::Run("alice".to_owned(), 1, run),
            Step::Prints("no: …\n".to_owned()),
            Step::Scene("the clock goes wrong".to_owned()),
        ];

        assert_eq!(all_steps(PAGE).unwrap(), steps);
    }

    #[test]
    fn a_block_without_a_mark_is_not_overlooked() {
        let page = "Words.\n```\nrm -rf /\n```\n";

        assert!(all_steps(page).is_err());
        assert_eq!(marked_steps(page).unwrap(), []);
        assert!(marked_steps("<!-- walk: alice -->\n```\n```\n").is_err());
    }

    #[test]
    fn what_is_said_fits_when_all_but_the_dots_is_the_same() {
        for (said, line, wanted) in [
            ("web-1  open after 40 ms", "web-1 open after … ms", true),
            ("web-1 open after 40 ms!", "web-1 open after … ms", false),
            ("a b c", "a … c", true),
            ("a b", "a b", true),
            ("a b c", "a b", false),
            ("a b c", "…b…", true),
            ("a b c", "…d…", false),
        ] {
            assert_eq!(says(said, line).is_ok(), wanted, "{said} {line}");
        }
    }
}
