//! `postern completions`, and `postern complete`, hidden, which its scripts ask for names.
//!
//! Commands and options are in the script that is made of the command line; names are known to the
//! profile only. A user's are read from its files, so a completion asks nobody and works without a
//! network. Who manages or audits has no directory: those names are the controller's (`asked`).

mod asked;

use std::collections::BTreeSet;

use clap::{Arg, Command};
use clap_complete::Shell;
use fleet::Role;

use crate::context::Context;
use crate::directory::Directory;
use crate::error::Result;
use crate::profile::home;
use crate::rc::RcFile;

/// Print the names that the last of these words may become; nothing where it is no name
#[derive(clap::Args, Debug)]
pub(crate) struct CompleteArgs {
    /// The words after `postern`, up to the one that is being typed, which may be empty
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What stands at a place of the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Names {
    Hosts,
    Members,
    Policies,
    Ports,
    RcStanzas,
    Users,
}

/// Prints them; `line` is all that can be typed.
pub(crate) fn run(context: &Context, args: &CompleteArgs, line: Command) -> Result {
    let words = joined(&args.words);
    let Some((typed, before)) = words.split_last() else {
        return Ok(());
    };
    let Some(names) = names_at(line, before, typed) else {
        return Ok(());
    };
    // Nobody reads an error in the middle of typing.
    for name in known(context, names, (before, typed)) {
        // What the shell has split off is not repeated.
        if name.starts_with(&**typed) {
            let rest = match typed.rsplit_once(['=', ':']) {
                Some((cut, _)) if was_split(&args.words) => name.get(cut.len() + 1..),
                Some(_) | None => Some(&*name),
            };
            context.ui.say(rest.unwrap_or(&name))?;
        }
    }
    Ok(())
}

fn was_split(words: &[String]) -> bool {
    words.iter().rev().take(2).any(|word| word == "=")
}

/// bash splits words at `=`; here they are whole again.
fn joined(words: &[String]) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in words {
        match whole.last_mut() {
            Some(last) if word == "=" => {
                last.push('=');
                is_open = true;
            }
            Some(last) if is_open => {
                last.push_str(word);
                is_open = false;
            }
            Some(_) | None => whole.push(word.clone()),
        }
    }
    whole
}

/// Which names may stand where `typed` is being typed.
fn names_at(mut root: Command, before: &[String], typed: &str) -> Option<Names> {
    root.build();
    let mut command = &root;
    let mut position = 1;
    let mut value_of: Option<&Arg> = None;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        if word == "--" {
            return None;
        }
        if let Some(option) = option(command, word) {
            value_of = option.get_action().takes_values().then_some(option);
            continue;
        }
        if word.starts_with('-') {
            continue;
        }
        match command.find_subcommand(word) {
            Some(below) => command = below,
            None => position += 1,
        }
    }
    if let Some(option) = value_of {
        return names_of(option, command);
    }
    if typed.starts_with('-') {
        return None;
    }
    // The last place may be taken many times.
    let places = command.get_positionals();
    let place = places
        .filter(|place| place.get_index().is_some_and(|index| index <= position))
        .last()?;
    let is_many = place
        .get_num_args()
        .is_some_and(|count| count.max_values() > 1);
    (is_many || place.get_index() == Some(position))
        .then(|| names_of(place, command))
        .flatten()
}

/// The option that a word is; with `=` it has its value already.
fn option<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let mut options = command.get_arguments();
    if let Some(long) = word.strip_prefix("--") {
        return options.find(|option| option.get_long() == Some(long));
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    if letters.next().is_some() {
        return None;
    }
    options.find(|option| option.get_short() == Some(letter))
}

fn names_of(place: &Arg, command: &Command) -> Option<Names> {
    let id = place.get_id().as_str();
    let value = place.get_value_names().and_then(<[_]>::first);
    let value = value.map_or("", |value| value.as_str());
    match (id, value) {
        ("named_config", _) => Some(Names::RcStanzas),
        ("access", _) | (_, "PORT/PROTO") => Some(Names::Ports),
        (_, "HOST") | ("host" | "hosts", _) => Some(Names::Hosts),
        ("name", _)
            if command
                .get_bin_name()
                .is_some_and(|name| name.contains(" host ")) =>
        {
            Some(Names::Hosts)
        }
        ("name" | "name_after_role", _)
            if command
                .get_bin_name()
                .is_some_and(|name| name.contains(" member ")) =>
        {
            Some(Names::Members)
        }
        (_, "STANZA") | ("stanza", _) => Some(Names::Policies),
        (_, "USER") | ("user", _) => Some(Names::Users),
        _ => None,
    }
}

fn known(context: &Context, names: Names, (before, typed): (&[String], &str)) -> BTreeSet<String> {
    if names == Names::RcStanzas {
        let path = home().join(".fwknoprc");
        let rc = RcFile::read(&path).unwrap_or_default();
        return rc.names().map(str::to_owned).collect();
    }
    let membership = context.profile.membership_if_any().ok().flatten();
    let Some(membership) = membership else {
        return BTreeSet::new();
    };
    let directory = Directory::load(&context.profile, &membership)
        .ok()
        .flatten();
    let hosts = directory.as_ref().map(Directory::hosts).unwrap_or_default();
    let own_name = membership.name.clone();
    // Whoever types must not meet a dialog: the names of the last time will do.
    let renews = membership.renew_at_secs() <= context.now_secs;
    let seen = if membership.is_in_keyring() && renews {
        context.profile.seen_names()
    } else {
        asked::names(&context.profile, membership, context.now_secs)
    };
    match names {
        Names::Hosts => {
            let labels = hosts.iter().flat_map(|host| &host.labels);
            let labels = labels.map(|(label, value)| format!("{label}={value}"));
            let own = hosts.iter().map(|host| host.name.clone());
            let asked = seen.hosts.into_iter().chain(seen.labels);
            own.chain(labels).chain(asked).collect()
        }
        Names::Members => members(&seen.members, (before, typed)),
        Names::Policies => {
            let own = hosts.iter().map(|host| host.stanza.clone());
            own.chain(seen.stanzas).collect()
        }
        Names::Ports => {
            let named = |name: &String| before.contains(name);
            let is_named = hosts.iter().any(|host| named(&host.name));
            let meant = hosts.iter().filter(|host| !is_named || named(&host.name));
            meant.flat_map(|host| host.ports.clone()).collect()
        }
        Names::Users => seen.users.into_iter().chain([own_name]).collect(),
        Names::RcStanzas => BTreeSet::new(),
    }
}

/// Members by name, and by `ROLE/NAME` where that is being typed or the name alone does not say which.
fn members(members: &[String], (before, typed): (&[String], &str)) -> BTreeSet<String> {
    let role = before.last().and_then(|word| word.parse::<Role>().ok());
    if let Some(role) = role {
        return asked::of_role(members, role).into_iter().collect();
    }
    if typed.contains('/') {
        return members.iter().cloned().collect();
    }
    let split = || members.iter().filter_map(|member| member.split_once('/'));
    let shown = split().map(|(role, name)| {
        let twins = split().filter(|(_, other)| *other == name).count();
        if twins == 1 {
            name.to_owned()
        } else {
            format!("{role}/{name}")
        }
    });
    shown.collect()
}

/// Print the completions for a shell
///
/// In bash, zsh and fish also the names of hosts, labels, stanzas, users and members are completed. Those
/// of a user are read from the profile; for whoever manages or audits they are the controller's, which
/// is asked every five minutes at most, and not waited for longer than half a second.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Prints the script that clap makes of the command line, with lines that ask for names.
pub(crate) fn print_script(context: &Context, args: CompletionsArgs, line: &mut Command) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, line, "postern", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    context.ui.text(&with_names(args.shell, script))
}

fn with_names(shell: Shell, script: String) -> String {
    /// What is below is the end of the script when zsh loads it as a function.
    const ZSH_END: &str = "\nif [ \"$funcstack[1]\" = \"_postern\" ]";
    if shell == Shell::Bash {
        script + BASH
    } else if shell == Shell::Fish {
        script + FISH
    } else if shell == Shell::Zsh {
        match script.split_once(ZSH_END) {
            Some((words, end)) => format!("{words}{ZSH}{ZSH_END}{end}"),
            None => script,
        }
    } else {
        script
    }
}

const BASH: &str = r#"
_postern_names() {
    local names word
    names=$("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ -n $names ]]; then
        COMPREPLY=()
        while IFS= read -r word; do COMPREPLY+=("$word"); done <<< "$names"
        return 0
    fi
    _postern "$@"
}
complete -F _postern_names -o nosort -o bashdefault -o default postern 2>/dev/null ||
    complete -F _postern_names -o bashdefault -o default postern
"#;

const FISH: &str = r#"
complete -c postern -f -n 'test -n "$(postern complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)"' -a '(postern complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
"#;

const ZSH: &str = r#"
functions[_postern_words]=$functions[_postern]
_postern() {
    local -a names
    names=(${(f)"$(command postern complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#names )); then
        compadd -a names
    else
        _postern_words "$@"
    fi
}
"#;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn at(words: &str) -> Option<Names> {
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let typed = words.pop()?;
        names_at(Cli::command(), &words, &typed)
    }

    #[test]
    fn names_are_completed_where_they_stand_and_nowhere_else() {
        for (typed, names) in [
            ("knock w", Some(Names::Hosts)),
            ("knock web-1 w", Some(Names::Hosts)),
            ("knock -f 60 w", Some(Names::Hosts)),
            ("knock --profile dir w", Some(Names::Hosts)),
            ("close w", Some(Names::Hosts)),
            ("ssh w", Some(Names::Hosts)),
            ("proxy w", Some(Names::Hosts)),
            ("list role=", Some(Names::Hosts)),
            ("knock -n o", Some(Names::RcStanzas)),
            ("knock web-1 -A t", Some(Names::Ports)),
            ("audit list --host w", Some(Names::Hosts)),
            ("audit list --user a", Some(Names::Users)),
            ("audit list --stanza s", Some(Names::Policies)),
            ("host show w", Some(Names::Hosts)),
            ("host set w", Some(Names::Hosts)),
            ("who-can --host w", Some(Names::Hosts)),
            ("can a", Some(Names::Users)),
            ("can alice w", Some(Names::Hosts)),
            ("member lock a", Some(Names::Members)),
            ("member lock host w", Some(Names::Members)),
            ("kno", None),
            ("knock --f", None),
            ("knock -f 6", None),
            ("proxy web-1 2", None),
            ("run web-1 -- c", None),
            ("policy apply f", None),
        ] {
            assert_eq!(at(typed), names, "{typed}");
        }
    }

    #[test]
    fn members_are_told_apart_by_their_role_where_the_name_does_not() {
        let known = ["host/web", "user/alice", "auditor/alice"].map(str::to_owned);
        let shown = |before: &[&str], typed: &str| {
            let before: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
            let shown = members(&known, (&before, typed));
            shown.into_iter().collect::<Vec<_>>()
        };

        let both = ["auditor/alice", "user/alice", "web"];
        assert_eq!(shown(&["member", "lock"], ""), both);
        assert_eq!(shown(&["member", "lock", "user"], ""), ["alice"]);
        assert_eq!(shown(&["member", "lock"], "ho/").len(), 3);
    }

    #[test]
    fn a_word_that_bash_has_split_is_whole_again() {
        let words = ["knock", "role", "=", "we"].map(str::to_owned);

        assert_eq!(joined(&words), ["knock", "role=we"]);
        assert_eq!(joined(&["role".to_owned(), "=".to_owned()]), ["role="]);
    }
}
