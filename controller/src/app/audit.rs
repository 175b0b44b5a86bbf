//! The auditor's question: who opened what.

use fleet::{EventKind, Role};
use policy::Stanza;

use super::near::did_you_mean;
use crate::access::caller::Caller;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::{CONTROLLER, Cursor, EventFilter, LogNames, LogRow, Onward};

pub(crate) mod follow;

const LIMIT_DEFAULT: usize = 100;
/// Rows read at once; the first page is smaller, so that the first row comes soon.
const PAGE: usize = 1_000;
/// Rows of the first page.
pub(crate) const FIRST_PAGE: usize = 100;

/// An answer that is read page by page, newest first.
#[derive(Debug)]
pub(crate) struct Listing {
    filter: EventFilter,
    /// `None` at the end of the log.
    onward: Option<Onward>,
    /// Rows that may still come.
    left: usize,
    page: usize,
    /// The last page was given up.
    cut: bool,
}

// === impl Listing ===

impl Listing {
    /// At most `limit` rows; 0 for the usual number.
    pub(crate) fn new(filter: EventFilter, limit: u32) -> Self {
        Self {
            filter,
            onward: Some(Cursor::NEWEST.into()),
            left: match limit {
                0 => LIMIT_DEFAULT,
                limit => usize::try_from(limit).unwrap_or(usize::MAX),
            },
            page: FIRST_PAGE,
            cut: false,
        }
    }

    /// The next rows; empty when there are no more. A future that is dropped ends the search.
    ///
    /// # Errors
    ///
    /// [`Error::TooCostly`] after the rows that were found before the search was given up.
    pub(crate) async fn next(&mut self, context: &Context) -> Result<Vec<LogRow>, Error> {
        if self.cut {
            return Err(Error::TooCostly);
        }
        if self.left == 0 {
            return Ok(Vec::new());
        }
        while let Some(from) = self.onward {
            let rows = self.page.min(self.left);
            let page = context.store.look(self.filter.clone(), from, rows).await?;
            self.cut = page.cut;
            self.onward = page.onward();
            if !page.rows.is_empty() {
                self.page = PAGE;
                self.left -= page.rows.len();
                return Ok(page.rows);
            }
            if page.cut {
                return Err(Error::TooCostly);
            }
        }
        Ok(Vec::new())
    }
}

/// What makes a refusal: what helpdesks see.
const REFUSALS: [EventKind; 4] = [
    EventKind::GrantBlocked,
    EventKind::Refused,
    EventKind::Replay,
    EventKind::ReplayElsewhere,
];

/// The filter as far as the caller may ask: a helpdesk sees refusals only, and who has a scope its
/// hosts.
///
/// # Errors
///
/// [`Error::Invalid`] when she asks for other kinds, [`Error::OutOfScope`] for other hosts; and as
/// [`must_be_known`].
pub(crate) async fn permitted(
    context: &Context,
    caller: &Caller,
    mut filter: EventFilter,
) -> Result<EventFilter, Error> {
    if caller.role == Role::Helpdesk {
        let refusals = REFUSALS.map(i32::from);
        if filter.kinds.is_empty() {
            filter.kinds = refusals.to_vec();
        }
        if filter.kinds.iter().any(|kind| !refusals.contains(kind)) {
            let names = REFUSALS.map(EventKind::as_str).join(", ");
            return Err(Error::invalid(
                "kind",
                format!("a helpdesk sees only {names}"),
            ));
        }
    }
    if !caller.scope.is_whole() {
        within_scope(context, caller, &mut filter)?;
    }
    split_role(&mut filter)?;
    let asked = LogNames {
        users: filter.users.clone(),
        hosts: filter.hosts.clone(),
    };
    must_be_known(context, asked).await?;
    role_must_be_known(context, &filter).await?;
    words_must_be_known(context, &filter).await?;
    Ok(filter)
}

/// The same of a name with a role: somebody else may have the name.
async fn role_must_be_known(context: &Context, filter: &EventFilter) -> Result<(), Error> {
    let Some(role) = filter.role else {
        return Ok(());
    };
    let all = context.roster.all();
    for name in &filter.users {
        if all.iter().any(|it| it.role == role && it.name == *name) {
            continue;
        }
        let of_hers = EventFilter {
            users: vec![name.clone()],
            role: Some(role),
            ..EventFilter::default()
        };
        let page = context.store.newest(of_hers, 1).await?;
        if page.cut || !page.rows.is_empty() {
            continue;
        }
        let other = all
            .iter()
            .find(|it| it.role != Role::Host && it.name == *name);
        let near = match other {
            Some(other) => format!("; did you mean {}/{name}?", other.role),
            None => String::new(),
        };
        return Err(Error::not_found(format!(
            "{role} `{name}` in the fleet, nor in its log{near}"
        )));
    }
    Ok(())
}

/// Reads `auditor/alice`: the name alone may be that of members of several roles.
fn split_role(filter: &mut EventFilter) -> Result<(), Error> {
    let Some((role, name)) = filter.users.iter().find_map(|user| user.split_once('/')) else {
        return Ok(());
    };
    if filter.users.len() > 1 {
        let problem = format!("{role}/{name} is asked for alone, not with others");
        return Err(Error::invalid("users", problem));
    }
    filter.role = Some(role.parse::<Role>()?);
    filter.users = vec![name.to_owned()];
    Ok(())
}

/// The same as of names, of stanzas, actors and generations: nothing is found of what never was.
async fn words_must_be_known(context: &Context, filter: &EventFilter) -> Result<(), Error> {
    let is_in_log = async |filter: EventFilter| -> Result<bool, Error> {
        let page = context.store.newest(filter, 1).await?;
        Ok(page.cut || !page.rows.is_empty())
    };
    let in_force = context.rollout.in_force();
    if let Some(stanza) = &filter.stanza {
        let labels: Vec<String> = in_force.policy.stanzas.iter().map(Stanza::label).collect();
        let of_it = EventFilter {
            stanza: Some(stanza.clone()),
            ..EventFilter::default()
        };
        if !labels.contains(stanza) && !is_in_log(of_it).await? {
            let near = did_you_mean(stanza, &labels);
            return Err(Error::not_found(format!(
                "stanza `{stanza}` in the policy, nor in the log{near}"
            )));
        }
    }
    if let Some(actor) = &filter.actor {
        let all = context.roster.all();
        let known: Vec<String> = all
            .iter()
            .map(|member| format!("{}/{}", member.role, member.name))
            .chain([CONTROLLER.to_owned()])
            .collect();
        let of_it = EventFilter {
            actor: Some(actor.clone()),
            ..EventFilter::default()
        };
        if !known.contains(actor) && !is_in_log(of_it).await? {
            let near = did_you_mean(actor, &known);
            return Err(Error::not_found(format!(
                "actor `{actor}` in the fleet, nor in its log{near}"
            )));
        }
    }
    if let Some(generation) = filter.generation {
        let newest = in_force.generation;
        let of_it = EventFilter {
            generation: Some(generation),
            ..EventFilter::default()
        };
        if generation > newest && !is_in_log(of_it).await? {
            return Err(Error::not_found(format!(
                "generation {generation}, nor an event of one: the newest is {newest}"
            )));
        }
    }
    Ok(())
}

/// Leaves the hosts that are the caller's business.
fn within_scope(context: &Context, caller: &Caller, filter: &mut EventFilter) -> Result<(), Error> {
    let members = context.roster.all();
    let hosts = members
        .iter()
        .filter(|member| member.role == Role::Host && caller.may_see(member));
    let hosts: Vec<String> = hosts.map(|host| host.name.clone()).collect();
    if let Some(other) = filter.hosts.iter().find(|asked| !hosts.contains(asked)) {
        return Err(caller.out_of_scope(format!("host {other} is asked for")));
    }
    if hosts.is_empty() {
        return Err(caller.out_of_scope("no host is in it".to_owned()));
    }
    if filter.hosts.is_empty() {
        filter.hosts = hosts;
    }
    Ok(())
}

/// Refuses names that neither the fleet nor its log has ever known: an empty answer would look like
/// innocence.
///
/// # Errors
///
/// [`Error::NotFound`], with a name that may have been meant.
pub(crate) async fn must_be_known(context: &Context, names: LogNames) -> Result<(), Error> {
    let strangers = context.store.strangers(names).await?;
    if strangers == LogNames::default() {
        return Ok(());
    }
    let known = context.store.known_names().await?;
    let of = |what: &str, names: &[String], known: &[String]| {
        let name = names.first()?;
        let near = did_you_mean(name, known);
        Some(format!(
            "{what} `{name}` in the fleet, nor in its log{near}"
        ))
    };
    let what = of("user", &strangers.users, &known.users)
        .or_else(|| of("host", &strangers.hosts, &known.hosts));
    Err(Error::NotFound {
        what: what.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
