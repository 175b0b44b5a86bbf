//! This program under the name of fwknop's client, and the real one, with the same files.

use std::os::unix::fs::symlink;

use anyhow::{Context as _, ensure};
use harness::fwknop::Fwknopd;
use harness::{Node, Result, in_lab, postern, wait};

#[test]
fn a_stanza_that_either_client_makes_opens_by_either_client_on_fwknopd() {
    in_lab(|lab| {
        let (host, user) = (lab.node("host", 10)?, lab.node("user", 20)?);
        let link = user.write("fwknop", "")?;
        std::fs::remove_file(&link)?;
        symlink(postern::binary("postern")?, &link)?;
        let ours = link.display().to_string();
        let rc = user.write("rc", "[default]\n")?.display().to_string();
        let to = host.v4.to_string();
        let (mut access, mut words) = (String::new(), Vec::new());
        for (name, program) in [("ours", ours.as_str()), ("theirs", "fwknop")] {
            let made = [
                program,
                "--rc-file",
                &rc,
                "-n",
                name,
                "-D",
                &to,
                "-A",
                "tcp/22",
                "-p",
                "62201",
                "--key-gen",
                "--save-rc-stanza",
            ];
            user.run(&made)?.ok()?;
            access.push_str(&format!("SOURCE ANY\n{}\n", keys(&rc, name)?));
            words.push((name, program));
        }
        let server = Fwknopd::start(&host, &access, "")?;

        for (index, (client, program)) in words.iter().enumerate() {
            for (other, (name, _)) in words.iter().enumerate() {
                let address = format!("203.0.113.{}", 10 * index + other + 1);
                let knock = [
                    program,
                    "--rc-file",
                    &rc,
                    "--no-save-args",
                    "-n",
                    name,
                    "-a",
                    &address,
                ];
                let sent = user.run(&knock)?.ok()?;
                ensure!(sent.stdout.is_empty(), "{client}: {}", sent.text());
                opens(&host, &address, &server)
                    .with_context(|| format!("{client} with the stanza of {name}"))?;
            }
        }
        server.stop()
    });
}

/// The keys of a stanza, as access.conf has them.
fn keys(rc: &str, stanza: &str) -> Result<String> {
    let text = std::fs::read_to_string(rc)?;
    let own = text
        .split(&format!("[{stanza}]"))
        .nth(1)
        .context("no stanza")?;
    let own = own.split('[').next().unwrap_or_default();
    let lines: Vec<&str> = own
        .lines()
        .filter(|line| line.contains("KEY_BASE64"))
        .collect();
    ensure!(lines.len() == 2, "{own}");
    Ok(lines.join("\n"))
}

fn opens(host: &Node, address: &str, server: &Fwknopd) -> Result<()> {
    let source = format!("-s {address}/32 ");
    let waited = wait::until(&format!("fwknopd to open {address}"), wait::SOON, || {
        Ok(host.rules()?.iter().any(|rule| rule.contains(&source)))
    });
    waited.map_err(|error| error.context(server.log()))?;
    Ok(())
}
