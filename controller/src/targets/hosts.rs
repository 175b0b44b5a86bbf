//! What single hosts should have when only they have changed: who has joined, has other labels, or may do nothing any
//! more. What that costs does not depend on how many others there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::texts::Selected;
use super::{Compiled, Target, Targets};
use crate::store::model::Member;

/// What hosts should have now.
#[derive(Debug, Default)]
pub(crate) struct Retargeted {
    /// `None` of those who should have nothing.
    hosts: Vec<(String, Option<Target>)>,
    /// Texts that nobody had, by their selections.
    texts: HashMap<[u8; 32], Arc<Compiled>>,
}

// === impl Targets ===

impl Targets {
    /// What these hosts should have by the policy, and for the users, of which this was compiled; `None` in the place of
    /// one that should have nothing. A host whose text is as it was keeps its generation.
    pub(crate) fn of_hosts(
        &self,
        generation: u64,
        hosts: Vec<(String, Option<Arc<Member>>)>,
    ) -> Retargeted {
        let mut retargeted = Retargeted::default();
        for (name, host) in hosts {
            let target = host.map(|host| {
                let compiled = match self.texts.select(&host) {
                    Selected::Known(compiled) => compiled,
                    Selected::New(key, selection) => {
                        let texts = retargeted.texts.entry(key);
                        Arc::clone(texts.or_insert_with(|| self.texts.compile(&selection)))
                    }
                };
                let known = self.get(&name);
                let known = known.filter(|known| known.compiled.digest == compiled.digest);
                Target {
                    generation: known.map_or(generation, |known| known.generation),
                    compiled,
                }
            });
            retargeted.hosts.push((name, target));
        }
        retargeted
    }

    /// Takes what hosts should have now. Those whose text is another than it was, or that had none.
    pub(crate) fn take(&mut self, retargeted: Retargeted) -> Vec<String> {
        let Retargeted { hosts, texts } = retargeted;
        if !texts.is_empty() {
            Arc::make_mut(&mut self.texts).add(texts);
        }
        let mut others = Vec::new();
        for (name, target) in hosts {
            let was = self.by_host.remove(name.as_str());
            if let Some(was) = &was {
                self.sharing.remove(&name, &was.compiled);
            }
            let Some(target) = target else { continue };
            let host: Arc<str> = name.as_str().into();
            self.sharing.add(&host, &target.compiled);
            if was.is_none_or(|was| was.compiled.digest != target.compiled.digest) {
                others.push(name);
            }
            self.by_host.insert(host, target);
        }
        others
    }
}
