//! Which hosts a stanza is for.

use std::collections::BTreeMap;
use std::fmt;

/// What is known of a host when its policy is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Its name in the fleet.
    pub name: String,
    /// Its labels, such as `role` to `web`.
    pub labels: BTreeMap<String, String>,
}

/// One HOSTS line. A stanza is for a host when one of its lines selects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `ANY`: every host.
    Any,
    /// `role=web env=prod`: hosts that carry all these labels; sorted, never empty. The label
    /// `name` is the name of the host.
    Labels(Box<[(Box<str>, Box<str>)]>),
}

/// A text that selects no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// A word without `=`, or with a character that labels do not have.
    #[error("`{0}` is not a label such as role=web")]
    NotALabel(String),
    /// One label with two values selects nothing.
    #[error("label `{0}` is given twice, so that no host can match")]
    Contradiction(String),
    /// ANY beside labels.
    #[error("ANY stands alone")]
    AnyAndLabels,
    /// Nothing at all.
    #[error("no label is given")]
    Empty,
}

// === impl Selector ===

impl Selector {
    /// Whether this line selects the host.
    #[must_use]
    pub fn selects(&self, host: &HostFacts) -> bool {
        match self {
            Self::Any => true,
            Self::Labels(labels) => labels.iter().all(|(label, value)| {
                if &**label == "name" {
                    *host.name == **value
                } else {
                    host.labels
                        .get(&**label)
                        .is_some_and(|own| **own == **value)
                }
            }),
        }
    }

    /// The name of the one host that it can select, if it names one.
    #[must_use]
    pub fn host_name(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Labels(labels) => labels
                .iter()
                .find(|(label, _)| &**label == "name")
                .map(|(_, value)| &**value),
        }
    }

    /// The name of the host, if the line says nothing else.
    pub(crate) fn only_name(&self) -> Option<&str> {
        match self {
            Self::Labels(labels) if labels.len() == 1 => self.host_name(),
            Self::Any | Self::Labels(_) => None,
        }
    }

    /// Reads a HOSTS value.
    ///
    /// # Errors
    ///
    /// [`InvalidSelector`] says what is wrong with the first wrong word.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        let mut any = false;
        for word in text.split_whitespace() {
            if word.eq_ignore_ascii_case("ANY") {
                any = true;
                continue;
            }
            let not_a_label = || InvalidSelector::NotALabel(crate::network::shortened(word));
            let (label, value) = word.split_once('=').ok_or_else(not_a_label)?;
            if !is_label_text(label) || !is_label_text(value) {
                return Err(not_a_label());
            }
            if labels.insert(label, value).is_some_and(|old| old != value) {
                return Err(InvalidSelector::Contradiction(label.to_owned()));
            }
        }
        match (any, labels.is_empty()) {
            (true, true) => Ok(Self::Any),
            (true, false) => Err(InvalidSelector::AnyAndLabels),
            (false, true) => Err(InvalidSelector::Empty),
            (false, false) => Ok(Self::Labels(
                labels
                    .into_iter()
                    .map(|(label, value)| (label.into(), value.into()))
                    .collect(),
            )),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("ANY"),
            Self::Labels(labels) => {
                for (index, (label, value)) in labels.iter().enumerate() {
                    let gap = if index > 0 { " " } else { "" };
                    write!(f, "{gap}{label}={value}")?;
                }
                Ok(())
            }
        }
    }
}

/// Letters, digits and `. _ - : / + @`.
fn is_label_text(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-:/+@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> HostFacts {
        HostFacts {
            name: "web-1".to_owned(),
            labels: [("role", "web"), ("env", "prod")]
                .map(|(label, value)| (label.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn selects(text: &str) -> bool {
        Selector::parse(text).unwrap().selects(&web())
    }

    #[test]
    fn all_labels_of_a_line_must_match() {
        assert!(selects("role=web env=prod"));
        assert!(!selects("role=web env=test"));
        assert!(!selects("role=web zone=a"));
    }

    #[test]
    fn a_host_is_selected_by_its_name() {
        assert!(selects("name=web-1"));
        assert!(!selects("name=web-2"));
        assert!(!selects("name=web-1 role=db"));
    }

    #[test]
    fn any_selects_every_host() {
        assert!(selects("ANY"));
    }

    #[test]
    fn what_selects_nothing_is_refused() {
        for text in [
            "",
            "role",
            "role=",
            "=web",
            "ANY role=web",
            "role=web role=db",
            "role=w,b",
        ] {
            assert!(Selector::parse(text).is_err(), "{text:?}");
        }
    }
}
