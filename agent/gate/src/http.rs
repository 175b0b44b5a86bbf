//! SPA inside an HTTP request, for networks that let nothing else out (docs/wire-format.md).
//!
//! Read as strictly as the stock client writes it: `GET /`, the packet with `+` and `/` written as
//! `-` and `_`, ` HTTP/1.0` or `1.1`, and `User-Agent: Fwknop`, unless any program will do. One
//! segment is one request.

use std::net::IpAddr;

use spa::SEALED_LEN_MAX;

/// Where the translated text is put: on the caller's stack, so that junk allocates nothing.
pub(crate) type Scratch = [u8; SEALED_LEN_MAX];

/// A request that has the form of a SPA packet.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Unwrapped<'b> {
    /// The SPA text in its own alphabet; not yet checked any further.
    pub(crate) text: &'b [u8],
    /// First address of `X-Forwarded-For`, if there is one. Anyone can write it.
    pub(crate) forwarded_for: Option<IpAddr>,
}

/// Reads `segment` as a SPA request; `None` if it is anything else, or of another program than
/// fwknop and `any_user_agent` does not say that this does not matter.
pub(crate) fn unwrap<'b>(
    segment: &[u8],
    any_user_agent: bool,
    scratch: &'b mut Scratch,
) -> Option<Unwrapped<'b>> {
    let rest = segment.strip_prefix(b"GET /")?;
    let path_len = rest.iter().position(|&byte| byte == b' ')?;
    let (path, rest) = rest.split_at_checked(path_len)?;
    let headers = rest
        .strip_prefix(b" HTTP/1.0\r\n")
        .or_else(|| rest.strip_prefix(b" HTTP/1.1\r\n"))?;
    let agent = header(headers, b"user-agent").unwrap_or_default();
    if !any_user_agent && !agent.starts_with(b"Fwknop") {
        return None;
    }

    let text = scratch.get_mut(..path.len())?;
    for (to, &from) in text.iter_mut().zip(path) {
        *to = match from {
            b'-' => b'+',
            b'_' => b'/',
            b'+' | b'/' => return None,
            other => other,
        };
    }
    Some(Unwrapped {
        text,
        forwarded_for: header(headers, b"x-forwarded-for").and_then(first_address),
    })
}

/// Returns the value of the first header of this name, in any case, without blanks around it.
fn header<'h>(headers: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    headers
        .split(|&byte| byte == b'\n')
        .take_while(|line| !line.trim_ascii().is_empty())
        .find_map(|line| {
            let (found, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
        })
}

fn first_address(value: &[u8]) -> Option<IpAddr> {
    let first = value.split(|&byte| byte == b',').next()?.trim_ascii();
    let address: IpAddr = std::str::from_utf8(first).ok()?.parse().ok()?;
    let address = address.to_canonical();
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /ab-c_d HTTP/1.0\r\nUser-Agent: Fwknop/2.6.10\r\nAccept: */*\r\n\
        X-Forwarded-For: 192.0.2.7, 198.51.100.1\r\nHost: gate\r\n\r\n";

    fn altered(from: &str, to: &str) -> Vec<u8> {
        String::from_utf8(REQUEST.to_vec())
            .unwrap()
            .replace(from, to)
            .into_bytes()
    }

    fn unwraps(segment: &[u8]) -> bool {
        unwrap(segment, false, &mut [0; SEALED_LEN_MAX]).is_some()
    }

    #[test]
    fn a_request_is_translated_back_and_its_first_forwarded_address_is_read() {
        let mut scratch = [0; SEALED_LEN_MAX];

        let unwrapped = unwrap(REQUEST, false, &mut scratch).unwrap();

        assert_eq!(unwrapped.text, b"ab+c/d");
        assert_eq!(unwrapped.forwarded_for, Some("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn requests_that_no_client_sends_are_not_unwrapped() {
        for (from, to) in [
            ("GET", "get"),
            ("GET", "POST"),
            ("ab-c_d", "ab+c_d"),
            ("ab-c_d", "ab-c/d"),
            ("/ab-c_d", "http://gate/ab-c_d"),
            ("Fwknop", "curl"),
            (" HTTP/1.0", ""),
            ("HTTP/1.0", "HTTP/2"),
            ("User-Agent", "X-User-Agent"),
        ] {
            assert!(!unwraps(&altered(from, to)), "{from} -> {to}");
        }
    }

    #[test]
    fn the_program_that_made_a_request_does_not_matter_where_any_will_do_and_all_else_does() {
        let unwraps_of_any =
            |segment: &[u8]| unwrap(segment, true, &mut [0; SEALED_LEN_MAX]).is_some();
        for (from, to) in [
            ("Fwknop/2.6.10", "curl/8.0"),
            ("Fwknop/2.6.10", ""),
            ("User-Agent: Fwknop/2.6.10\r\n", ""),
        ] {
            assert!(unwraps_of_any(&altered(from, to)), "{from} -> {to}");
            assert!(!unwraps(&altered(from, to)), "{from} -> {to}");
        }
        for (from, to) in [
            ("GET", "POST"),
            ("ab-c_d", "ab+c_d"),
            ("HTTP/1.0", "HTTP/2"),
        ] {
            assert!(!unwraps_of_any(&altered(from, to)), "{from} -> {to}");
        }
    }

    #[test]
    fn a_user_agent_in_the_body_does_not_count() {
        let request = b"GET /abc HTTP/1.0\r\nHost: gate\r\n\r\nUser-Agent: Fwknop/2.6.10\r\n";

        assert!(!unwraps(request));
    }

    #[test]
    fn a_forwarded_address_that_is_none_is_left_out() {
        for value in ["unknown", "", "0.0.0.0", "224.0.0.1", "192.0.2.7:80"] {
            let request = altered("192.0.2.7", value);
            let mut scratch = [0; SEALED_LEN_MAX];

            assert_eq!(
                unwrap(&request, false, &mut scratch).unwrap().forwarded_for,
                None,
                "{value}"
            );
        }
    }

    #[test]
    fn a_path_longer_than_any_packet_is_not_unwrapped() {
        let path = "A".repeat(SEALED_LEN_MAX + 1);

        assert!(!unwraps(&altered("ab-c_d", &path)));
    }
}
