//! Packets that OpenPGP wraps: real fwknop and our client, real fwknopd and our agent, GnuPG's own homes.

use anyhow::ensure;
use harness::fwknop::{Fwknopd, fwknop};
use harness::postern::{Agent, Member, binary, explain};
use harness::{Node, Result, in_lab, wait};
use suite::Alone;
use vectors::gnupg::{CURVES, GnuPg, Kinds, RSA};

/// The homes of a host and its user, each with the keys of the other.
fn homes(kinds: Kinds<'_>) -> (GnuPg, GnuPg, String) {
    let (server, client) = (GnuPg::new(), GnuPg::new());
    server.key("server", kinds, "");
    let signer = client.key("alice", kinds, "");
    server.learn(&client);
    client.learn(&server);
    (server, client, signer)
}

fn stanza(server: &GnuPg, signer: &str, hmac: &str) -> String {
    format!(
        "SOURCE ANY\nGPG_HOME_DIR {}\nGPG_DECRYPT_ID server@example\nGPG_ALLOW_NO_PW Y\n\
         GPG_REQUIRE_SIG Y\nGPG_FINGERPRINT_ID {signer}\n{hmac}OPEN_PORTS tcp/22\n\
         FW_ACCESS_TIMEOUT 30\n",
        server.home()
    )
}

/// What fwknop is told to sign with.
fn signing<'w>(home: &'w str, signer: &'w str) -> [&'w str; 7] {
    [
        "--gpg-home-dir",
        home,
        "--gpg-recipient-key",
        "server@example",
        "--gpg-signer-key",
        signer,
        "--gpg-no-signing-pw",
    ]
}

/// The reason that an agent with this access.conf gives for a packet; `accepted` when it takes it.
fn verdict(node: &Node, access: &str, packet: &str) -> Result<String> {
    let file = node.write("explained.conf", access)?;
    let ran = explain(&file, &[], packet)?.ok()?;
    let lines = ran.json_lines()?;
    let line = lines.first().ok_or_else(|| anyhow::anyhow!("no answer"))?;
    let text = |name: &str| line.get(name).and_then(serde_json::Value::as_str);
    let check = text("check").unwrap_or_default();
    Ok(format!("{check}: {}", text("reason").unwrap_or_default()))
}

/// Has real fwknop write a packet into a file, and reads it.
fn packet(user: &Node, host: &Node, words: &[&str]) -> Result<String> {
    let file = user.dir.join("packet").display().to_string();
    let save = ["-A", "tcp/22", "-a", "203.0.113.7", "-B", &file];
    fwknop(user, host.v4, &[&save, words].concat())?;
    Ok(std::fs::read_to_string(file)?.trim().to_owned())
}

#[test]
fn gpg_packets_open_and_refuse_as_on_fwknopd() {
    in_lab(|lab| {
        let (host, user) = (lab.node("gpg-host", 12)?, lab.node("gpg-user", 22)?);
        let (server, client, signer) = homes(RSA);
        let mallory = client.key("mallory", RSA, "");
        server.learn(&client);
        let home = client.home();
        for hmac in ["", "HMAC_KEY gpg-hmac\n"] {
            let access = stanza(&server, &signer, hmac);
            let with_hmac: &[&str] = if hmac.is_empty() {
                &[]
            } else {
                &["--key-hmac", "gpg-hmac"]
            };
            let made = |signer: &str| {
                let words = [&signing(&home, signer)[..], with_hmac].concat();
                packet(&user, &host, &words)
            };
            let good = made(&signer)?;
            let accepted = verdict(&host, &access, &good)?;
            ensure!(accepted.starts_with("accepted"), "{accepted}");

            let of_mallory = verdict(&host, &access, &made(&mallory)?)?;
            ensure!(of_mallory.starts_with("authenticate: "), "{of_mallory}");
            let mut flipped = good.clone().into_bytes();
            let middle = flipped.len() / 2;
            flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
            let flipped = verdict(&host, &access, &String::from_utf8(flipped)?)?;
            ensure!(flipped.starts_with("authenticate: "), "{flipped}");
            let twice = explain(
                &host.write("a.conf", &access)?,
                &[],
                &format!("{good}\n{good}"),
            )?;
            let twice = twice.ok()?.json_lines()?;
            let check = twice.get(1).and_then(|line| line["check"].as_str());
            ensure!(check == Some("replay"), "{twice:?}");
            // For its recipient, and for nobody else.
            let elsewhere = GnuPg::new();
            elsewhere.key("server", RSA, "");
            elsewhere.learn(&client);
            elsewhere.run(
                &["--yes", "--delete-keys", &server.fingerprint("server")],
                b"",
            );
            let foreign = verdict(&host, &stanza(&elsewhere, &signer, hmac), &good)?;
            ensure!(!foreign.starts_with("accepted"), "{foreign}");
        }

        // Who is expired, or revoked, signs no more.
        let access = stanza(&server, &signer, "");
        let good = packet(&user, &host, &signing(&home, &signer))?;
        client.run(&["--quick-set-expire", &signer, "seconds=1"], b"");
        server.learn(&client);
        std::thread::sleep(std::time::Duration::from_secs(2));
        let expired = verdict(&host, &access, &good)?;
        ensure!(expired.starts_with("authenticate: "), "{expired}");
        client.run(&["--quick-set-expire", &signer, "0"], b"");
        server.learn(&client);
        let again = verdict(&host, &access, &good)?;
        ensure!(again.starts_with("accepted"), "{again}");
        revoke(&client, &signer)?;
        server.learn(&client);
        let revoked = verdict(&host, &access, &good)?;
        ensure!(revoked.starts_with("authenticate: "), "{revoked}");
        Ok(())
    });
}

/// Imports the revocation that GnuPG made together with the key.
fn revoke(gpg: &GnuPg, fingerprint: &str) -> Result<()> {
    let file = format!("openpgp-revocs.d/{fingerprint}.rev");
    let text = std::fs::read_to_string(gpg.path().join(file))?.replace(":-----", "-----");
    gpg.run(&["--import"], text.as_bytes());
    Ok(())
}

#[test]
fn real_fwknop_with_gpg_opens_our_agent_and_the_audit_names_the_signer() {
    in_lab(|lab| {
        let (server, client, signer) = homes(RSA);
        let access = stanza(&server, &signer, "HMAC_KEY gpg-hmac\n");
        // A stanza that has both takes both kinds of packet.
        let access = format!("{access}KEY aes-key\n");
        let alone = Alone::start(lab, &access)?;
        let home = client.home();

        let words = [
            "-A",
            "tcp/22",
            "-a",
            "203.0.113.7",
            "--key-hmac",
            "gpg-hmac",
        ];
        fwknop(
            &alone.user,
            alone.host.v4,
            &[&signing(&home, &signer)[..], &words].concat(),
        )?;
        alone.agent.opens([203, 0, 113, 7], "tcp:22")?;
        let words = [
            "-A",
            "tcp/22",
            "-a",
            "203.0.113.8",
            "--key-hmac",
            "gpg-hmac",
        ];
        let aes = ["--key-rijndael", "aes-key"];
        fwknop(&alone.user, alone.host.v4, &[&aes[..], &words].concat())?;
        alone.agent.opens([203, 0, 113, 8], "tcp:22")?;

        let agent = binary("postern-agent")?.display().to_string();
        let state = alone.host.dir.join("agent-state").display().to_string();
        let audit = [
            &*agent,
            "audit",
            "--json",
            "--kind",
            "grant-opened",
            "--state",
            &state,
        ];
        let audit = alone.host.run(&audit)?.ok()?.json_lines()?;
        let keys: Vec<&str> = audit
            .iter()
            .filter_map(|line| line["key"].as_str())
            .collect();
        ensure!(keys.contains(&&*signer.to_lowercase()), "{keys:?}");
        Ok(())
    });
}

#[test]
fn packets_of_our_client_open_a_real_fwknopd() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let person = Member::stranger(&lab.node("user", 20)?, "nobody");
        let mut octet = 0;
        for kind in [RSA, CURVES] {
            let (server, client) = (GnuPg::new(), GnuPg::new());
            server.key("server", kind, "");
            let signer = client.key("alice", kind, "sign-pw");
            server.learn(&client);
            client.learn(&server);
            // fwknopd asks GnuPG how far it trusts the signer.
            server.trust(&signer);
            for hmac in ["", "HMAC_KEY gpg-hmac\n"] {
                octet += 1;
                let daemon = Fwknopd::start(&host, &stanza(&server, &signer, hmac), "")?;
                let use_hmac = if hmac.is_empty() { "" } else { "USE_HMAC Y\n" };
                let rc = format!(
                    "[lab]\nSPA_SERVER {}\nUSE_GPG Y\nGPG_RECIPIENT server@example\nGPG_SIGNER {signer}\n\
                     GPG_HOMEDIR {}\nGPG_SIGNING_PW sign-pw\n{hmac}{use_hmac}",
                    host.v4,
                    client.home()
                );
                person.node.write(".fwknoprc", &rc)?;
                let address = format!("203.0.113.{octet}");

                person.knock(
                    &host.v4.to_string(),
                    "tcp/22",
                    &["-n", "lab", "-a", &address],
                )?;

                let source = format!("-s {address}/32 ");
                let opened = wait::until(&format!("fwknopd to open {address}"), wait::SOON, || {
                    Ok(host.rules()?.iter().any(|rule| rule.contains(&source)))
                });
                opened.map_err(|error| error.context(daemon.log()))?;
                daemon.stop()?;
            }
        }
        Ok(())
    });
}

#[test]
fn keys_of_curves_open_between_ours_and_keys_that_gpg_agent_holds_sign_by_gpg() {
    in_lab(|lab| {
        let (server, client, signer) = homes(CURVES);
        let alone = Alone::start(lab, &stanza(&server, &signer, ""))?;
        let person = Member::stranger(&alone.user, "nobody");
        let home = client.home();
        let host = alone.host.v4.to_string();
        for (octet, more) in [(1, None), (2, Some("--gpg-agent"))] {
            let address = format!("203.0.113.{octet}");
            let mut words = vec!["-a", &address, "--gpg-signer-key", "alice"];
            words.extend(["--gpg-recipient-key", "server", "--gpg-home-dir", &home]);
            words.extend(more);

            person.knock(&host, "tcp/22", &words)?;

            alone.agent.opens([203, 0, 113, octet], "tcp:22")?;
        }
        Ok(())
    });
}

#[test]
fn a_keyring_that_is_not_there_or_cannot_be_unlocked_is_a_mistake_at_the_start_and_nothing_opens() {
    in_lab(|lab| {
        let host = lab.node("host", 10)?;
        let server = GnuPg::new();
        server.key("server", CURVES, "pw");
        let signer = server.key("alice", CURVES, "");
        let good = stanza(&server, &signer, "HMAC_KEY h\n");
        for (access, expected) in [
            (
                good.replace(&server.home(), "/no/such/home"),
                "/no/such/home cannot be read",
            ),
            (good.clone(), "passphrase is needed"),
            (
                good.replace("GPG_ALLOW_NO_PW Y", "GPG_DECRYPT_PW other"),
                "the passphrase is wrong",
            ),
            (good.replace(&signer, &"A".repeat(40)), "no public key in"),
        ] {
            Agent::refused(&host, &access, &[])?.says(expected)?;
        }
        let right = good.replace("GPG_ALLOW_NO_PW Y", "GPG_DECRYPT_PW pw");
        let _ = Agent::alone(&host, &right)?;
        Ok(())
    });
}
