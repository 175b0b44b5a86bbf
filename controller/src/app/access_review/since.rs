//! Since when somebody has a right: the first of the generations, one after the other, that gave it.

use std::collections::{BTreeMap, BTreeSet};

use policy::{Holder, Question, Right};

use crate::app::policy::{stored_policy, stored_text};
use crate::app::who_can::Estate;
use crate::context::Context;
use crate::error::Error;
use crate::store::model::Generation;

/// Generations that are looked at: each is parsed and judged.
const GENERATIONS_MAX: usize = 100;

/// What makes two rights the same in two generations.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct RightKey {
    holder: Holder,
    host: String,
    stanza: String,
    ports: String,
}

/// Which generation gave what.
#[derive(Debug, Default)]
pub(super) struct Origins {
    of: BTreeMap<RightKey, Generation>,
    /// Those whose first generation was not found.
    earlier: BTreeSet<RightKey>,
}

// === impl RightKey ===

impl RightKey {
    pub(super) fn of(host: &str, right: &Right, stanza: String) -> Self {
        Self {
            holder: right.holder.clone(),
            host: host.to_owned(),
            stanza,
            ports: right.ports.to_string(),
        }
    }
}

// === impl Origins ===

impl Origins {
    /// Goes back from the generation in force then, until every right has its first generation.
    pub(super) async fn find(
        context: &Context,
        estate: &Estate,
        mut open: BTreeSet<RightKey>,
    ) -> Result<Self, Error> {
        let mut origins = Self::default();
        let history = context.store.policy_history(u32::MAX).await?;
        let mut history: Vec<Generation> = history
            .into_iter()
            .filter(|known| known.generation <= estate.generation)
            .collect();
        history.sort_by_key(|known| std::cmp::Reverse(known.generation));
        for (at, known) in history.into_iter().enumerate() {
            if open.is_empty() {
                break;
            }
            if at > 0 {
                if at >= GENERATIONS_MAX {
                    origins.earlier = open;
                    break;
                }
                let given = given(context, estate, known.generation).await?;
                open.retain(|key| given.contains(key));
            }
            for key in &open {
                origins.of.insert(key.clone(), known.clone());
            }
        }
        Ok(origins)
    }

    /// Who gave it, and whether that is older.
    pub(super) fn of(&self, key: &RightKey) -> (Generation, bool) {
        let given = self.of.get(key).cloned().unwrap_or_default();
        (given, self.earlier.contains(key))
    }
}

/// What a generation gave, on the hosts and to the users of the review.
async fn given(
    context: &Context,
    estate: &Estate,
    generation: u64,
) -> Result<BTreeSet<RightKey>, Error> {
    let text = stored_text(context, generation).await?;
    let (_, policy) = stored_policy(context, generation, &text).await?;
    let question = Question {
        user: None,
        ports: None,
        source: None,
        now_secs: estate.at.secs(),
    };
    let asked = policy.ask(&estate.users, &question);
    let mut given = BTreeSet::new();
    for facts in &estate.hosts {
        for right in asked.on(facts) {
            let stanza = policy.stanzas.get(right.stanza);
            let stanza = stanza.map(policy::Stanza::label).unwrap_or_default();
            given.insert(RightKey::of(&facts.name, &right, stanza));
        }
    }
    Ok(given)
}
