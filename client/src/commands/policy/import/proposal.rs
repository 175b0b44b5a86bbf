//! What many policies of single hosts say as one policy of a fleet. Pure: texts in, text out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use policy::{Policy, PortSet, Secrets, Selector, Stanza};

/// A policy that is proposed.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) stanzas: Vec<Proposed>,
    /// So many stanzas stand in the files.
    pub(super) before: usize,
    /// What whoever applies it should know.
    pub(super) warnings: Vec<String>,
    groups: BTreeMap<String, String>,
    all_hosts: usize,
}

/// One stanza of it.
#[derive(Debug)]
pub(super) struct Proposed {
    pub(super) name: String,
    pub(super) hosts: Vec<String>,
    /// Where it stands in the files.
    pub(super) places: Vec<String>,
    stanza: Stanza,
}

/// Users that occur together in so many stanzas are a group.
const GROUP_STANZAS: usize = 2;
/// One user is none.
const GROUP_USERS: usize = 2;

// === impl Proposal ===

impl Proposal {
    pub(super) fn of(policies: &BTreeMap<String, Policy>) -> Self {
        let mut stanzas: Vec<Proposed> = Vec::new();
        let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
        let mut before = 0;
        for (host, policy) in policies {
            for (position, stanza) in policy.stanzas.iter().enumerate() {
                before += 1;
                let place = policy.origin(position).map_or_else(
                    || host.clone(),
                    |place| format!("{host} {}:{}", place.file, place.line),
                );
                let bare = bare(stanza, policy);
                let text = bare.print(Secrets::Show);
                let at = *by_text.entry(text).or_insert_with(|| {
                    stanzas.push(Proposed {
                        name: stanza.name.as_deref().unwrap_or_default().to_owned(),
                        hosts: Vec::new(),
                        places: Vec::new(),
                        stanza: bare,
                    });
                    stanzas.len() - 1
                });
                if let Some(proposed) = stanzas.get_mut(at) {
                    if !proposed.hosts.contains(host) {
                        proposed.hosts.push(host.clone());
                    }
                    proposed.places.push(place);
                }
            }
        }
        name_all(&mut stanzas);
        let mut warnings = shared_keys(&stanzas);
        warnings.extend(policies.iter().flat_map(readings));
        Self {
            groups: groups(&stanzas),
            warnings,
            all_hosts: policies.len(),
            stanzas,
            before,
        }
    }

    /// The policy, with the keys.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "# Proposed by `postern policy import` from the files of {} hosts: {} stanzas of {}.\n\
             # A HOSTS line of labels (role=web) in the place of several names holds for hosts to come, too.\n\
             # Messages that ask for NAT (-N of clients) are for stanzas with a NAT_ACCESS line only.\n",
            self.all_hosts,
            self.stanzas.len(),
            self.before
        );
        for warning in &self.warnings {
            let _ = writeln!(text, "# {warning}");
        }
        text.push('\n');
        for (users, group) in &self.groups {
            let _ = writeln!(text, "%group {group} {users}");
        }
        for proposed in &self.stanzas {
            text.push('\n');
            for place in &proposed.places {
                let _ = writeln!(text, "# {place}");
            }
            text.push_str(&self.printed(proposed));
        }
        text
    }

    fn printed(&self, proposed: &Proposed) -> String {
        let selector = |host: &String| Selector::parse(&format!("name={host}")).ok();
        let stanza = Stanza {
            name: Some(proposed.name.as_str().into()),
            hosts: proposed.hosts.iter().filter_map(selector).collect(),
            ..proposed.stanza.clone()
        };
        let text = stanza.print(Secrets::Show);
        let lines = text.lines().map(|line| self.with_group(line) + "\n");
        lines.collect()
    }

    /// The line, with a group in the place of its users.
    fn with_group(&self, line: &str) -> String {
        let value = line.strip_prefix("REQUIRE_USERNAME");
        let group = value.and_then(|users| self.groups.get(users.trim()));
        match (group, value) {
            (Some(group), Some(users)) => {
                let blanks = users.len() - users.trim_start().len();
                format!("REQUIRE_USERNAME{}@{group}", " ".repeat(blanks))
            }
            (Some(_) | None, _) => line.to_owned(),
        }
    }
}

/// How lines of a host's files were read that somebody else may read otherwise.
fn readings((host, policy): (&String, &Policy)) -> impl Iterator<Item = String> {
    let read = policy.warnings.iter().chain(&policy.notes);
    read.map(move |read| format!("{host} {read}").replace('\n', " "))
}

/// What a stanza says, whatever it is called and wherever it stands; with what its policy hides
/// before its first stanza, which in a policy of the fleet would hold for every host.
fn bare(stanza: &Stanza, policy: &Policy) -> Stanza {
    let ports = stanza.protect.iter().chain(policy.protect.iter());
    let ports: BTreeSet<String> = ports.map(|port| port.to_string()).collect();
    let ports: Vec<String> = ports.into_iter().collect();
    let protect = PortSet::parse(&ports.join(",")).unwrap_or_default();
    Stanza {
        number: 0,
        name: None,
        hosts: Box::default(),
        protect,
        ..stanza.clone()
    }
}

/// Each has a name, and no two have one.
fn name_all(stanzas: &mut [Proposed]) {
    let mut taken = BTreeSet::new();
    for proposed in stanzas {
        let wish = if proposed.name.is_empty() {
            match proposed.hosts.as_slice() {
                [host] => host.clone(),
                _ => "shared".to_owned(),
            }
        } else {
            proposed.name.clone()
        };
        let numbered = (2..).map(|number| format!("{wish}-{number}"));
        let mut names = [wish.clone()].into_iter().chain(numbered);
        proposed.name = names.find(|name| !taken.contains(name)).unwrap_or(wish);
        taken.insert(proposed.name.clone());
    }
}

fn users(stanza: &Stanza) -> String {
    stanza
        .require_username
        .iter()
        .collect::<Vec<_>>()
        .join(", ")
}

/// Names of groups, by their users as a line has them.
fn groups(stanzas: &[Proposed]) -> BTreeMap<String, String> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for proposed in stanzas {
        if proposed.stanza.require_username.iter().len() >= GROUP_USERS {
            *count.entry(users(&proposed.stanza)).or_default() += 1;
        }
    }
    let often = count
        .into_iter()
        .filter(|(_, times)| *times >= GROUP_STANZAS);
    let numbered = often.enumerate();
    numbered
        .map(|(index, (users, _))| (users, format!("users-{}", index + 1)))
        .collect()
}

/// Keys that are good on several hosts, which whoever has one of these hosts can use on the others;
/// and those that are good for different things.
fn shared_keys(stanzas: &[Proposed]) -> Vec<String> {
    let mut by_key: BTreeMap<String, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for proposed in stanzas {
        for keys in proposed.stanza.static_keys() {
            let (hosts, names) = by_key.entry(keys.fingerprint().to_string()).or_default();
            hosts.extend(proposed.hosts.iter().map(String::as_str));
            names.insert(&proposed.name);
        }
    }
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    let mut warnings = Vec::new();
    for (key, (hosts, names)) in &by_key {
        if hosts.len() > 1 {
            warnings.push(format!(
                "key {key} is good on {} hosts ({}): whoever takes it from one of them has all; without KEY, \
                 every user has keys of her own with every host",
                hosts.len(),
                list(hosts)
            ));
        }
        if names.len() > 1 {
            warnings.push(format!(
                "key {key} stands in stanzas that say different things: {}",
                list(names)
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use policy::{Dialect, NoIncludes};

    use super::*;

    const KEYS: &str = "KEY one\nHMAC_KEY two\n";

    fn proposal(files: &[(&str, &str)]) -> Proposal {
        let policies = files.iter().map(|(host, text)| {
            let policy = policy::parse_as(Dialect::Alone, host, text, &NoIncludes).unwrap();
            ((*host).to_owned(), policy)
        });
        Proposal::of(&policies.collect())
    }

    fn fleet(proposal: &Proposal) -> Policy {
        policy::parse("proposal", &proposal.text(), &NoIncludes).unwrap()
    }

    #[test]
    fn what_several_hosts_say_alike_becomes_one_stanza_for_these_hosts_and_no_others() {
        let same = format!("SOURCE ANY\n{KEYS}OPEN_PORTS tcp/22\n");
        let own = format!("{same}\nSOURCE 192.0.2.0/24\nKEY three\nOPEN_PORTS tcp/80\n");

        let proposal = proposal(&[
            ("a", &same),
            ("b", &own),
            ("c", &same.replace("two", "2wo")),
        ]);

        let stanzas: Vec<_> = proposal
            .stanzas
            .iter()
            .map(|s| (&*s.name, s.hosts.join(" ")))
            .collect();
        let expected = [
            ("shared", "a b".to_owned()),
            ("b", "b".to_owned()),
            ("c", "c".to_owned()),
        ];
        assert_eq!(stanzas, expected);
        assert_eq!(proposal.before, 4);
        let hosts: Vec<_> = fleet(&proposal)
            .stanzas
            .iter()
            .map(|s| s.hosts.len())
            .collect();
        assert_eq!(hosts, [2, 1, 1]);
    }

    #[test]
    fn users_that_occur_together_in_several_stanzas_are_a_group() {
        let text = format!(
            "SOURCE ANY\n{KEYS}REQUIRE_USERNAME alice, bob\nOPEN_PORTS tcp/22\n\n\
             SOURCE ANY\n{KEYS}REQUIRE_USERNAME alice, bob\nOPEN_PORTS tcp/80\n"
        );

        let proposal = proposal(&[("a", &text)]);

        assert!(proposal.text().contains("%group users-1 alice, bob\n"));
        let fleet = fleet(&proposal);
        for stanza in &fleet.stanzas {
            assert_eq!(users(stanza), "alice, bob");
        }
        assert_eq!(proposal.text().matches("@users-1").count(), 2);
    }

    #[test]
    fn a_key_that_is_good_on_several_hosts_or_for_several_things_is_told_by_its_fingerprint() {
        let ssh = format!("SOURCE ANY\n{KEYS}OPEN_PORTS tcp/22\n");
        let web = format!("SOURCE ANY\n{KEYS}OPEN_PORTS tcp/80\n");

        let warnings = proposal(&[("a", &ssh), ("b", &web)]).warnings.join("\n");

        assert!(warnings.contains("is good on 2 hosts (a, b)"), "{warnings}");
        assert!(
            warnings.contains("say different things: a, b"),
            "{warnings}"
        );
        assert!(!warnings.contains("one\n"));
        assert!(proposal(&[("a", &ssh)]).warnings.is_empty());
    }

    #[test]
    fn what_a_line_was_read_as_is_told_with_its_host_and_line_and_no_key() {
        let text = format!(
            "SOURCE 192.0.2.7/24\n{KEYS}KEY three\nREQUIRE_USERNAME root bob\nOPEN_PORTS tcp/22\n\
             FW_ACCESS_TIMEOUT 9999\nACCESS_EXPIRE 06/30/27 23:59:59\n"
        );

        let proposal = proposal(&[("a", &text)]);

        let text = proposal.text();
        // `date -u -d 2027-06-30 +%s`
        for told in [
            "a a:1: SOURCE: ",
            "a a:4: KEY: ",
            "a a:5: REQUIRE_USERNAME: ",
            "a a:7: FW_ACCESS_TIMEOUT: ",
            "a a:8: ACCESS_EXPIRE: the time",
            "a a:8: ACCESS_EXPIRE: access ends at 2027-06-30 00:00:00 +00:00, which is second 1814313600",
        ] {
            let found = proposal.warnings.iter().any(|line| line.starts_with(told));
            assert!(
                found && text.contains(&format!("# {told}")),
                "{told}\n{text}"
            );
        }
        assert!(proposal.warnings.iter().all(|line| !line.contains("three")));
        fleet(&proposal);
    }

    #[test]
    fn what_one_host_hides_is_hidden_on_that_host_alone() {
        let text = format!("SOURCE ANY\n{KEYS}OPEN_PORTS tcp/22\n");
        let hides = format!("PROTECT tcp/22\n{text}");

        let proposal = proposal(&[("a", &hides), ("b", &text)]);

        assert_eq!(proposal.stanzas.len(), 2);
        let fleet = fleet(&proposal);
        assert!(fleet.protect.is_empty());
        let hidden = fleet
            .stanzas
            .iter()
            .filter(|stanza| !stanza.protect.is_empty());
        assert_eq!(hidden.count(), 1);
    }
}
