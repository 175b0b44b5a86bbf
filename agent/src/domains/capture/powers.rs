//! What the capture domain keeps: what its sources take, and no more.

use std::path::PathBuf;

use caps::Capability;
use nix::libc;

use super::account::Who;
use crate::capture::{CaptureConfig, CaptureSource, Filter};
use crate::domains::confine::{Files, Powers};

/// Of a process with these sources, which becomes this one unless it needs root's files.
pub(super) fn powers(captures: &[CaptureConfig], who: Option<Who>) -> Powers {
    let mut capabilities = Vec::new();
    let mut families = vec![
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let mut files = Files {
        read: Files::SYSTEM.iter().map(PathBuf::from).collect(),
        // libpcap looks there what kind of device an interface is.
        ..Files::default()
    };
    files.read.push("/sys".into());
    let mut user = who.map(|who| (who.user, who.group));
    for capture in captures {
        // Names in it are looked up.
        files.connects |= matches!(capture.filter, Filter::Own(_));
        match &capture.source {
            CaptureSource::Interface(_) => {
                capabilities.push(Capability::CAP_NET_RAW);
                families.push(libc::AF_PACKET);
            }
            // The kernel hands what is logged to nobody else.
            CaptureSource::Nflog(_) => capabilities.push(Capability::CAP_NET_ADMIN),
            CaptureSource::Socket(_) | CaptureSource::TcpServer(_) => {
                files.connects |= matches!(capture.source, CaptureSource::TcpServer(_));
                capabilities.push(Capability::CAP_NET_BIND_SERVICE);
            }
            CaptureSource::File { path, .. } => {
                // It and the bookmark belong to whom they belong to.
                user = None;
                capabilities.push(Capability::CAP_DAC_READ_SEARCH);
                files.read.extend(folder_of(path));
                files.write.extend(folder_of(&capture.bookmark));
            }
        }
    }
    Powers {
        capabilities,
        user,
        files: Some(files),
        families,
        runs_programs: false,
    }
}

fn folder_of(path: &std::path::Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    let here = || PathBuf::from(".");
    if path.as_os_str().is_empty() {
        None
    } else if folder.as_os_str().is_empty() {
        Some(here())
    } else {
        Some(folder.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: CaptureSource) -> Powers {
        let config = CaptureConfig {
            source,
            filter: Filter::for_port(62_201),
            buffer_bytes: 1 << 20,
            promiscuous: false,
            any_direction: false,
            bookmark: "/state/place".into(),
        };
        powers(&[config], Who::among("", ""))
    }

    #[test]
    fn a_source_takes_one_capability_and_only_a_file_keeps_root() {
        let interface = of(CaptureSource::Interface("any".to_owned()));
        assert_eq!(interface.capabilities, [Capability::CAP_NET_RAW]);
        assert_eq!(interface.user, Some((61_101, 61_101)));
        assert!(interface.families.contains(&libc::AF_PACKET));
        let group = of(CaptureSource::Nflog(5));
        assert_eq!(group.capabilities, [Capability::CAP_NET_ADMIN]);
        assert!(!group.families.contains(&libc::AF_PACKET));
        let socket = of(CaptureSource::Socket(([0, 0, 0, 0], 62_201).into()));
        assert_eq!(socket.capabilities, [Capability::CAP_NET_BIND_SERVICE]);
        let file = of(CaptureSource::File {
            path: "/dumps/a.pcap".into(),
            follow: true,
        });
        assert_eq!(file.capabilities, [Capability::CAP_DAC_READ_SEARCH]);
        assert_eq!(file.user, None);
        let files = file.files.unwrap();
        assert!(files.read.contains(&"/dumps".into()));
        assert_eq!(files.write, [PathBuf::from("/state")]);
        for powers in [interface, group, socket] {
            assert!(!powers.runs_programs);
            assert!(powers.files.unwrap().write.is_empty());
        }
    }
}
