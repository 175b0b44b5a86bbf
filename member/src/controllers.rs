//! Where the fleet's controllers are reached, as one of them has said last: kept beside the membership, so that a
//! controller that was added later is known, too. Each proves itself as the first one does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fleet::controllers_of;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::error::FilesError;
use crate::files::{self, ControllersFile};
use crate::tls;

/// Who has not answered after this long is waited for no longer alone: the next is asked, too.
const PATIENCE: Duration = Duration::from_millis(300);
/// For how long somebody who answers is waited for in all.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(5);

/// The addresses that were said, shared by all who are one member; empty where none were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told(Arc<ArcSwap<Vec<String>>>);

// === impl Told ===

impl Told {
    pub(crate) fn new(said: &[String]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(controllers_of(said))))
    }

    /// What is kept in `dir`, where it is about the membership with this CA. Nothing depends on it but where is
    /// dialled: what cannot be read is as if it had never been said.
    pub(crate) fn load(dir: &Path, ca: &CertificateDer<'static>) -> Self {
        let kept = files::load::<ControllersFile>(dir).unwrap_or_else(|error| {
            tracing::warn!(error = %program::one_line(&error), "where the fleet's controllers are is not known any more");
            None
        });
        let kept = kept.filter(|kept| *kept.membership.0 == tls::fingerprint(ca));
        Self::new(&kept.map(|kept| kept.controllers).unwrap_or_default())
    }

    pub(crate) fn get(&self) -> Arc<Vec<String>> {
        self.0.load_full()
    }

    /// Keeps what is said, if that is something else than before and anything at all; whether it was.
    pub(crate) fn hear(
        &self,
        said: &[String],
        (dir, ca): (&Path, &CertificateDer<'static>),
    ) -> Result<bool, FilesError> {
        let said = controllers_of(said);
        if said.is_empty() || said == *self.get() {
            return Ok(false);
        }
        self.0.store(Arc::new(said));
        self.save((dir, ca))?;
        Ok(true)
    }

    /// Keeps it for the membership with this CA.
    pub(crate) fn save(
        &self,
        (dir, ca): (&Path, &CertificateDer<'static>),
    ) -> Result<(), FilesError> {
        let said = self.get();
        if said.is_empty() {
            return files::remove::<ControllersFile>(dir);
        }
        files::save(dir, &ControllersFile::new(&tls::fingerprint(ca), &said))
    }
}

/// These addresses in this member's own order, which is the same whenever it is asked: by a digest of both names. So
/// members are spread over all controllers, those of one that has ended over all that are left, and one that is
/// added takes its share of each.
pub(crate) fn spread(mut addresses: Vec<String>, member: &str) -> Vec<String> {
    addresses.sort_by_cached_key(|address| {
        let names = [member.as_bytes(), &[0], address.as_bytes()].concat();
        Sha256::digest(names)
    });
    addresses
}

/// These addresses, with the one first that takes a connection now. The first is asked alone, and each of the others once nothing
/// was heard for [`PATIENCE`] or somebody has refused.
pub(crate) async fn by_answer(addresses: Vec<String>) -> Vec<String> {
    if addresses.len() < 2 {
        return addresses;
    }
    let mut asked = JoinSet::new();
    let left = addresses.clone();
    let first = async {
        for address in left {
            asked.spawn(async move {
                let connected = TcpStream::connect(address.as_str()).await;
                connected.ok().map(|_| address)
            });
            let next = tokio::time::timeout(PATIENCE, asked.join_next()).await;
            if let Ok(Some(Ok(Some(answered)))) = next {
                return Some(answered);
            }
        }
        while let Some(next) = asked.join_next().await {
            if let Ok(Some(answered)) = next {
                return Some(answered);
            }
        }
        None
    };
    let first = tokio::time::timeout(PATIENCE_IN_ALL, first).await;
    let mut ordered = addresses;
    if let Ok(Some(answered)) = first {
        ordered.retain(|address| *address != answered);
        ordered.insert(0, answered);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// How many of a thousand members have each of these first.
    fn shares(said: &[String], members: impl Fn(&str) -> bool) -> Vec<usize> {
        let firsts: Vec<String> = (0..1_000)
            .map(|number| format!("host/web-{number}"))
            .filter(|member| members(member))
            .map(|member| spread(said.to_vec(), &member).remove(0))
            .collect();
        let share = |address: &String| firsts.iter().filter(|first| *first == address).count();
        said.iter().map(share).collect()
    }

    #[test]
    fn members_begin_at_different_controllers_and_each_always_at_the_same() {
        let said = names(&["a:1", "b:1", "c:1"]);
        let backwards = names(&["c:1", "b:1", "a:1"]);

        let shares = shares(&said, |_| true);
        assert!(
            shares.iter().all(|share| (280..390).contains(share)),
            "{shares:?}"
        );
        assert_eq!(spread(said, "host/web-1"), spread(backwards, "host/web-1"));
    }

    #[test]
    fn those_of_a_controller_that_has_ended_go_to_all_that_are_left_and_nobody_else_moves() {
        let said = names(&["a:1", "b:1", "c:1"]);
        let left = names(&["b:1", "c:1"]);
        let began_at_a = |member: &str| spread(said.clone(), member)[0] == "a:1";

        let moved = shares(&left, began_at_a);
        assert!(moved.iter().all(|share| *share > 120), "{moved:?}");
        for number in 0..1_000 {
            let member = format!("host/web-{number}");
            let before = spread(said.clone(), &member);
            if !began_at_a(&member) {
                assert_eq!(before[0], spread(left.clone(), &member)[0]);
            }
        }
    }

    #[tokio::test]
    async fn who_refuses_or_is_silent_is_overtaken_by_who_answers() {
        let listens = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listens.local_addr().unwrap().to_string();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = gone.local_addr().unwrap().to_string();
        drop(gone);

        let ordered = by_answer(vec![refuses.clone(), answers.clone()]).await;

        assert_eq!(ordered, [answers, refuses]);
    }
}
