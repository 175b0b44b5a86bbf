//! How a member is named in its certificate, and what a renewal signs.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::Role;

/// The DNS name in the controller's TLS certificate.
///
/// Members verify against it whatever address they dial, so a controller may move without new
/// certificates; the trust is in the fleet's own CA.
pub const SERVER_NAME: &str = "controller.postern.internal";

const SCHEME: &str = "postern://";

/// Why a URI does not name a member.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not postern://<fleet>/<role>/<name>")]
pub struct InvalidMemberUri(pub String);

/// The one URI subject alternative name of a member's certificate: `postern://<fleet>/<role>/<name>`.
pub fn member_uri(fleet: &str, role: Role, name: &str) -> String {
    format!("{SCHEME}{fleet}/{role}/{name}")
}

/// Reads [`member_uri`] back as fleet, role and name.
///
/// # Errors
///
/// [`InvalidMemberUri`] unless there are exactly these three parts, none empty, and the role is ours.
pub fn parse_member_uri(uri: &str) -> Result<(String, Role, String), InvalidMemberUri> {
    let invalid = || InvalidMemberUri(uri.to_owned());
    let rest = uri.strip_prefix(SCHEME).ok_or_else(invalid)?;
    let mut parts = rest.split('/');
    let (Some(fleet), Some(role), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid());
    };
    if fleet.is_empty() || name.is_empty() {
        return Err(invalid());
    }
    let role = Role::from_str(role).map_err(|_| invalid())?;
    Ok((fleet.to_owned(), role, name.to_owned()))
}

/// The bytes a member signs with its identity key to be given a fresh certificate.
///
/// Every variable part is preceded by its length, so that no two requests share their bytes.
pub fn renewal_message(role: Role, name: &str, csr_der: &[u8], signed_at_secs: u64) -> Vec<u8> {
    let mut message = b"postern renewal v1\0".to_vec();
    for part in [role.as_str().as_bytes(), name.as_bytes(), csr_der] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message.extend_from_slice(&signed_at_secs.to_be_bytes());
    message
}

/// The bytes that a member signs, with the old identity key and with the new one, for a key that follows
/// another. `end_old`: the old one is to end now.
///
/// Every variable part is preceded by its length.
pub fn rotation_message(
    role: Role,
    name: &str,
    (old, new): (&[u8], &[u8]),
    new_exchange: &[u8],
    (signed_at_secs, end_old): (u64, bool),
) -> Vec<u8> {
    let mut message = b"postern rotation v1\0".to_vec();
    let (role, name) = (role.as_str().as_bytes(), name.as_bytes());
    for part in [role, name, old, new, new_exchange] {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message.extend_from_slice(&signed_at_secs.to_be_bytes());
    message.push(u8::from(end_old));
    message
}

/// Names a [`TrustSet`](crate::wire::TrustSet): SHA-256 over its parts in their order, each preceded by
/// its length, and the two lists by theirs.
pub fn trust_digest(authorities: &[impl AsRef<[u8]>], directory_keys: &[[u8; 32]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let count = |hash: &mut Sha256, count: usize| hash.update((count as u64).to_be_bytes());
    hash.update(b"postern trust v1\0");
    count(&mut hash, authorities.len());
    for authority in authorities {
        count(&mut hash, authority.as_ref().len());
        hash.update(authority);
    }
    count(&mut hash, directory_keys.len());
    for key in directory_keys {
        hash.update(key);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_uri_names_fleet_role_and_member() {
        let uri = member_uri("prod", Role::Host, "web-1");

        assert_eq!(uri, "postern://prod/host/web-1");
        assert_eq!(
            parse_member_uri(&uri),
            Ok(("prod".to_owned(), Role::Host, "web-1".to_owned()))
        );
    }

    #[test]
    fn a_uri_with_other_parts_names_nobody() {
        for uri in [
            "postern://prod/host",
            "postern://prod/host/a/b",
            "postern:///host/a",
            "postern://prod/root/a",
            "postern://prod/host/",
            "https://prod/host/a",
        ] {
            assert_eq!(parse_member_uri(uri), Err(InvalidMemberUri(uri.to_owned())));
        }
    }

    #[test]
    fn renewals_that_differ_in_any_part_sign_different_bytes() {
        let one = renewal_message(Role::Host, "ab", b"c", 7);

        assert_ne!(one, renewal_message(Role::Host, "a", b"bc", 7));
        assert_ne!(one, renewal_message(Role::User, "ab", b"c", 7));
        assert_ne!(one, renewal_message(Role::Host, "ab", b"c", 8));
    }

    #[test]
    fn trust_in_other_authorities_or_other_keys_has_another_name() {
        let one = trust_digest(&[b"ab", b"cd"], &[[1; 32]]);

        assert_eq!(one, trust_digest(&[b"ab", b"cd"], &[[1; 32]]));
        assert_ne!(one, trust_digest(&[b"cd", b"ab"], &[[1; 32]]));
        assert_ne!(one, trust_digest(&[b"abcd"], &[[1; 32]]));
        assert_ne!(one, trust_digest(&[b"ab", b"cd"], &[[2; 32]]));
        assert_ne!(one, trust_digest(&[b"ab", b"cd"], &[]));
    }

    #[test]
    fn rotations_that_differ_in_any_part_sign_different_bytes() {
        let of =
            |name, new: &[u8], end| rotation_message(Role::User, name, (b"o", new), b"x", (7, end));

        assert_ne!(of("a", b"n", false), of("a", b"n", true));
        assert_ne!(of("a", b"n", false), of("b", b"n", false));
        assert_ne!(of("a", b"n", false), of("a", b"m", false));
    }
}
