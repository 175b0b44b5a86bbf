//! Where the controllers of a fleet are reached: addresses as people write them and members keep them.

/// The most controllers that a member keeps; a controller that names more is refused its settings.
pub const CONTROLLERS_MAX: usize = 16;
/// The longest name of DNS, brackets or a colon, and a port.
const ADDRESS_BYTES_MAX: usize = 262;

/// Whether this can be dialled: `host:port`, with brackets around an IPv6 address.
pub fn is_controller_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let is_host =
        !host.is_empty() && !is_bare_v6 && host.bytes().all(|byte| byte.is_ascii_graphic());
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    is_host && is_port && address.len() <= ADDRESS_BYTES_MAX
}

/// What a member keeps of the addresses that a controller says: those that can be dialled, each once, and no more than
/// [`CONTROLLERS_MAX`].
pub fn controllers_of(said: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for address in said {
        if kept.len() < CONTROLLERS_MAX && is_controller_address(address) && !kept.contains(address)
        {
            kept.push(address.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_that_can_be_dialled() {
        for good in ["c.example:7443", "192.0.2.1:1", "[2001:db8::1]:65535"] {
            assert!(is_controller_address(good), "{good}");
        }
        let long = format!("{}:7443", "c".repeat(300));
        for bad in [
            "",
            "c",
            "c:",
            ":7443",
            "c:0",
            "c:65536",
            "c:+1",
            "a b:1",
            "2001:db8::1:7443",
            "c\n:1",
            &long,
        ] {
            assert!(!is_controller_address(bad), "{bad}");
        }
    }

    #[test]
    fn of_what_is_said_each_address_is_kept_once_and_none_that_cannot_be_dialled() {
        let said = ["b:1", "a:1", "b:1", "nonsense"].map(str::to_owned);
        assert_eq!(controllers_of(&said), ["b:1", "a:1"]);
        let many: Vec<_> = (1..100).map(|port| format!("a:{port}")).collect();
        assert_eq!(controllers_of(&many).len(), CONTROLLERS_MAX);
    }
}
