//! What there is of authorities, and who has not heard of the newest.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{in_force, read, server_of};
use crate::ca::authorities::{InForce, der};
use crate::ca::kept::Kept;
use crate::ca::rotation::{BELIEVED_AFTER_SECS, STEPS_MAX, Stage};
use crate::clock;
use crate::data_dir::DataDir;
use crate::start::directory::open_beside;
use crate::start::error::StartError;
use crate::store::model::{Member, MemberKey};
use crate::timestamp::Timestamp;

/// What there is. The names are part of the interface.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AuthorityStatus {
    /// `none`, `announced` or `issuing`.
    pub stage: &'static str,
    /// Since when, RFC 3339.
    pub stage_since: String,
    /// The one that issues first.
    pub authorities: Vec<AuthorityLine>,
    /// The public key that signs directories, hexadecimal; empty before the first start that makes one.
    pub directory_key: String,
    /// Since when, RFC 3339.
    pub directory_key_since: String,
    /// When the controller's own certificate ends, RFC 3339.
    pub server_certificate_ends: String,
    /// Who does not know the newest authority yet.
    pub waits_for: Vec<Waiting>,
}

/// One authority.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AuthorityLine {
    /// `current`, `next`, `former` or `gone`.
    pub state: &'static str,
    /// SHA-256 of its certificate, hexadecimal: what tokens name.
    pub sha256: String,
    /// When it ends, RFC 3339.
    pub ends: String,
    /// Since when it is what it is, RFC 3339.
    pub since: String,
}

/// One key of a member that does not know the newest authority.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Waiting {
    /// `host`, `user` ...
    pub role: String,
    /// Of the member.
    pub name: String,
    /// Of its key.
    pub key: String,
    /// When it was last heard of, RFC 3339: of a host its session, of others what they renewed.
    pub last_seen: String,
    /// When it was last given a certificate, RFC 3339.
    pub last_renewed: String,
    /// Whose certificate that is: `current`, `former` ... with its SHA-256, hexadecimal; `unknown` where that was
    /// not noted.
    pub certificate_of: String,
    /// Its program has never said that it can learn of another authority: it may be too old for that.
    pub may_be_too_old: bool,
}

/// What there is in a directory, whether its controller runs or not.
///
/// # Errors
///
/// [`StartError`], when the directory or the database cannot be read.
pub async fn ca_status(data: &Path) -> Result<AuthorityStatus, StartError> {
    let dir = DataDir::open(data)?;
    let store = open_beside(data)?;
    let members = store.members().await?;
    let kept = read(&dir, &store).await;
    let (_, hosts) = store.hosts().await?;
    store.close().await;
    let mut status = status(&dir, kept?.as_ref(), &members, clock::now())?;
    let seen = |waiting: &Waiting| {
        let is_it = |member: &&Member| {
            member.role == fleet::Role::Host
                && waiting.role == "host"
                && member.name == waiting.name
        };
        let host = members.iter().find(is_it)?;
        Some(hosts.get(&host.id)?.last_seen_ms)
    };
    status.waits_for = status
        .waits_for
        .into_iter()
        .map(|waiting| {
            let at_ms = seen(&waiting);
            waiting.seen(at_ms)
        })
        .collect();
    Ok(status)
}

pub(super) fn status(
    dir: &DataDir,
    kept: Option<&Kept>,
    members: &[Member],
    now: Timestamp,
) -> Result<AuthorityStatus, StartError> {
    let server = server_of(dir)?;
    let server = server.and_then(|server| server.expires_secs());
    let server = server.unwrap_or(0);
    let Some(kept) = kept else {
        let ca = dir.identity("ca")?;
        let sha256 = fingerprint(&ca.certificate_pem)?;
        let ends = rfc3339(ca.expires_secs().unwrap_or(0));
        let since = rfc3339(ca.begins_secs().unwrap_or(0));
        return Ok(AuthorityStatus {
            stage: Stage::None.as_str(),
            stage_since: since.clone(),
            authorities: vec![AuthorityLine {
                state: "current",
                sha256,
                ends,
                since,
            }],
            directory_key: String::new(),
            directory_key_since: String::new(),
            server_certificate_ends: rfc3339(server),
            waits_for: Vec::new(),
        });
    };
    let works = in_force(kept, now)?;
    let (stage, since) = works.stage();
    let newest = works.newest().fingerprint();
    let waits = waiting(members, &newest);
    let authorities = lines(kept)?;
    Ok(AuthorityStatus {
        stage: stage.as_str(),
        stage_since: rfc3339(since),
        directory_key: hex::encode(works.sign_directory(b"").1),
        directory_key_since: rfc3339(kept.directory.since_secs),
        server_certificate_ends: rfc3339(server),
        waits_for: waits
            .map(|(member, key)| Waiting::of(member, key).among(&authorities))
            .collect(),
        authorities,
    })
}

/// Keys that may do something and whose programs do not know this authority.
pub(crate) fn waiting<'a>(
    members: &'a [Member],
    newest: &'a [u8; 32],
) -> impl Iterator<Item = (&'a Member, &'a MemberKey)> {
    programs(members).filter(|(member, key)| {
        let mut keys = of_program(member, key);
        !keys.any(|key| key.knows.kept.contains(newest))
    })
}

/// One key for each program that may do something. A key and the one that is to follow it are in one: what that
/// knows, it knows by either, also where the next one never came, or nobody ends the one before.
fn programs(members: &[Member]) -> impl Iterator<Item = (&Member, &MemberKey)> {
    let keys = members
        .iter()
        .flat_map(|member| member.active_keys().map(move |key| (member, key)));
    keys.filter(|(member, key)| {
        let followed = key.follows.and_then(|id| member.key(id));
        followed.is_none_or(|followed| followed.lock.is_some())
    })
}

fn of_program<'a>(member: &'a Member, key: &'a MemberKey) -> impl Iterator<Item = &'a MemberKey> {
    let id = key.id;
    let is_in = move |it: &&MemberKey| it.id == id || it.follows == Some(id);
    member.active_keys().filter(is_in)
}

/// Who would be left behind by one authority more, because the way to it would be too long for the one that the
/// key knows; without those who have been left behind before.
pub(super) fn too_far(members: &[Member], kept: &Kept) -> Result<Vec<Waiting>, StartError> {
    let known: Result<Vec<[u8; 32]>, StartError> = kept
        .in_order()
        .into_iter()
        .map(|pem| Ok(Sha256::digest(der(pem)?).into()))
        .collect();
    let known = known?;
    // Who knows the one at this place, or a later one, can follow.
    let nearest = (known.len() + 1).saturating_sub(STEPS_MAX + 1);
    let newest_of = |member: &Member, key: &MemberKey| {
        let keys = of_program(member, key);
        let knows = keys.flat_map(|key| key.knows.kept.iter().chain(&key.knows.issuer));
        let places = knows.filter_map(|knows| known.iter().position(|it| it == knows));
        places.max()
    };
    let far = programs(members)
        .filter(|(member, key)| newest_of(member, key).is_some_and(|place| place < nearest));
    Ok(far.map(|(member, key)| Waiting::of(member, key)).collect())
}

/// Who would have to join anew if only this authority counted, and nobody vouched for it.
pub(super) fn would_join_anew(members: &[Member], in_force: &InForce) -> Vec<Waiting> {
    let newest = in_force.current().fingerprint();
    let waiting = waiting(members, &newest);
    waiting
        .map(|(member, key)| Waiting::of(member, key))
        .collect()
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn of(member: &Member, key: &MemberKey) -> Self {
        Self {
            role: member.role.to_string(),
            name: member.name.clone(),
            key: key.name.clone(),
            last_seen: rfc3339(key.renewed_at_ms / 1000),
            last_renewed: rfc3339(key.renewed_at_ms / 1000),
            certificate_of: key
                .knows
                .issuer
                .map_or_else(|| "unknown".to_owned(), hex::encode),
            may_be_too_old: key.knows.kept.is_empty(),
        }
    }

    /// The same with the place of the authority of its certificate.
    fn among(self, authorities: &[AuthorityLine]) -> Self {
        let line = authorities
            .iter()
            .find(|it| it.sha256 == self.certificate_of);
        let certificate_of = match line {
            Some(line) => format!("{} {}", line.state, line.sha256),
            None => self.certificate_of,
        };
        Self {
            certificate_of,
            ..self
        }
    }

    /// The same with when its host was last connected.
    fn seen(self, at_ms: Option<u64>) -> Self {
        let seen = rfc3339(at_ms.unwrap_or(0) / 1000);
        // RFC 3339 of one form is ordered as text.
        let last_seen = self.last_seen.max(seen);
        Self { last_seen, ..self }
    }
}

fn lines(kept: &Kept) -> Result<Vec<AuthorityLine>, StartError> {
    let with_key = [
        ("current", Some(&kept.current)),
        ("next", kept.next.as_ref()),
        ("former", kept.former.as_ref()),
    ];
    let with_key = with_key
        .into_iter()
        .filter_map(|(state, it)| it.map(|it| (state, it.certificate.as_str(), it.since_secs)));
    let gone = kept.gone.iter();
    let gone = gone.map(|it| ("gone", it.certificate.as_str(), it.since_secs));
    let all = with_key.chain(gone).map(|(state, certificate, since)| {
        Ok(AuthorityLine {
            state,
            sha256: fingerprint(certificate)?,
            ends: rfc3339(ends(certificate, (state, since))),
            since: rfc3339(since),
        })
    });
    all.collect()
}

/// When members believe it no more.
fn ends(certificate: &str, (state, since): (&str, u64)) -> u64 {
    let credentials = crate::ca::Credentials {
        certificate_pem: certificate.to_owned(),
        key_pem: String::new(),
    };
    let end = credentials.expires_secs().unwrap_or(0);
    if state == "gone" {
        end.min(since.saturating_add(BELIEVED_AFTER_SECS))
    } else {
        end
    }
}

fn fingerprint(pem: &str) -> Result<String, StartError> {
    Ok(hex::encode(Sha256::digest(der(pem)?)))
}

fn rfc3339(secs: u64) -> String {
    Timestamp::from_ms(secs.saturating_mul(1000)).to_string()
}

#[cfg(test)]
mod tests {
    use fleet::Role;

    use super::*;
    use crate::store::fixture;

    #[test]
    fn a_next_key_that_never_came_holds_up_no_rotation_and_one_program_is_waited_for_once() {
        let newest = [9; 32];
        let mut alice = fixture::member(Role::User, "alice");
        let mut next = alice.keys.first().unwrap().clone();
        (next.id, next.follows) = (2, Some(1));
        next.name = "default (next)".to_owned();
        alice.keys.push(next);
        let waits = |alice: &Member| {
            let members = std::slice::from_ref(alice);
            let names: Vec<_> = waiting(members, &newest).map(|(_, key)| key.id).collect();
            names
        };

        assert_eq!(waits(&alice), [1]);
        for knows in 0..2 {
            let mut alice = alice.clone();
            alice.keys.get_mut(knows).unwrap().knows.kept.push(newest);
            assert_eq!(waits(&alice), [0; 0]);
        }
    }
}
