use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tempfile::TempDir;

use super::*;
use crate::ca::authorities::{InForce, der};
use crate::ca::{Authority, SERVER_LIFE};

/// A time at which nobody lives any more whose certificates matter.
const NOW: u64 = 1_900_000_000;
const DAY: u64 = 24 * 3600;

fn kept() -> Kept {
    let current = Authority::create("prod", NOW).unwrap();
    Kept::of(&current, DirectoryKey::new(&[7; 32], NOW), NOW)
}

fn next(now: u64) -> Credentials {
    Authority::create("prod", now).unwrap()
}

/// What a member that knows only `root` (PEM) says of the chain that is shown, by the library that
/// members use.
fn rustls_believes(root: &str, shown: &Credentials, now: u64) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der(root).unwrap().into()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let chain: Vec<CertificateDer<'_>> =
        CertificateDer::pem_slice_iter(shown.certificate_pem.as_bytes())
            .collect::<Result<_, _>>()
            .unwrap();
    let (leaf, behind) = chain.split_first().unwrap();
    let name = ServerName::try_from(fleet::SERVER_NAME).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let verifier = verifier.build().unwrap();
    verifier
        .verify_server_cert(leaf, behind, &name, &[], at)
        .is_ok()
}

/// The same by openssl.
fn openssl_believes(root: &str, shown: &Credentials, now: u64) -> bool {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        path
    };
    let leaf = shown.leaf_pem();
    let behind = shown.certificate_pem.strip_prefix(&leaf).unwrap();
    let output = Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-attime",
            &now.to_string(),
        ])
        .args(["-verify_hostname", fleet::SERVER_NAME])
        .arg("-CAfile")
        .arg(write("root.pem", root))
        .arg("-untrusted")
        .arg(write("behind.pem", behind))
        .arg(write("leaf.pem", &leaf))
        .output()
        .unwrap();
    output.status.success()
}

#[track_caller]
fn assert_both_believe(root: &str, kept: &Kept, now: u64, expected: bool) {
    let shown = InForce::of(kept, now).unwrap().server(now).unwrap();
    assert_eq!(rustls_believes(root, &shown, now), expected, "rustls");
    assert_eq!(openssl_believes(root, &shown, now), expected, "openssl");
}

#[test]
fn whoever_knows_only_the_first_of_three_authorities_believes_the_controller_of_the_third() {
    let mut kept = kept();
    let first = kept.current.certificate.clone();
    let mut now = NOW;
    for _ in 0..2 {
        assert_both_believe(&first, &kept, now, true);
        now += 200 * DAY;
        kept.begin(&next(now), "prod", now).unwrap();
        assert_both_believe(&first, &kept, now, true);
        kept.issue(now + DAY).unwrap();
        assert_both_believe(&first, &kept, now + DAY, true);
        kept.finish(now + 2 * DAY).unwrap();
        assert_both_believe(&first, &kept, now + 2 * DAY, true);
    }
    assert_ne!(first, kept.current.certificate);
    assert_both_believe(
        &kept.current.certificate.clone(),
        &kept,
        now + 3 * DAY,
        true,
    );
    // Long after the first one's key is gone, and members are told of it no more.
    assert_both_believe(&first, &kept, now + 2_000 * DAY, true);
    let stranger = next(now).certificate_pem;
    assert_both_believe(&stranger, &kept, now + 3 * DAY, false);
}

#[test]
fn after_a_compromise_nothing_that_the_old_key_has_signed_leads_to_the_controller() {
    let mut kept = kept();
    let first = kept.current.certificate.clone();
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    kept.issue(NOW).unwrap();
    let second = kept.current.certificate.clone();

    kept.compromised(&next(NOW + DAY), NOW + DAY);

    for root in [&first, &second] {
        assert_both_believe(root, &kept, NOW + DAY, false);
    }
    assert_eq!(
        kept.believed(NOW + DAY),
        [kept.current.certificate.as_str()]
    );
}

#[test]
fn whoever_was_told_of_the_next_authority_believes_it_after_a_compromise_of_the_one_before() {
    let mut kept = kept();
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    let told = kept.next.as_ref().unwrap().certificate.clone();

    kept.compromised(&next(NOW + DAY), NOW + DAY);

    assert_both_believe(&told, &kept, NOW + DAY, true);
}

#[test]
fn members_are_told_of_an_authority_before_it_issues_and_for_a_while_after_it_is_gone() {
    let mut kept = kept();
    let old = kept.current.certificate.clone();
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    let new = kept.next.as_ref().unwrap().certificate.clone();
    assert_eq!(kept.believed(NOW), [old.as_str(), new.as_str()]);

    kept.issue(NOW).unwrap();
    assert_eq!(kept.believed(NOW), [new.as_str(), old.as_str()]);
    kept.finish(NOW).unwrap();

    assert!(kept.former.is_none(), "its key is gone");
    assert_eq!(kept.believed(NOW + 89 * DAY), [new.as_str(), old.as_str()]);
    assert_eq!(kept.believed(NOW + 91 * DAY), [new.as_str()]);
}

#[test]
fn steps_are_taken_in_their_order() {
    let mut kept = kept();
    assert!(matches!(kept.issue(NOW), Err(NotNow::NoRotation)));
    assert!(matches!(kept.finish(NOW), Err(NotNow::NoRotation)));
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    assert!(matches!(
        kept.begin(&next(NOW), "prod", NOW),
        Err(NotNow::UnderWay)
    ));
    assert!(matches!(kept.finish(NOW), Err(NotNow::OnlyAnnounced)));
    kept.issue(NOW).unwrap();
    assert!(matches!(
        kept.begin(&next(NOW), "prod", NOW),
        Err(NotNow::UnderWay)
    ));
    kept.finish(NOW).unwrap();
    assert_eq!(kept.stage(), Stage::None);
}

#[test]
fn what_is_kept_is_read_again_as_it_was_and_a_later_version_is_not_guessed_at() {
    let mut kept = kept();
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    let text = kept.text().unwrap();

    let again = Kept::parse(&text).unwrap();

    assert_eq!(*again.text().unwrap(), *text);
    let later = text.replacen("\"version\": 1", "\"version\": 2", 1);
    let refused = Kept::parse(&later).unwrap_err().to_string();
    assert!(refused.contains("version 2"), "{refused}");
    let damaged = Kept::parse(&text[..text.len() / 2])
        .unwrap_err()
        .to_string();
    assert!(damaged.starts_with("not as written, at line"), "{damaged}");
}

#[test]
fn a_member_of_before_is_given_certificates_of_the_authority_that_it_knows() {
    let mut kept = kept();
    let old = Authority::open(&kept.current.credentials())
        .unwrap()
        .fingerprint();
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    kept.issue(NOW).unwrap();
    let in_force = InForce::of(&kept, NOW).unwrap();
    let new = in_force.current().fingerprint();

    for (keeps_set, issuer, expected) in [
        (true, Some(&old), new),
        (true, None, new),
        (false, Some(&old), old),
        (false, None, old),
        (false, Some(&new), new),
    ] {
        let chosen = in_force.for_member(keeps_set, issuer).fingerprint();
        assert_eq!(chosen, expected, "{keeps_set} {issuer:?}");
    }
}

#[test]
fn the_controllers_certificate_is_due_when_a_third_is_left_or_it_was_made_for_decades() {
    let in_force = InForce::of(&kept(), NOW).unwrap();
    let server = in_force.server(NOW).unwrap();

    let life = SERVER_LIFE.as_secs();
    assert!(!server.is_due(NOW));
    assert!(!server.is_due(NOW + life * 2 / 3));
    assert!(server.is_due(NOW + life * 2 / 3 + DAY));
    assert!(server.is_due(NOW + life + DAY));
    assert!(kept().current.credentials().is_due(NOW), "twenty years");
}

/// Another authority, through all stages.
fn rotate(kept: &mut Kept, now: u64) {
    kept.begin(&next(now), "prod", now).unwrap();
    kept.issue(now + 1).unwrap();
    kept.finish(now + 2).unwrap();
}

#[test]
fn whoever_missed_as_many_authorities_as_can_be_followed_believes_the_controller_and_no_more_are_shown()
 {
    let mut kept = kept();
    let first = kept.current.certificate.clone();
    for rotation in 0..u64::try_from(STEPS_MAX).unwrap() {
        rotate(&mut kept, NOW + rotation * 60);
    }
    assert_both_believe(&first, &kept, NOW + DAY, true);
    assert_eq!(kept.in_order()[0], first);

    for rotation in 0..20 {
        rotate(&mut kept, NOW + DAY + rotation * 60);
    }
    let shown = InForce::of(&kept, NOW + 2 * DAY).unwrap();
    let shown = shown.server(NOW + 2 * DAY).unwrap().certificate_pem;
    // The leaf, a word for each step, and each authority.
    assert_eq!(
        shown.matches("BEGIN CERTIFICATE").count(),
        1 + STEPS_MAX + STEPS_MAX + 1
    );
    let oldest = kept.in_order()[0].to_owned();
    assert_both_believe(&oldest, &kept, NOW + 2 * DAY, true);
}

#[test]
fn a_rotation_that_is_only_announced_is_not_finished() {
    let mut kept = kept();
    kept.begin(&next(NOW), "prod", NOW).unwrap();
    assert!(matches!(kept.finish(NOW), Err(NotNow::OnlyAnnounced)));
    assert_eq!(kept.stage(), Stage::Announced);
}

#[test]
fn an_authority_made_by_a_clock_ahead_does_not_issue_before_it_begins_and_another_takes_its_place()
{
    let ahead = NOW + 40 * DAY;
    let mut kept = kept();
    let first = kept.current.certificate.clone();
    kept.begin(&next(ahead), "prod", ahead).unwrap();
    let stranding = kept.next.as_ref().unwrap().certificate.clone();

    let refused = kept.issue(NOW);
    assert!(
        matches!(refused, Err(NotNow::BeginsLater(_))),
        "{refused:?}"
    );
    assert_eq!(kept.current.certificate, first);
    assert_eq!(kept.stage(), Stage::Announced);
    // Not by the way of a compromise either.
    let mut disowned = kept.clone();
    disowned.compromised(&next(NOW), NOW);
    assert_ne!(disowned.current.certificate, stranding);

    kept.begin(&next(NOW), "prod", NOW).unwrap();
    assert_ne!(kept.next.as_ref().unwrap().certificate, stranding);
    assert!(matches!(
        kept.begin(&next(NOW), "prod", NOW),
        Err(NotNow::UnderWay)
    ));
    kept.issue(NOW).unwrap();
}
