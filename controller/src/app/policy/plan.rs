//! What another policy would mean in this fleet: for strangers, for people, and for what the text
//! itself says must hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet::Role;
use policy::{AccessChange, Fleet, HostFacts, Policy, TestOutcome, TestRun};

use super::exposure::{self, Before, HostExposure};
use super::text::{parse, stored_text};
use crate::context::Context;
use crate::error::Error;
use crate::targets::facts;
use crate::timestamp::Timestamp;

/// Changes of people's rights that are said one by one.
const ACCESS_MAX: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) exposure: Vec<HostExposure>,
    pub(super) access: Vec<AccessChange>,
    pub(super) warnings: Vec<String>,
    pub(super) tests: Vec<TestedLine>,
}

/// A line `%test` and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TestedLine {
    pub(crate) file: String,
    pub(crate) line: u32,
    /// As written.
    pub(crate) text: String,
    pub(crate) result: TestResult,
    /// Why not, or by which stanza it is so.
    pub(crate) detail: String,
}

/// What came of a test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TestResult {
    Passed,
    Failed,
    /// It depends on a host or a label that is not there yet.
    NotRun,
}

/// The fleet as policy sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    hosts: Vec<HostFacts>,
    /// Locked ones too: a lock is not policy.
    users: BTreeSet<String>,
}

/// What `new` means on top of generation `base`.
pub(super) async fn plan(
    context: &Context,
    base: u64,
    new: &Arc<Policy>,
    now: Timestamp,
) -> Result<Planned, Error> {
    let hosts = exposure::hosts(context).await?;
    let in_force = context.rollout.in_force();
    let other = if base == in_force.generation {
        None
    } else {
        let text = stored_text(context, base).await?;
        // A text of another version may be one that this one does not read.
        Some(parse(String::new(), &text).await.ok())
    };
    let was_set_back = context.fleet.borrow().set_back.is_some();
    let before = match &other {
        Some(None) => Before::Unread,
        None if was_set_back => Before::Older(&in_force.policy),
        Some(Some(policy)) if was_set_back => Before::Older(policy),
        None => Before::Policy(&in_force.policy),
        Some(Some(policy)) => Before::Policy(policy),
    };
    let exposure = exposure::between(&hosts, &before, new);
    let is_user = |name: &str| {
        let user = context.roster.find(Role::User, name);
        user.is_some_and(|user| user.is_active())
    };
    let seen = Seen::now(context);
    let mut warnings = seen.warnings(new, now);
    warnings.extend(exposure::doubts(&hosts, &exposure, new, is_user));
    let old = match before {
        Before::Policy(old) | Before::Older(old) => Some(Arc::clone(old)),
        Before::Unread => {
            let words = "the policy in force is not read by this version: what people could open \
                         before is not known";
            warnings.push(words.to_owned());
            None
        }
    };
    let new = Arc::clone(new);
    // Comparing the rights of many people on many hosts takes a while.
    let (access, tests, more) =
        tokio::task::spawn_blocking(move || seen.compare(old.as_deref(), &new, now)).await?;
    warnings.extend(more);
    Ok(Planned {
        exposure,
        access,
        warnings,
        tests,
    })
}

/// What the tests of a policy come to now.
pub(crate) fn run_tests(context: &Context, policy: &Policy, now: Timestamp) -> Vec<TestedLine> {
    let seen = Seen::now(context);
    let run = policy.run_tests(Some(&seen.fleet()), now.secs());
    run.iter().map(tested).collect()
}

/// Refuses a policy of which a test fails.
pub(super) fn must_hold(tests: &[TestedLine]) -> Result<(), Error> {
    let failed: Vec<String> = tests
        .iter()
        .filter(|test| test.result == TestResult::Failed)
        .map(TestedLine::sentence)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::TestsFailed(failed))
}

fn tested(run: &TestRun<'_>) -> TestedLine {
    let TestRun { test, outcome, .. } = run;
    let (result, detail) = match outcome {
        TestOutcome::Passed { by } => (TestResult::Passed, by),
        TestOutcome::Failed { why } => (TestResult::Failed, why),
        TestOutcome::NotRun { why } => (TestResult::NotRun, why),
    };
    TestedLine {
        file: test.at.file.to_string(),
        line: test.at.line,
        text: test.to_string(),
        result,
        detail: detail.clone(),
    }
}

// === impl TestedLine ===

impl TestedLine {
    /// `file:line: %test ...: why`
    fn sentence(&self) -> String {
        let Self {
            file,
            line,
            text,
            result: _,
            detail,
        } = self;
        format!("{file}:{line}: {text}: {detail}")
    }
}

// === impl Seen ===

impl Seen {
    /// Hosts that are told of policy, and everybody who has joined.
    pub(crate) fn now(context: &Context) -> Self {
        let hosts = context.roster.active(Role::Host);
        let all = context.roster.all();
        let users = all.iter().filter(|member| member.role == Role::User);
        Self {
            hosts: hosts.iter().map(|host| facts(host)).collect(),
            users: users.map(|user| user.name.clone()).collect(),
        }
    }

    pub(crate) fn fleet(&self) -> Fleet<'_> {
        Fleet {
            hosts: &self.hosts,
            users: &self.users,
        }
    }

    /// The parser's warnings, and those that need to know the fleet or the time.
    fn warnings(&self, policy: &Policy, now: Timestamp) -> Vec<String> {
        let shared = policy.shared_domains(&self.hosts);
        let own = policy::own_doubts(policy, now.secs());
        let here = policy::doubts(policy, &self.fleet());
        let mistakes = policy.warnings.iter().chain(&own).chain(&here);
        let mut warnings: Vec<String> = mistakes.map(ToString::to_string).collect();
        warnings.extend(policy.stanzas.iter().filter_map(|stanza| {
            let keys = stanza.static_keys().iter();
            let hosts = keys.filter_map(|keys| shared.get(&keys.domain()));
            let count = hosts.max()?;
            Some(format!(
                "stanza {}: its static key is valid on {count} hosts; whoever roots one of them can \
                 forge its users on the others (a stanza without KEY is pairwise)",
                stanza.label()
            ))
        }));
        warnings
    }

    /// What people gain and lose, what the tests come to, and what is doubtful about both.
    fn compare(
        &self,
        old: Option<&Policy>,
        new: &Policy,
        now: Timestamp,
    ) -> (Vec<AccessChange>, Vec<TestedLine>, Vec<String>) {
        let mut warnings = Vec::new();
        let (access, more) = old.map_or_else(Default::default, |old| {
            let limits = (now.secs(), ACCESS_MAX);
            policy::access_changes((old, new), &self.hosts, &self.users, limits)
        });
        if more > 0 {
            warnings.push(format!(
                "{more} more changes of what people may open are not listed one by one"
            ));
        }
        let runs = new.run_tests(Some(&self.fleet()), now.secs());
        for run in &runs {
            let doubts = run.doubts.iter();
            warnings.extend(doubts.map(|doubt| format!("{}: %test: {doubt}", run.test.at)));
        }
        (access, runs.iter().map(tested).collect(), warnings)
    }
}
