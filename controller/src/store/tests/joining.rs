//! Who joins in sets and who joins one by one comes to the same.

use super::sets::{in_a_set, one_by_one};
use super::*;
use crate::store::fixture::Random;
use crate::store::model::{Invitation, Joining, NewMember};

/// Tokens for hosts and users, with a name and without, to replace somebody or not.
fn invited(random: &mut Random, number: u64) -> Invitation {
    let role = if random.is_one_in(4) {
        Role::User
    } else {
        Role::Host
    };
    let is_named = random.is_one_in(2);
    Invitation {
        id: format!("{number:012x}"),
        name: if is_named {
            name(random)
        } else {
            String::new()
        },
        key_name: if role == Role::User && random.is_one_in(2) {
            "laptop".to_owned()
        } else {
            String::new()
        },
        replaces: is_named && random.is_one_in(4),
        expires_at_secs: NOW_MS / 1000 + if random.is_one_in(8) { 0 } else { 3_600 },
        ..invitation(role)
    }
}

fn name(random: &mut Random) -> String {
    format!("web-{}", random.below(40))
}

fn joining(random: &mut Random, number: u64, invitation: &Invitation) -> Joining {
    let mut member = NewMember {
        identity_key: [u8::try_from(random.below(3)).unwrap(); 32],
        ..new_member(invitation.role, &name(random))
    };
    if !invitation.name.is_empty() {
        member.name.clone_from(&invitation.name);
    }
    if random.is_one_in(2) {
        member.knows.kept = vec![[7; 32], [8; 32]];
        member.knows.issuer = Some([8; 32]);
    }
    let key = match invitation.key_name.as_str() {
        "" => String::new(),
        key => format!(" with key {key}"),
    };
    let (role, id) = (invitation.role, &invitation.id);
    let said = format!("{role} {} joined{key} (token {id})", member.name);
    Joining {
        secret: secret(number).to_vec(),
        event: event(EventKind::Enrolled, &said),
        member,
        now_ms: NOW_MS + 1,
    }
}

fn secret(number: u64) -> [u8; 32] {
    let mut secret = [3; 32];
    secret[..8].copy_from_slice(&number.to_le_bytes());
    secret
}

/// What an outcome says, whatever the ids are.
fn said(outcome: &EnrollOutcome) -> String {
    match outcome {
        EnrollOutcome::Enrolled(Enrolment { member, .. }) => format!("{} joined", member.name),
        EnrollOutcome::EnrolledBefore(Enrolment { member, .. }) => {
            format!("{} before", member.name)
        }
        EnrollOutcome::Refused(conflict) => format!("{conflict:?}"),
    }
}

/// Everybody as stored, but for their ids.
async fn everybody(store: &Store) -> Vec<Member> {
    let mut members = store.members().await.unwrap();
    for member in &mut members {
        member.id = 0;
        for key in &mut member.keys {
            key.id = 0;
        }
    }
    members
}

#[tokio::test]
async fn who_joins_in_sets_and_who_joins_one_by_one_comes_to_the_same() {
    let ((_first, one), (dir, set)) = (store().await, store().await);
    let mut random = Random(88_172_645_463_325_252);
    let mut invitations: Vec<Invitation> = Vec::new();
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for round in 0..25 {
        for _ in 0..8 {
            let number = invitations.len() as u64;
            let invitation = invited(&mut random, number);
            for store in [&one, &set] {
                let created = event(EventKind::Operator, "token");
                let token = store.create_token(secret(number), invitation.clone(), created);
                token.await.unwrap();
            }
            invitations.push(invitation);
        }
        let mut lot: Vec<Box<Joining>> = Vec::new();
        for _ in 0..random.below(12) {
            let number = random.index(invitations.len());
            let came = joining(&mut random, number as u64, &invitations[number]);
            lot.push(Box::new(came));
        }
        if random.is_one_in(3) {
            lot.push(Box::new(Joining {
                secret: vec![9; 32],
                ..joining(&mut random, 0, &invitations[0])
            }));
        }

        let outcomes = one_by_one(&one, lot.clone()).await;
        let said: Vec<String> = outcomes.iter().map(said).collect();
        for said in &said {
            let what = said.rsplit(' ').next().unwrap();
            *seen.entry(what.to_owned()).or_default() += 1;
        }
        let together = in_a_set(&set, lot).await;
        assert_eq!(
            together.iter().map(self::said).collect::<Vec<_>>(),
            said,
            "{round}"
        );
        for outcome in &together {
            if let EnrollOutcome::Enrolled(Enrolment { member, key }) = outcome {
                let stored = set.member_named(member.role, member.name.clone());
                // Unless somebody has taken its place since.
                if let Some(stored) = stored.await.unwrap().filter(|it| it.id == member.id) {
                    assert!(stored.key(*key).is_some());
                }
            }
        }
        assert_eq!(everybody(&set).await, everybody(&one).await, "{round}");
    }
    let all = [
        "joined",
        "before",
        "NameTaken",
        "TokenUsed",
        "TokenUnknown",
        "TokenExpired",
    ];
    assert!(all.iter().all(|it| seen.contains_key(*it)), "{seen:?}");
    let mut told = [recorded(&one).await, recorded(&set).await];
    told.iter_mut().for_each(|told| told.sort());
    assert_eq!(told[0], told[1]);
    let (altered, disagreeing) = fixture::altered(dir.path());
    assert!(
        altered.is_empty() && disagreeing.is_empty(),
        "{altered:?} {disagreeing:?}"
    );
}
