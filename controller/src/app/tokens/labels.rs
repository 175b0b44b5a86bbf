//! Labels of hosts, and scopes, which are labels that others are to have.

use std::collections::BTreeMap;

use fleet::Role;

use crate::access::roles::may_have_scope;
use crate::error::Error;

/// Labels of one host at most.
const LABELS_MAX: usize = 64;

/// Refuses labels that policy could not name.
pub(in crate::app) fn check(
    field: &'static str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        return Err(Error::invalid(field, format!("at most {LABELS_MAX}")));
    }
    for (label, value) in labels {
        if label == "name" {
            return Err(Error::invalid(field, "`name` is the host's own name"));
        }
        let pair = format!("{label}={value}");
        let one_word = !pair.contains(char::is_whitespace);
        if !one_word || pair.len() > 256 || policy::Selector::parse(&pair).is_err() {
            let problem = format!("`{pair}` is not a label such as role=web");
            return Err(Error::invalid(field, problem));
        }
    }
    Ok(())
}

/// Refuses labels and scopes of those who have none.
pub(super) fn check_role(
    role: Role,
    labels: &BTreeMap<String, String>,
    scope: &BTreeMap<String, String>,
) -> Result<(), Error> {
    if role != Role::Host && !labels.is_empty() {
        return Err(Error::invalid("labels", "only hosts have labels"));
    }
    if !may_have_scope(role) && !scope.is_empty() {
        let problem = format!(
            "the business of role {role} cannot be bounded by labels: only that of an operator, \
             auditor, validator or helpdesk can"
        );
        return Err(Error::invalid("scope", problem));
    }
    check("labels", labels)?;
    check("scope", scope)
}
