//! By which addresses users may reach one host.

use std::net::IpAddr;

use crate::app::enroll::checked_address;
use crate::error::Error;

/// Of one host at most.
const ADDRESSES_MAX: usize = 4;

/// Refuses what no client could choose from: at most one address of each family, or names.
pub(super) fn checked(addresses: Vec<String>) -> Result<Vec<String>, Error> {
    if addresses.len() > ADDRESSES_MAX {
        let problem = format!("at most {ADDRESSES_MAX}");
        return Err(Error::invalid("addresses", problem));
    }
    let mut known: Vec<String> = Vec::new();
    for address in &addresses {
        if address.is_empty() {
            return Err(Error::invalid("addresses", "one of them is empty"));
        }
        let address = checked_address(address)?;
        let number: Option<IpAddr> = address.parse().ok();
        if number.is_some_and(|it| it.is_unspecified() || it.is_multicast()) {
            let problem = format!("`{address}` is no host's");
            return Err(Error::invalid("addresses", problem));
        }
        let clashes = known
            .iter()
            .find(|other| match (number, other.parse::<IpAddr>()) {
                (Some(one), Ok(other)) => one.is_ipv4() == other.is_ipv4(),
                (None, Err(_)) => address.eq_ignore_ascii_case(other),
                (Some(_), Err(_)) | (None, Ok(_)) => false,
            });
        if let Some(other) = clashes {
            let problem = format!(
                "`{other}` and `{address}`: one address of IPv4 and one of IPv6 at most, or names"
            );
            return Err(Error::invalid("addresses", problem));
        }
        known.push(address);
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked_words(words: &[&str]) -> Result<Vec<String>, Error> {
        checked(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn what_looks_like_an_address_and_is_none_is_refused_as_a_name_of_a_host() {
        for bad in [
            "999.1.1.1",
            "192.0.2",
            "192.0.2.7.",
            "1",
            "192.0.2.007",
            ".",
            "web.1",
        ] {
            assert!(checked_words(&[bad]).is_err(), "{bad}");
        }
        for good in ["1.example", "web-1", "10-0-0-1.example.", "7.v6"] {
            assert_eq!(checked_words(&[good]).unwrap(), [good]);
        }
    }

    #[test]
    fn a_host_has_one_address_of_each_family_at_most_or_names() {
        for good in [
            &["192.0.2.7"][..],
            &["192.0.2.7", "2001:db8::7"],
            &["2001:db8::7", "192.0.2.7"],
            &["web-1.example", "web-1.v6.example"],
            &["web-1.example", "192.0.2.7"],
            &[],
        ] {
            assert_eq!(checked_words(good).unwrap(), good);
        }
        for bad in [
            &["192.0.2.7", "192.0.2.8"][..],
            &["2001:db8::7", "2001:db8::8"],
            &["web-1.example", "WEB-1.example"],
            &[""],
            &["web 1"],
            &["0.0.0.0"],
            &["ff02::1"],
            &["a", "b", "c", "d", "e"],
        ] {
            assert!(checked_words(bad).is_err(), "{bad:?}");
        }
    }
}
