//! User and host come to the same keys, and nobody else does.

use spa::{DigestType, EncryptionMode, ExchangePublic, ExchangeSecret, InvalidKey, pairwise};

use crate::properties::{message, open_fields};

const USER: &str = "77076d0a7318a57d3c16c17251b26645df4c87ebc0992ab177fba51db92c2c2a";
const USER_PUBLIC: &str = "8f96bc998cd37047e849033347a873cc8c84abd46ba5cb9a8a3e018a858c1479";
const HOST: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
const HOST_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";

/// Expected values made with OpenSSL: `pkey -pubout`, `pkeyutl -derive` over the two keys, then
/// `kdf HKDF` with SHA-256, salt `postern pairwise v1` and info role, user key, host key.
const ENCRYPTION: &str = "0a71f56f8f0432d2b836a3f431262a8ad7627662ce56634d72c3f19292009a53";
const HMAC: &str = "28f7b300d42d6849e2e002f6b8e72c701546f430b3a19985c37677e6d9ea8896\
                    0b59605dca5e8facdd1d8b09ef24e253d28b2977758c6d910031e7ce3c323c63";

#[test]
fn both_sides_come_to_the_keys_that_openssl_computes() {
    let (user, host) = (secret(USER), secret(HOST));
    let (user_public, host_public) = (user.public(), host.public());

    let of_user = pairwise(&user, &host_public, &user_public, &host_public).unwrap();
    let of_host = pairwise(&host, &user_public, &user_public, &host_public).unwrap();

    assert_eq!(hex::encode(user_public.0), USER_PUBLIC);
    assert_eq!(hex::encode(host_public.0), HOST_PUBLIC);
    assert_eq!(of_user, of_host);
    assert_eq!(of_user.mode(), EncryptionMode::Cbc);
    assert_eq!(hex::encode(of_user.encryption().as_bytes()), ENCRYPTION);
    let (hmac, digest) = of_user.hmac().unwrap();
    assert_eq!(hex::encode(hmac.as_bytes()), HMAC);
    assert_eq!(digest, DigestType::Sha256);
}

#[test]
fn a_packet_for_one_host_is_noise_at_another() {
    let (user, host, other) = (
        secret(USER),
        secret(HOST),
        ExchangeSecret::from_bytes([7; 32]),
    );
    let user_public = user.public();
    let keys = pairwise(&user, &host.public(), &user_public, &host.public()).unwrap();
    let at_other = pairwise(&other, &user_public, &user_public, &other.public()).unwrap();

    let packet = spa::seal(&message(), &keys, [1; 8]).unwrap();

    assert_eq!(open_fields(&packet, &keys), Some(message()));
    assert_eq!(open_fields(&packet, &at_other), None);
    assert_ne!(keys.domain(), at_other.domain());
}

#[test]
fn one_pair_gives_other_keys_when_user_and_host_change_places() {
    let (user, host) = (secret(USER), secret(HOST));
    let (user_public, host_public) = (user.public(), host.public());

    let there = pairwise(&user, &host_public, &user_public, &host_public).unwrap();
    let back = pairwise(&user, &host_public, &host_public, &user_public).unwrap();

    assert_ne!(there, back);
}

#[test]
fn a_key_that_forces_the_result_is_refused() {
    let host = secret(HOST);
    let mut low_order_one = [0; 32];
    low_order_one[0] = 1;

    for low_order in [[0; 32], low_order_one] {
        let user = ExchangePublic(low_order);
        let refused = pairwise(&host, &user, &user, &host.public());

        assert_eq!(refused, Err(InvalidKey::LowOrderPoint));
    }
}

#[test]
fn keys_of_a_third_party_are_refused() {
    let (user, host) = (secret(USER), secret(HOST));
    let third = ExchangePublic([9; 32]);

    let refused = pairwise(&user, &host.public(), &third, &host.public());

    assert_eq!(refused, Err(InvalidKey::NotAParty));
}

#[test]
fn exchange_keys_survive_their_text_form() {
    let public = secret(HOST).public();

    assert_eq!(public.to_string().len(), 43);
    assert_eq!(public.to_string().parse(), Ok(public));
    assert_eq!(
        "AAAA".parse::<ExchangePublic>(),
        Err(InvalidKey::ExchangeKeyLength(3))
    );
    assert!(!format!("{:?}", secret(HOST)).contains("5d"));
}

fn secret(hex_text: &str) -> ExchangeSecret {
    ExchangeSecret::from_bytes(hex::decode(hex_text).unwrap().try_into().unwrap())
}
