//! Which hosts are meant: names, and labels that stand for all hosts that have them.

use fleet::wire::DirectoryHost;

use super::args::KnockArgs;
use super::asker::Asker;
use super::refresh;
use crate::context::Context;
use crate::error::{CommandError, Result};

/// The hosts that the command line names, each once; `None` where it names none.
///
/// # Errors
///
/// Exit code 2 for several hosts outside of a fleet, 1 for a label that no host has.
pub(crate) async fn named(context: &Context, args: &KnockArgs) -> Result<Vec<Option<String>>> {
    let names = &args.hosts;
    let has_labels = names.iter().any(|name| name.contains('='));
    if names.len() <= 1 && !has_labels {
        return Ok(vec![names.first().cloned()]);
    }
    let membership = if args.keys.is_static() {
        None
    } else {
        context.profile.membership_if_any()?
    };
    let Some(membership) = membership else {
        return Err(
            CommandError::usage("several hosts at once are for members of a fleet")
                .with_hint("knock at one after the other, or join with `postern join -`"),
        );
    };
    if args.route.destination.is_some() {
        return Err(CommandError::usage(
            "-D names one address, and there are several hosts",
        ));
    }
    let mut found: Vec<String> = Vec::new();
    let hosts = if has_labels {
        let mut asker = Asker::new(membership);
        let directory = refresh::whole(context, &mut asker).await?;
        directory.hosts().to_vec()
    } else {
        Vec::new()
    };
    for name in names {
        let meant = match name.split_once('=') {
            Some(label) => with_label(&hosts, label)?,
            None => vec![name.clone()],
        };
        for host in meant {
            if !found.contains(&host) {
                found.push(host);
            }
        }
    }
    Ok(found.into_iter().map(Some).collect())
}

/// The hosts that have a label, by name.
///
/// # Errors
///
/// Exit code 1 when none has.
pub(crate) fn with_label(
    hosts: &[DirectoryHost],
    (label, value): (&str, &str),
) -> Result<Vec<String>> {
    let has = |host: &&DirectoryHost| {
        host.labels.get(label).is_some_and(|held| held == value)
            || (label == "name" && host.name == value)
    };
    let mut names: Vec<String> = hosts
        .iter()
        .filter(has)
        .map(|host| host.name.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(CommandError::refused(format!(
            "no host that you may open has the label {label}={value}"
        ))
        .with_hint("`postern list` shows hosts and labels"));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stands_for_all_hosts_that_have_it_each_once() {
        let host = |name: &str, role: &str| DirectoryHost {
            name: name.to_owned(),
            labels: [("role".to_owned(), role.to_owned())].into(),
            ..DirectoryHost::default()
        };
        let hosts = [
            host("web-2", "web"),
            host("web-1", "web"),
            host("web-1", "web"),
            host("db-1", "db"),
        ];

        let found = |label, value| with_label(&hosts, (label, value)).ok();

        let web = vec!["web-1".to_owned(), "web-2".to_owned()];
        assert_eq!(found("role", "web"), Some(web));
        assert_eq!(found("name", "db-1"), Some(vec!["db-1".to_owned()]));
        assert_eq!(found("role", "mail"), None);
    }
}
