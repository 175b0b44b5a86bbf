use std::time::Duration;

use http_body::Body as _;
use tokio_util::sync::CancellationToken;

use fleet::Role;
use rcgen::{CertificateParams, KeyPair, SanType};
use tempfile::TempDir;

use super::*;
use crate::ca::{Authority, Subject};
use crate::store::Store;
use crate::store::fixture::{self, NOW_MS};
use crate::store::model::{ChangeOutcome, Member};
use crate::timestamp::Timestamp;

struct Door {
    layer: AuthorizeLayer,
    authority: Authority,
    store: Store,
    _dir: TempDir,
}

impl Door {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = fixture::open(dir.path()).await;
        let authority = Authority::create("prod", NOW_MS / 1000).unwrap();
        Self {
            layer: AuthorizeLayer {
                fleet: "prod".into(),
                roster: Arc::new(Roster::load(&store).await.unwrap()),
                limits: Arc::new(RateLimits::new(crate::clock::instant)),
                looks: None,
                tasks: TaskTracker::new(),
            },
            authority: Authority::open(&authority).unwrap(),
            store,
            _dir: dir,
        }
    }

    async fn join(&self, role: Role, name: &str) -> Member {
        let member = fixture::join(&self.store, role, name).await;
        let refreshed = self.layer.roster.refresh(&self.store, role, name).await;
        refreshed.unwrap();
        member
    }

    /// Whoever has connected with this certificate.
    fn member(&self, der: &[u8]) -> Result<Admitted, Error> {
        self.layer
            .caller(&Presented::at(der, Timestamp::from_ms(NOW_MS)))
    }

    /// A certificate as the fleet's authority makes it, for whoever is named.
    fn certificate(&self, key: u64, fleet: &str, role: Role, name: &str) -> Vec<u8> {
        let subject = Subject {
            key,
            fleet,
            role,
            name,
        };
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key);
        let csr_der = request.unwrap().der().to_vec();
        let life = Duration::from_secs(3600);
        let made = self
            .authority
            .member(subject, &csr_der, NOW_MS / 1000, life);
        made.unwrap()
    }
}

/// A connection without a certificate.
fn stranger() -> Peer {
    Peer::new([192, 0, 2, 1].into(), Presented::Nothing)
}

fn request(path: &str, peer: &Peer) -> Request<()> {
    let mut request = Request::builder().uri(path).body(()).unwrap();
    request.extensions_mut().insert(peer.clone());
    request
}

#[tokio::test]
async fn a_stranger_has_a_few_requests_in_work_and_the_next_when_one_is_answered() {
    let door = Door::new().await;
    let peer = stranger();
    let admit = || {
        let mut request = request("/postern.v1.Enrollment/Redeem", &peer);
        door.layer.admit(&mut request)
    };

    let mut in_work: Vec<_> = (0..8).map(|_| admit().unwrap()).collect();
    assert!(matches!(admit().unwrap_err(), Error::TooMany));
    in_work.pop();

    assert!(admit().is_ok());
}

#[tokio::test]
async fn a_certificate_whose_time_is_not_now_is_void_and_the_refusal_says_what_the_clock_says() {
    let door = Door::new().await;
    let host = door.join(Role::Host, "web-1").await;
    let der = door.certificate(host.id, "prod", Role::Host, "web-1");
    let at = |secs: u64| Presented::at(&der, Timestamp::from_ms(secs * 1000));
    let now_secs = NOW_MS / 1000;

    assert_eq!(
        door.layer.member_of(&at(now_secs)),
        Some((host.id, Role::Host))
    );
    for secs in [now_secs - 400, now_secs + 3601, now_secs + 26 * 3600] {
        let presented = at(secs);
        assert_eq!(door.layer.member_of(&presented), None);
        let peer = Peer::new([192, 0, 2, 1].into(), presented);
        let mut request = request("/postern.v1.Agent/Session", &peer);
        let refused = door.layer.admit(&mut request).unwrap_err().to_string();
        let clock =
            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(secs));
        assert!(
            refused.contains(&format!("clock says {clock}")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_certificate_is_its_members_and_nobody_elses() {
    let door = Door::new().await;
    let host = door.join(Role::Host, "web-1").await;
    door.join(Role::Operator, "web-1").await;

    let own = door.certificate(host.id, "prod", Role::Host, "web-1");
    let other_fleet = door.certificate(host.id, "test", Role::Host, "web-1");
    let other_role = door.certificate(host.id, "prod", Role::Operator, "web-1");
    let other_id = door.certificate(host.id + 100, "prod", Role::Host, "web-1");
    let nobody = door.certificate(host.id, "prod", Role::Host, "web-9");

    let caller = door.member(&own).unwrap().member;
    assert_eq!(
        (caller.id, caller.role, caller.name.as_str()),
        (host.id, Role::Host, "web-1")
    );
    let refused = |der: &[u8]| door.member(der).unwrap_err();
    assert!(matches!(refused(&other_fleet), Error::Unauthenticated));
    for der in [other_role, other_id, nobody] {
        assert!(matches!(refused(&der), Error::NotMember));
    }
}

#[tokio::test]
async fn only_of_a_key_that_was_given_here_it_is_said_that_its_membership_has_ended() {
    let door = Door::new().await;
    let gone = door.join(Role::Host, "web-1").await;
    let (key, roster) = (gone.keys[0].id, &door.layer.roster);
    let change = fixture::change(Role::Host, "web-1", None);
    door.store.remove(change).await.unwrap();
    let refreshed = roster.refresh(&door.store, Role::Host, "web-1").await;
    refreshed.unwrap();

    let removed = door.certificate(key, "prod", Role::Host, "web-1");
    let never_given = door.certificate(key + 1, "prod", Role::Host, "web-1");

    let refused = |der: &[u8]| door.member(der).unwrap_err();
    assert!(matches!(refused(&removed), Error::MembershipEnded));
    assert!(matches!(refused(&never_given), Error::NotMember));
    let said = Status::from(refused(&removed));
    let said = said.metadata().get(fleet::MEMBERSHIP).unwrap();
    assert_eq!(said, fleet::MEMBERSHIP_ENDED);
    let again = Roster::load(&door.store).await.unwrap();
    assert!(again.is_void(key), "also after a restart");
}

#[tokio::test]
async fn what_a_locked_member_holds_ends_as_soon_as_the_roster_knows() {
    let door = Door::new().await;
    door.join(Role::Operator, "root").await;
    let thief = door.join(Role::Operator, "mbr").await;
    let own = door.certificate(thief.keys[0].id, "prod", Role::Operator, "mbr");
    let before = door.member(&own).unwrap();
    let is_good = |key: &CancellationToken| {
        Standing::new(key.clone(), CancellationToken::new())
            .is_good()
            .is_ok()
    };
    assert!(!before.locked && is_good(&before.standing));

    let change = fixture::change(Role::Operator, "mbr", None);
    let locked = door
        .store
        .lock(change, fleet::EventKind::Locked)
        .await
        .unwrap();
    assert!(matches!(locked, ChangeOutcome::Done(_)), "{locked:?}");
    let roster = &door.layer.roster;
    let refreshed = roster.refresh(&door.store, Role::Operator, "mbr").await;
    refreshed.unwrap();

    let after = door.member(&own).unwrap();
    assert!(after.locked && !is_good(&after.standing));
    assert!(!is_good(&before.standing), "what it began");
}

#[tokio::test]
async fn an_answer_that_has_begun_ends_with_its_callers_standing_and_with_the_authority_of_its_certificate()
 {
    for (ends, status) in [(0, "7"), (1, "16")] {
        let tokens = [CancellationToken::new(), CancellationToken::new()];
        let standing = Standing::new(tokens[0].clone(), tokens[1].clone());
        let body = standing.bound(Body::new(Endless));
        let mut body = std::pin::pin!(body);
        let mut next = async || {
            let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context));
            frame.await.map(Result::unwrap)
        };
        assert!(next().await.unwrap().is_data());

        tokens[ends].cancel();

        let trailers = next().await.unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], status);
        assert!(next().await.is_none());
    }
}

#[tokio::test]
async fn a_call_on_a_connection_whose_authority_counts_no_more_is_refused_also_when_it_had_begun() {
    let door = Door::new().await;
    let host = door.join(Role::Host, "web-1").await;
    let der = door.certificate(host.id, "prod", Role::Host, "web-1");
    let authority = CancellationToken::new();
    let presented = Presented::at(&der, Timestamp::from_ms(NOW_MS));
    let peer = Peer::new([192, 0, 2, 1].into(), presented).while_counts(authority.clone());
    let mut begun = request("/postern.v1.Agent/Session", &peer);
    door.layer.admit(&mut begun).unwrap();
    let standing = begun.extensions().get::<Standing>().unwrap();
    assert!(standing.is_good().is_ok());

    authority.cancel();

    let unknown = |refused| matches!(refused, Err(Error::AuthorityUnknown));
    assert!(unknown(standing.is_good()), "its message came too late");
    let mut later = request("/postern.v1.Agent/Session", &peer);
    assert!(unknown(door.layer.admit(&mut later).map(|_| ())));
}

/// An answer that never ends by itself.
struct Endless;

impl http_body::Body for Endless {
    type Data = tonic::codegen::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Status>>> {
        Poll::Ready(Some(Ok(http_body::Frame::data("more".into()))))
    }
}

#[tokio::test]
async fn a_certificate_with_another_name_beside_the_members_names_nobody() {
    let door = Door::new().await;
    let uri = fleet::member_uri("prod", Role::Operator, "root");
    let uri = SanType::URI(uri.as_str().try_into().unwrap());
    let dns = SanType::DnsName("controller.example".try_into().unwrap());
    let key = KeyPair::generate().unwrap();

    for names in [vec![uri.clone(), dns], vec![uri.clone(), uri], vec![]] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let certificate = params.self_signed(&key).unwrap();

        let refused = door.member(certificate.der()).unwrap_err();

        assert!(matches!(refused, Error::Unauthenticated), "{refused}");
    }
    let refused = door.member(b"no certificate at all").unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated), "{refused}");
}

#[tokio::test]
async fn a_request_without_a_certificate_reaches_only_what_needs_no_permission() {
    let door = Door::new().await;
    let admit = |path: &str| {
        let mut request = request(path, &stranger());
        door.layer.admit(&mut request)
    };

    assert!(admit("/postern.v1.Enrollment/Redeem").is_ok());
    let refused = admit("/postern.v1.Operator/ListHosts").unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated), "{refused}");
    let unlisted = admit("/postern.v1.Operator/Everything").unwrap_err();
    assert!(matches!(unlisted, Error::UnknownCall), "{unlisted}");
}

#[tokio::test]
async fn every_call_has_an_id_of_its_own_also_without_a_certificate() {
    let door = Door::new().await;
    let call = || {
        let path = "/postern.v1.Enrollment/Redeem";
        let mut request = request(path, &stranger());
        door.layer.admit(&mut request).unwrap();
        request.extensions().get::<Call>().unwrap().id.to_string()
    };

    let (one, other) = (call(), call());

    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(one.len() == 32 && one.bytes().all(is_digit), "{one}");
    assert_ne!(one, other);
}

/// Answers after three turns of the runtime, and counts how many calls have come to their end.
#[derive(Clone, Default)]
struct Slow(Arc<std::sync::atomic::AtomicUsize>);

impl Service<Request<()>> for Slow {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let ended = Arc::clone(&self.0);
        Box::pin(async move {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Response::new(Body::empty()))
        })
    }
}

#[tokio::test]
async fn a_change_that_was_begun_is_carried_out_though_its_caller_hangs_up_and_a_question_is_not() {
    let door = Door::new().await;
    let owner = door.join(Role::Owner, "boss").await;
    let der = door.certificate(owner.id, "prod", Role::Owner, "boss");
    let at = Timestamp::from_ms(NOW_MS);
    let boss = Peer::new([192, 0, 2, 1].into(), Presented::at(&der, at));
    for (path, peer, expected) in [
        ("/postern.v1.Enrollment/Redeem", &stranger(), 1),
        ("/postern.v1.Operator/ApplyPolicy", &boss, 1),
        ("/postern.v1.Operator/CreateToken", &boss, 1),
        ("/postern.v1.Operator/WhoCan", &boss, 0),
    ] {
        let slow = Slow::default();
        let mut service = door.layer.clone().layer(slow.clone());
        let begun = tokio::spawn(service.call(request(path, peer)));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        begun.abort();
        assert!(begun.await.unwrap_err().is_cancelled(), "{path}");
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }

        let ended = slow.0.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(ended, expected, "{path}");
    }
}

#[tokio::test]
async fn who_has_joined_at_another_controller_is_known_after_one_look_and_who_is_nobody_is_not() {
    let mut door = Door::new().await;
    let looks = Arc::new(Looks::default());
    door.layer.looks = Some(Arc::clone(&looks));
    let host = fixture::join(&door.store, Role::Host, "web-1").await;
    let der = |key| door.certificate(key, "prod", Role::Host, "web-1");
    let present = |der: &[u8]| Presented::at(der, Timestamp::from_ms(NOW_MS));
    let own = present(&der(host.keys[0].id));
    let never_given = present(&der(host.keys[0].id + 1));
    assert_eq!(door.layer.member_of(&own), None);

    let (roster, store) = (Arc::clone(&door.layer.roster), door.store.clone());
    let follower = Arc::clone(&looks);
    let counted = tokio::spawn(async move {
        // All that wait are served by one.
        for asked in [16, 17] {
            follower.asked_after(asked - 1).await;
            let serves = follower.begin();
            roster.follow(&store).await.unwrap();
            follower.done(serves);
        }
    });
    let many: Vec<_> = (0..16)
        .map(|_| {
            let (layer, own) = (door.layer.clone(), own.clone());
            tokio::spawn(async move { layer.hear_of(&own).await })
        })
        .collect();
    for one in many {
        one.await.unwrap();
    }
    assert_eq!(door.layer.member_of(&own), Some((host.id, Role::Host)));
    // Who is known waits for nothing, and who is nobody is no one after it, either.
    door.layer.hear_of(&own).await;
    door.layer.hear_of(&never_given).await;
    assert_eq!(door.layer.member_of(&never_given), None);
    counted.await.unwrap();
}
