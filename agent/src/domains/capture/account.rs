//! As whom the capture domain runs: as a user that nobody else is.
//!
//! Whoever has the number of a process may stop and end it. 65534 (`nobody`) is what many programs give
//! themselves, and what commands of messages may run as, so it is never taken.
//!
//! The files of the host are read and no other database of users: a start waits for no directory server,
//! and the accounts of a system stand there.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::accounts::OF_CAPTURE;

/// Without that account, one of these that no account has: neither distributions nor systemd nor containers give them
/// to anybody (systemd.io/UIDS-GIDS, 60706..61183).
const RESERVED: std::ops::RangeInclusive<u32> = 61_101..=61_120;
/// What has no user of its own in the kernel (`nobody`), and what some older programs take for it.
const NOBODY: [u32; 3] = [65_534, 65_535, u32::MAX];

/// Somebody that a process can become.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Who {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Whether there is an account.
    is_named: bool,
}

// === impl Who ===

impl Who {
    /// The one for this host; `None` where there is none that is nobody else.
    pub(crate) fn of_this_host() -> Option<Self> {
        let read = |file| fs::read(file).unwrap_or_default();
        let (users, groups) = (read("/etc/passwd"), read("/etc/group"));
        Self::among(
            &String::from_utf8_lossy(&users),
            &String::from_utf8_lossy(&groups),
        )
    }

    /// The same, with these users (passwd(5)) and groups (group(5)); pure.
    pub(super) fn among(users: &str, groups: &str) -> Option<Self> {
        let fields = |line: &str, at| line.split(':').nth(at).and_then(|text| text.parse().ok());
        let has_user = |number: u32| {
            users
                .lines()
                .filter(move |line| fields(line, 2) == Some(number))
        };
        let has_group = |number: u32| groups.lines().any(|line| fields(line, 2) == Some(number));
        let is_account = |line: &&str| line.split(':').next() == Some(OF_CAPTURE);
        let account = users.lines().find(is_account).and_then(|line| {
            let (user, group) = (fields(line, 2)?, fields(line, 3)?);
            let is_own = user != 0 && group != 0 && !NOBODY.contains(&user);
            (is_own && has_user(user).count() == 1).then_some(Self {
                user,
                group,
                is_named: true,
            })
        });
        let is_free = |number: &u32| has_user(*number).next().is_none() && !has_group(*number);
        let reserved = || {
            RESERVED.into_iter().find(is_free).map(|number| Self {
                user: number,
                group: number,
                is_named: false,
            })
        };
        account.or_else(reserved)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_named {
            write!(f, "{OF_CAPTURE} ({})", self.user)
        } else {
            write!(f, "{}, which no account has", self.user)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n";

    fn among(more: &str) -> Option<Who> {
        Who::among(&format!("{USERS}{more}"), "root:x:0:\nshadow:x:42:\n")
    }

    #[test]
    fn the_account_of_the_package_is_taken_and_it_alone_where_it_is_there() {
        let who = among("postern-capture:x:998:997::/:/usr/sbin/nologin\n").unwrap();

        assert_eq!((who.user, who.group), (998, 997));
        assert_eq!(who.to_string(), "postern-capture (998)");
    }

    #[test]
    fn without_it_a_number_is_taken_that_nobody_has_and_never_nobodys() {
        let who = among("").unwrap();
        assert_eq!((who.user, who.group), (61_101, 61_101));
        assert_eq!(who.to_string(), "61101, which no account has");
        let next = among("a:x:61101:5::/:\n").unwrap();
        assert_eq!(next.user, 61_102);
        let group = Who::among(USERS, "a:x:61101:\n").unwrap();
        assert_eq!(group.user, 61_102);
        // An account that is somebody else, too.
        for number in [0, 65_534, 61_101] {
            let shared = format!("postern-capture:x:{number}:7::/:\na:x:61101:7::/:\n");
            assert_eq!(among(&shared).unwrap().user, 61_102, "{number}");
        }
        let all: String = RESERVED
            .map(|number| format!("a:x:{number}:7::/:\n"))
            .collect();
        assert_eq!(among(&all), None);
        assert_eq!(
            among("postern-capture\n::::\n\u{fffd}").unwrap().user,
            61_101
        );
    }
}
