//! Hosts of ufw and fail2ban, as Debian packs them.

use crate::life::lives;
use crate::place::BOTH;
use crate::world::{FLUSH_IPTABLES, Service, World};

#[test]
fn on_a_host_of_ufw_a_knock_opens_and_what_ufw_denies_by_address_stays_denied() {
    lives(&UFW, BOTH);
}

#[test]
fn on_a_host_of_fail2ban_a_knock_opens_and_whom_it_bans_stays_banned() {
    lives(&FAIL2BAN, BOTH);
}

/// As its manual has it; what its package does when it is installed comes first.
const UFW: World = World {
    lay:
        "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
ufw default deny incoming
ufw allow 62201/udp
ufw --force enable",
    hooks: &[],
    ban: "ufw insert 1 deny from $WHO && iptables -I INPUT 1 -s $WHO -j DROP",
    unban: "ufw delete deny from $WHO && iptables -D INPUT -s $WHO -j DROP",
    reload: "ufw reload",
    flush: FLUSH_IPTABLES,
    service: Service::Own,
};

/// Watching a file, with the actions that Debian has.
const FAIL2BAN: World = World {
    lay: "mkdir -p /run/fail2ban
touch /var/log/auth.log
printf '[DEFAULT]\\nbackend = polling\\nbantime = 60\\n[sshd]\\nenabled = true\\nport = 22\\n' \
    >/etc/fail2ban/jail.d/defaults-debian.conf
fail2ban-server -xf --logtarget /run/fail2ban.log start >/run/fail2ban.out 2>&1 &
while ! fail2ban-client ping >/dev/null 2>&1; do sleep 0.1; done",
    hooks: &[],
    ban: "fail2ban-client set sshd banip $WHO
while ! iptables -S f2b-sshd | grep -q $WHO; do sleep 0.05; done",
    unban: "fail2ban-client set sshd unbanip $WHO",
    reload: "fail2ban-client reload",
    flush: FLUSH_IPTABLES,
    service: Service::Own,
};
