//! A host that runs fwknopd as Debian packs it, and moves by installing a package: `docs/moving.md`, played.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use harness::fwknop::fwknop;
use harness::{Node, Ran, Result, in_lab, wait};
use suite::page::{Cast, Play, all_steps};
use suite::{STANZA, STOCK_ARGS};
use vectors::gnupg::{GnuPg, RSA};

use crate::boot::{Machine, Version, package};

const UNIT: &str = "fwknop-server";
const CONF: &str = "PCAP_INTF eth0;\nGPG_HOME_DIR /root/.gnupg;\n";

/// The files of the site: a stanza of each kind, the second with the keyring that fwknopd.conf names.
fn site(machine: &Machine, server: &GnuPg, signer: &str) -> Result<String> {
    let access = format!(
        "{STANZA}\nSOURCE ANY\nGPG_DECRYPT_ID server@example\nGPG_ALLOW_NO_PW Y\nGPG_REQUIRE_SIG Y\n\
         GPG_FINGERPRINT_ID {signer}\nHMAC_KEY gpg-hmac\nOPEN_PORTS tcp/443\nFW_ACCESS_TIMEOUT 30\n"
    );
    let private = |path: &str, text: &[u8]| -> Result<()> {
        let path = machine.path(path);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(0o600),
        )?)
    };
    machine.shell(
        "mkdir -p /etc/fwknop; mkdir -p -m 700 /root/.gnupg /root/.gnupg/private-keys-v1.d",
    )?;
    private("/etc/fwknop/access.conf", access.as_bytes())?;
    private("/etc/fwknop/fwknopd.conf", CONF.as_bytes())?;
    for name in ["pubring.kbx", "trustdb.gpg"] {
        let file = fs::read(server.path().join(name))?;
        private(&format!("/root/.gnupg/{name}"), &file)?;
    }
    for entry in fs::read_dir(server.path().join("private-keys-v1.d"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = format!("/root/.gnupg/private-keys-v1.d/{name}");
        private(&to, &fs::read(&path)?)?;
    }
    Ok(access)
}

/// Whoever types what the page says, as one who has just logged in.
struct Operator<'m>(&'m Machine);

impl Cast for Operator<'_> {
    fn shell(&mut self, _: &str, text: &str) -> Result<Ran> {
        self.0.try_shell(&format!("cd; {text}"))
    }

    fn file(&mut self, _: &str, name: &str, _: &str) -> Result<()> {
        bail!("the page has no file {name}")
    }

    fn scene(&mut self, what: &str) -> Result<()> {
        bail!("nobody knows how: {what}")
    }
}

/// Sends a packet of each kind, and waits until what lists the holes has both addresses.
fn both_open(
    (user, machine): (&Node, &Machine),
    (client, signer): (&GnuPg, &str),
    (octet, list): (u8, &str),
) -> Result<()> {
    let [plain, signed] = [octet, octet + 1].map(|octet| format!("203.0.113.{octet}"));
    let home = client.home();
    let gpg = [
        "--gpg-home-dir",
        &home,
        "--gpg-recipient-key",
        "server@example",
    ];
    let signs = [
        "--gpg-signer-key",
        signer,
        "--gpg-no-signing-pw",
        "--key-hmac",
        "gpg-hmac",
    ];
    let to = machine.node.v4;
    fwknop(
        user,
        to,
        &[&["-A", "tcp/22", "-a", &plain], STOCK_ARGS].concat(),
    )?;
    fwknop(
        user,
        to,
        &[&["-A", "tcp/443", "-a", &signed], &gpg[..], &signs].concat(),
    )?;
    let open = wait::until("both to be let in", wait::SOON, || {
        let listed = machine.shell(list)?;
        Ok(listed.contains(&plain) && listed.contains(&signed))
    });
    let log = format!("{list}; journalctl --no-pager -n 40 -u {UNIT}");
    open.or_else(|error| Err(error.context(machine.shell(&log)?)))?;
    Ok(())
}

#[test]
fn a_host_of_fwknopd_moves_by_a_package_and_keeps_its_files_its_unit_and_its_clients() {
    in_lab(|lab| {
        let machine = Machine::boot(&lab.node("host", 10)?)?;
        let user = lab.node("user", 20)?;
        let (server, client) = (GnuPg::new(), GnuPg::new());
        server.key("server", RSA, "");
        let signer = client.key("alice", RSA, "");
        server.learn(&client);
        client.learn(&server);
        server.trust(&signer);
        let access = site(&machine, &server, &signer)?;
        let users = (&user, &machine);
        // A pristine machine has none; there the package stands in for nothing.
        let before = machine.try_shell("dpkg-query -W -f '${Status}' fwknop-server")?;
        let has_fwknopd = before.stdout == "install ok installed";
        if has_fwknopd {
            machine.shell(&format!("systemctl enable --now {UNIT}"))?;
            // It says that it is ready before it is.
            wait::until("fwknopd to capture", wait::SOON, || {
                let log = machine.shell(&format!("journalctl --no-pager -u {UNIT}"))?;
                Ok(log.contains("main event loop"))
            })?;
            both_open(users, (&client, &signer), (1, "iptables -S FWKNOP_INPUT"))?;
        }

        let mut operator = Operator(&machine);
        for name in [
            "postern",
            "postern-agent",
            "postern-fwknop-server",
            "postern-fwknop-client",
        ] {
            let deb = package(name, Version::Now)?;
            let file = deb.file_name().context("a file has a name")?;
            fs::copy(&deb, machine.path("/root").join(file))?;
        }
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/moving.md");
        let steps = all_steps(&fs::read_to_string(page)?)?;
        ensure!(steps.len() >= 4, "the marks of the page are gone");
        let mut play = Play::default();
        play.all(&mut operator, &steps)?;
        play.end()?;

        if has_fwknopd {
            let left = machine.shell("dpkg-query -W -f '${Status}' fwknop-server")?;
            ensure!(left.ends_with(" config-files"), "{left}");
        }
        ensure!(machine.unit_is("active", UNIT)? == "active");
        ensure!(machine.unit_is("enabled", UNIT)? == "enabled");
        for (name, ours) in [("sbin/fwknopd", "postern-agent"), ("bin/fwknop", "postern")] {
            let program = machine.shell(&format!("readlink -f /usr/{name}"))?;
            ensure!(program == format!("/usr/bin/{ours}"), "{program}");
        }
        ensure!(fs::read_to_string(machine.path("/etc/fwknop/access.conf"))? == access);
        // In its first second a host that knows no past trusts no packet.
        wait::until_next_second();
        wait::until_next_second();
        both_open(users, (&client, &signer), (3, "fwknopd --fw-list"))?;
        machine.shell(&format!("fwknopd -R && systemctl reload {UNIT}"))?;
        both_open(users, (&client, &signer), (5, "fwknopd --fw-list"))?;

        machine.shell("dpkg -r postern-fwknop-server")?;
        ensure!(machine.unit_is("active", UNIT)? != "active");
        ensure!(fs::read_to_string(machine.path("/etc/fwknop/access.conf"))? == access);
        Ok(())
    });
}
