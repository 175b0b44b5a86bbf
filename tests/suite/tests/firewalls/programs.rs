//! Hosts of ufw, firewalld and fail2ban, as Debian packs them.

use harness::service::Reach;
use harness::{Result, in_lab};

use crate::life::lives;
use crate::place::{BOTH, BackEnd, Place};
use crate::world::{FLUSH_IPTABLES, FLUSH_NFT, Service, World};

/// As its manual has it, with what becomes of everything else; what its package does when it is
/// installed comes first.
macro_rules! ufw {
    ($default:literal) => {
        concat!(
            "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/
ufw default ",
            $default,
            " incoming
ufw allow 62201/udp
ufw --force enable"
        )
    };
}
#[test]
fn on_a_host_of_ufw_a_knock_opens_and_what_ufw_denies_by_address_stays_denied() {
    lives(&UFW, BOTH);
}

#[test]
fn on_a_host_of_firewalld_a_knock_opens_through_the_chain_of_its_zone_that_the_configuration_names()
{
    let hooks = &["inet firewalld filter_IN_public"];
    lives(&World { hooks, ..FIREWALLD }, BOTH);
}

#[test]
fn on_a_host_of_firewalld_that_allows_the_hidden_port_a_knock_opens_also_after_its_reloads() {
    lives(&ALLOWED, BOTH);
}

#[test]
fn on_a_host_of_fail2ban_a_knock_opens_and_whom_it_bans_stays_banned() {
    lives(&FAIL2BAN, BOTH);
}

#[test]
fn on_a_host_of_ufw_that_rejects_by_default_a_knock_opens() {
    let lay = concat!(ufw!("reject"), "\nufw logging medium");
    lives(&World { lay, ..UFW }, BOTH);
}

#[test]
fn when_ufw_is_reset_nothing_that_is_hidden_opens_and_a_knock_still_does() {
    std::thread::scope(|scope| {
        for back_end in BOTH {
            scope.spawn(|| in_lab(|lab| reset(&Place::new(lab, &UFW)?, *back_end)));
        }
    });
}

fn reset(place: &Place, back_end: BackEnd) -> Result<()> {
    let _agent = place.agent(back_end, &[])?;
    place.knock()?;
    place.opens()?;
    let mut sessions = place.sessions()?;

    place.owner_does("ufw --force reset")?;

    place.sees(&place.stranger, Reach::Silent)?;
    for session in &mut sessions {
        session.talk()?;
    }
    place.knock()?;
    place.opens()
}

#[test]
fn on_a_host_of_fail2ban_that_bans_with_nftables_a_knock_opens_and_whom_it_bans_stays_banned() {
    lives(&FAIL2BAN_NFT, BOTH);
}

/// A host of ufw that drops what it does not name.
pub(crate) const UFW: World = World {
    lay: ufw!("deny"),
    hooks: &[],
    ban: "ufw insert 1 deny from $WHO && iptables -I INPUT 1 -s $WHO -j DROP",
    unban: "ufw delete deny from $WHO && iptables -D INPUT -s $WHO -j DROP",
    reload: "ufw reload",
    flush: FLUSH_IPTABLES,
    service: Service::Own,
};

/// As Debian has it, without a desktop that would be asked who may change it.
macro_rules! firewalld {
    ($more:literal) => {
        concat!(
            "rm -f /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service
mkdir -p /run/dbus
dbus-daemon --system --nofork --nopidfile >/run/dbus.log 2>&1 &
while ! [ -S /run/dbus/system_bus_socket ]; do sleep 0.05; done
firewalld --nofork --nopid >/run/firewalld.log 2>&1 &
while ! firewall-cmd --state >/dev/null 2>&1; do sleep 0.1; done
firewall-cmd -q --permanent --remove-service=ssh
firewall-cmd -q --permanent --add-port=62201/udp
",
            $more,
            "firewall-cmd -q --reload"
        )
    };
}

/// It rejects what it does not name.
pub(crate) const FIREWALLD: World = World {
    lay: firewalld!(""),
    hooks: &[],
    ban: "firewall-cmd -q --zone=drop --add-source=$WHO
conntrack -D -s $WHO >/dev/null 2>&1 || true",
    unban: "firewall-cmd -q --zone=drop --remove-source=$WHO",
    reload: "firewall-cmd -q --reload && firewall-cmd -q --complete-reload",
    flush: FLUSH_NFT,
    service: Service::Own,
};

/// Its owner has allowed the port that we hide.
const ALLOWED: World = World {
    lay: firewalld!("firewall-cmd -q --permanent --add-port=22/tcp\n"),
    ..FIREWALLD
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

/// The same with the action that Debian's newer versions have: a set, and a rule that rejects.
const FAIL2BAN_NFT: World = World {
    lay: "mkdir -p /run/fail2ban
touch /var/log/auth.log
printf '[DEFAULT]\\nbackend = polling\\nbantime = 60\\nbanaction = nftables\\n[sshd]\\nenabled = true\\nport = 22\\n' \
    >/etc/fail2ban/jail.d/defaults-debian.conf
fail2ban-server -xf --logtarget /run/fail2ban.log start >/run/fail2ban.out 2>&1 &
while ! fail2ban-client ping >/dev/null 2>&1; do sleep 0.1; done",
    ban: "fail2ban-client set sshd banip $WHO
while ! nft list ruleset | grep -q $WHO; do sleep 0.05; done",
    flush: FLUSH_NFT,
    ..FAIL2BAN
};
