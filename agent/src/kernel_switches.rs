//! What the kernel of this host lets packets do, as far as the administrator says it by sysctl: read,
//! and never changed by us.

use std::fs;
use std::path::Path;

use engine::Forwards;

/// Whether packets are forwarded at all: by the switch of some interface, or by that of all.
pub(crate) fn forwards() -> Forwards {
    Forwards {
        v4: some_interface("/proc/sys/net/ipv4/conf", "forwarding"),
        v6: some_interface("/proc/sys/net/ipv6/conf", "forwarding"),
    }
}

/// Whether packets from elsewhere can be led to 127.0.0.1.
pub(crate) fn reaches_loopback() -> bool {
    some_interface("/proc/sys/net/ipv4/conf", "route_localnet")
}

fn some_interface(dir: &str, switch: &str) -> bool {
    let entries = fs::read_dir(Path::new(dir));
    entries.into_iter().flatten().flatten().any(|entry| {
        // Those of interfaces to come, and of the one that forwards nothing, say nothing.
        let counts = entry.file_name() != "default" && entry.file_name() != "lo";
        let is_on = |text: String| text.trim() != "0";
        counts && fs::read_to_string(entry.path().join(switch)).is_ok_and(is_on)
    })
}
