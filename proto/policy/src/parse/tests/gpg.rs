//! GPG_*: what fwknop's dialect makes of it.

use super::*;
use crate::open_pgp::{OpenPgpRule, Signers};
use crate::print::Secrets;

const FINGERPRINT: &str = "31DEEA7364BEDECED273B761AAF8B500BA10C0D4";

fn rule(lines: &str) -> OpenPgpRule {
    let text = format!("SOURCE ANY\n{lines}");
    let policy = alone(&text);
    let stanza = policy.stanzas.into_iter().next().unwrap();
    *stanza.open_pgp.unwrap()
}

fn said(lines: &str) -> Vec<String> {
    let policy = alone(&format!("SOURCE ANY\n{lines}"));
    policy.warnings.iter().map(Mistake::to_string).collect()
}

fn refused(dialect: Dialect, lines: &str) -> Vec<String> {
    let text = format!("SOURCE ANY\n{lines}");
    shown(parse_as(dialect, "access.conf", &text, &NoIncludes))
}

#[test]
fn a_stanza_with_gpg_alone_and_one_with_a_key_as_well_are_read() {
    let alone_rule = rule(&format!(
        "GPG_DECRYPT_ID server@example\nGPG_DECRYPT_PW pass word\nGPG_REQUIRE_SIG Y\n\
         GPG_FINGERPRINT_ID {FINGERPRINT}\nHMAC_KEY hhh\nHMAC_DIGEST_TYPE sha512\n\
         ENCRYPTION_MODE Asymmetric\n"
    ));
    assert_eq!(&*alone_rule.home, "/root/.gnupg");
    assert_eq!(alone_rule.decrypt_id.as_deref(), Some("server@example"));
    assert_eq!(alone_rule.passphrase.unwrap().as_bytes(), b"pass word");
    let (hmac, digest) = alone_rule.hmac.unwrap();
    assert_eq!((hmac.as_bytes(), digest), (&b"hhh"[..], DigestType::Sha512));
    assert!(matches!(alone_rule.signers, Signers::Named { .. }));

    let both = format!(
        "SOURCE ANY\nKEY k\nHMAC_KEY h\nGPG_HOME_DIR /etc/fwknop/gpg\nGPG_ALLOW_NO_PW Y\n\
         GPG_REMOTE_ID AAF8B500BA10C0D4, 0xDEADBEEF\nGPG_FINGERPRINT_ID {FINGERPRINT}\n"
    );
    let policy = alone(&both);
    let stanza = &policy.stanzas[0];
    assert_eq!(stanza.static_keys().len(), 1);
    let own = stanza.open_pgp.as_ref().unwrap();
    assert_eq!(own.hmac.as_ref().unwrap().0.as_bytes(), b"h");
    assert_eq!(own.passphrase, None);
    assert_eq!(own.signers.names().count(), 3);
}

#[test]
fn what_is_printed_is_read_back_as_the_same_and_a_redacted_passphrase_is_shown_to_nobody() {
    for lines in [
        "GPG_ALLOW_NO_PW Y\nGPG_DISABLE_SIG Y\n",
        "GPG_HOME_DIR /g\nGPG_DECRYPT_ID me\nGPG_DECRYPT_PW hunter2\nGPG_REMOTE_ID DEADBEEF\nHMAC_KEY hhh\n\
         HMAC_DIGEST_TYPE md5\n",
        "KEY k\nHMAC_KEY hhh\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID DEADBEEFDEADBEEF\n",
    ] {
        let policy = alone(&format!("SOURCE ANY\n{lines}"));

        let again = alone(&policy.print(Secrets::Show));

        assert_eq!(again.stanzas, policy.stanzas, "{lines}");
        let redacted = policy.print(Secrets::Redact);
        assert!(!redacted.contains("hunter2"), "{redacted}");
        assert!(!redacted.contains("aGho"), "{redacted}");
    }
}

#[test]
fn what_gpg_lines_lack_is_said_at_their_keyword() {
    for (lines, expected) in [
        ("GPG_DECRYPT_ID me\n", "no GPG key can be unlocked"),
        (
            "GPG_ALLOW_NO_PW N\nGPG_REMOTE_ID DEADBEEF\n",
            "no GPG key can be unlocked",
        ),
        ("ENCRYPTION_MODE Asymmetric\n", "no GPG key can be unlocked"),
        (
            "GPG_DECRYPT_PW p\n",
            "GPG_FINGERPRINT_ID: the stanza does not say who signs",
        ),
        (
            "GPG_ALLOW_NO_PW Y\nGPG_REQUIRE_SIG N\n",
            "GPG_FINGERPRINT_ID: the stanza does not say who signs",
        ),
        (
            "GPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID me@example\n",
            "GPG_REMOTE_ID: `me@example` is no key id",
        ),
        (
            "GPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID DEADBEEF\n",
            "`DEADBEEF` is no fingerprint",
        ),
        (
            "GPG_DECRYPT_PW __CHANGEME__\n",
            "the placeholder of the sample file",
        ),
        ("GPG_ALLOW_NO_PW perhaps\n", "GPG_ALLOW_NO_PW: "),
    ] {
        let mistakes = refused(Dialect::Alone, lines).concat();
        assert!(mistakes.contains(expected), "{lines}: {mistakes}");
    }
}

#[test]
fn a_fleet_knows_nothing_of_keyrings_and_says_so_in_plain_words() {
    let lines = format!("GPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {FINGERPRINT}\n");
    for (dialect, key) in [
        (Dialect::Operator, ""),
        (Dialect::Operator, "KEY k\n"),
        (Dialect::Compiled, "KEY k\n"),
    ] {
        let mistakes = refused(dialect, &format!("{key}{lines}"));
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0].contains("a keyring of the host"),
            "{mistakes:?}"
        );
        assert!(mistakes[0].contains("GPG_ALLOW_NO_PW"), "{mistakes:?}");
    }
}

#[test]
fn what_has_no_effect_or_is_perhaps_not_meant_is_said() {
    let signed = format!("HMAC_KEY h\nGPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {FINGERPRINT}\n");
    for (lines, expected) in [
        (
            format!("{signed}GPG_EXE /usr/bin/gpg\n"),
            "GPG_EXE: the line has no effect",
        ),
        (
            format!("{signed}GPG_IGNORE_SIG_VERIFY_ERROR Y\n"),
            "does not verify is refused",
        ),
        (
            format!("{signed}GPG_REQUIRE_SIG N\n"),
            "GPG_DISABLE_SIG Y is what lets",
        ),
        (
            "KEY k\nHMAC_KEY h\nGPG_DECRYPT_ID me\n".to_owned(),
            "no effect without GPG_DECRYPT_PW",
        ),
        (
            "GPG_ALLOW_NO_PW Y\nGPG_DISABLE_SIG Y\n".to_owned(),
            "whoever has the public key",
        ),
        (
            "GPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID DEADBEEF\nHMAC_KEY h\n".to_owned(),
            "has the same id",
        ),
        (
            format!("GPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {FINGERPRINT}\n"),
            "without an HMAC key strangers",
        ),
    ] {
        let warnings = said(&lines).concat();
        assert!(warnings.contains(expected), "{lines}: {warnings}");
    }
    for off in [
        "GPG_IGNORE_SIG_VERIFY_ERROR N",
        "GPG_REQUIRE_SIG Y",
        "GPG_DISABLE_SIG N",
    ] {
        let warnings = said(&format!("{signed}{off}\nOPEN_PORTS tcp/22\n"));
        assert_eq!(warnings, Vec::<String>::new(), "{off}");
    }
}
