//! What real fwknop has sent with `-g`, opened with nothing but the server's GnuPG home.

use openpgp::Opener;
use spa::{
    Decrypt as _, DigestType, HmacKey, NotAuthentic, NotDecrypted, OpenError, OpeningKey, Sealed,
    Secret,
};
use vectors::{Valid, of_gnupg};

use crate::gnupg::{GnuPg, read};

/// The time at which the vectors were made, in seconds since 1970.
const THEN_SECS: u64 = 1_795_423_086;
const KEYS: [(&str, &str); 12] = [
    (
        "s2048",
        include_str!("../../../../tests/vectors/gpg/s2048.secret.asc"),
    ),
    (
        "spw",
        include_str!("../../../../tests/vectors/gpg/spw.secret.asc"),
    ),
    (
        "secc",
        include_str!("../../../../tests/vectors/gpg/secc.secret.asc"),
    ),
    (
        "s2048",
        include_str!("../../../../tests/vectors/gpg/c2048.public.asc"),
    ),
    (
        "spw",
        include_str!("../../../../tests/vectors/gpg/cpw.public.asc"),
    ),
    (
        "secc",
        include_str!("../../../../tests/vectors/gpg/cecc.public.asc"),
    ),
    (
        "c2048",
        include_str!("../../../../tests/vectors/gpg/c2048.secret.asc"),
    ),
    (
        "cpw",
        include_str!("../../../../tests/vectors/gpg/cpw.secret.asc"),
    ),
    (
        "cecc",
        include_str!("../../../../tests/vectors/gpg/cecc.secret.asc"),
    ),
    (
        "c2048",
        include_str!("../../../../tests/vectors/gpg/s2048.public.asc"),
    ),
    (
        "cpw",
        include_str!("../../../../tests/vectors/gpg/spw.public.asc"),
    ),
    (
        "cecc",
        include_str!("../../../../tests/vectors/gpg/secc.public.asc"),
    ),
];

/// What an access.conf says.
fn line<'t>(text: &'t str, keyword: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '))
}

/// The GnuPG home of the server of a vector, as its administrator would have it.
fn home_of(vector: &Valid) -> GnuPg {
    let name = line(&vector.access_conf, "GPG_HOME_DIR").unwrap();
    home_named(name.strip_prefix("gpg/").unwrap())
}

fn home_named(name: &str) -> GnuPg {
    let gnupg = GnuPg::new();
    for (_, key) in KEYS.iter().filter(|(home, _)| *home == name) {
        gnupg.run(&["--import"], key.as_bytes());
    }
    gnupg
}

fn opener_of(vector: &Valid, gnupg: &GnuPg) -> Opener {
    let home = read(gnupg);
    let conf = &vector.access_conf;
    let signer = line(conf, "GPG_FINGERPRINT_ID").unwrap();
    let signers = vec![home.certificate(signer).unwrap().clone()];
    let passphrase = line(conf, "GPG_DECRYPT_PW").map(str::as_bytes);
    let recipient = line(conf, "GPG_DECRYPT_ID");
    Opener::new(&home, recipient, passphrase, signers, false).unwrap()
}

fn key_of(vector: &Valid) -> OpeningKey {
    let hmac = vector.hmac_key.as_ref().map(|key| {
        let key = HmacKey::new(Secret::from_passphrase(key)).unwrap();
        let digest: DigestType = vector.hmac_type.as_ref().unwrap().parse().unwrap();
        (key, digest)
    });
    OpeningKey::open_pgp(hmac.as_ref().map(|(key, digest)| (key, *digest)))
}

#[test]
fn all_eleven_gpg_vectors_are_opened_with_the_fields_that_the_client_printed_and_their_signer() {
    for vector in of_gnupg() {
        let gnupg = home_of(&vector);
        let opener = opener_of(&vector, &gnupg);
        let key = key_of(&vector);
        let sealed = Sealed::parse(vector.packet.as_bytes()).unwrap();
        let recipient = sealed.recipient(key.hmac_type()).unwrap();
        assert!(opener.has_key(recipient), "{}", vector.name);

        let opened = sealed
            .authenticate(&key)
            .unwrap_or_else(|_| panic!("{}: HMAC", vector.name))
            .open_with(&opener, THEN_SECS)
            .unwrap_or_else(|refused| panic!("{}: {refused:?}", vector.name));

        let expected = &vector.expected;
        assert_eq!(opened.message().username, expected.username);
        assert_eq!(opened.message_text(), expected.message);
        assert_eq!(opened.nat_text(), expected.nat_access.as_deref());
        assert_eq!(opened.digest_text(), expected.digest);
        let signer = opened.signer().unwrap();
        let named = line(&vector.access_conf, "GPG_FINGERPRINT_ID").unwrap();
        assert_eq!(signer.to_string(), named);
        assert!(signer.is_named(&signer.key[12..]));
    }
}

#[test]
fn a_packet_of_which_any_one_bit_is_flipped_opens_nothing_with_or_without_an_hmac() {
    let vectors = of_gnupg();
    for name in ["gpg_ecc", "gpg_access_hmac_sha256"] {
        let vector = vectors.iter().find(|one| one.name == name).unwrap();
        let gnupg = home_of(vector);
        let (opener, key) = (opener_of(vector, &gnupg), key_of(vector));
        let packet = vector.packet.as_bytes();
        for at in (0..packet.len()).step_by(7).chain([packet.len() - 1]) {
            let mut packet = packet.to_vec();
            packet[at] = if packet[at] == b'A' { b'B' } else { b'A' };
            let sealed = Sealed::parse(&packet).unwrap();
            match sealed.authenticate(&key) {
                Err(NotAuthentic) => {}
                Ok(authentic) => {
                    assert!(vector.hmac_key.is_none());
                    let refused = authentic.open_with(&opener, THEN_SECS).unwrap_err();
                    assert!(
                        matches!(refused, OpenError::OpenPgp(_)),
                        "{at}: {refused:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_packet_for_another_recipient_is_told_before_anything_is_decrypted() {
    let vectors = of_gnupg();
    let named = |name: &str| vectors.iter().find(|one| one.name == name).unwrap();
    let (ours, theirs) = (named("gpg_access"), named("gpg_ecc"));
    let gnupg = home_of(ours);
    let opener = opener_of(ours, &gnupg);
    let key = key_of(theirs);
    let sealed = Sealed::parse(theirs.packet.as_bytes()).unwrap();

    assert!(!opener.has_key(sealed.recipient(None).unwrap()));
    let refused = sealed.authenticate(&key).unwrap();
    assert_eq!(
        refused.open_with(&opener, THEN_SECS).unwrap_err(),
        OpenError::OpenPgp(NotDecrypted::NoKey)
    );
}

#[test]
fn what_is_sealed_here_begins_with_what_every_server_puts_back_and_gnupg_opens_it() {
    for (client, server, recipient, signer, passphrase) in [
        ("c2048", "s2048", "server@vec.test", "client@vec.test", None),
        (
            "cecc",
            "secc",
            "serverecc@vec.test",
            "clientecc@vec.test",
            None,
        ),
        (
            "cpw",
            "spw",
            "serverpw@vec.test",
            "clientpw@vec.test",
            Some("signpass"),
        ),
    ] {
        let (client, server) = (home_named(client), home_named(server));
        let signs = Some((Some(signer), passphrase.map(str::as_bytes)));
        let sealer = openpgp::Sealer::new(&read(&client), recipient, signs, THEN_SECS).unwrap();
        let message = sealer
            .seal(b"1785484479104091:cm9vdA:1795422834:x")
            .unwrap();

        let text = spa::seal_open_pgp(&message, None).unwrap();
        let options = ["--passphrase", "decpass", "--status-fd", "2", "--decrypt"];
        let decrypted = server.output(&options, &message);
        let said = String::from_utf8_lossy(&decrypted.stderr);
        assert!(decrypted.status.success(), "{said}");
        assert_eq!(decrypted.stdout, b"1785484479104091:cm9vdA:1795422834:x");
        assert!(said.contains("VALIDSIG"), "{said}");
        // As a server reads it that puts `hQ` back whatever it was.
        assert_eq!(
            Sealed::parse(text.as_bytes()).unwrap().text(),
            text.as_bytes()
        );
        assert_eq!(message[0], 0x85);
        assert_eq!(message[1] & 0xf0, 0);
    }
}
