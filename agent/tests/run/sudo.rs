//! Commands that sudo runs, with Debian's sudo.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use harness::Owner;

use super::host::{AGENT, Agent, Host, on_host};

const SUDOERS: &str = "root ALL=(ALL:ALL) NOPASSWD: ALL\nnobody ALL=(games:games) NOPASSWD: ALL\n";

/// What `id` says when this stanza's agent runs it, on a host that has sudo.
fn identity(stanza: &str) -> (String, Vec<String>) {
    let mut said = (String::new(), Vec::new());
    on_host(stanza, |host| {
        let owner = Owner::with(&host.node, "sudo").unwrap();
        let sudoers = host.node.write("sudoers", SUDOERS).unwrap();
        let install = format!("install -m 440 {} /etc/sudoers", sudoers.display());
        owner.shell(&install).unwrap();
        let made = host.node.dir.join("made");
        fs::write(&made, "").unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&host.node.dir, fs::Permissions::from_mode(0o755)).unwrap();
        let mut agent = start(host, &owner);

        let command = format!("sh -c 'id -un >> {0}; id -gn >> {0}'", made.display());
        host.knock_with(&["--server-cmd", &command]);
        agent.wait_for("command ended");
        agent.stop();

        let who = fs::read_to_string(&made).unwrap();
        said = (who.trim().replace('\n', ":"), host.reasons("command-run"));
    });
    said
}

fn start(host: &Host, owner: &Owner) -> Agent {
    let mut command = owner.command(AGENT);
    command
        .args(["run", "--backend", "iptables", "--interface", "lo"])
        .arg("--access-file")
        .arg(host.access())
        .arg("--state")
        .arg(host.state());
    let mut agent = Agent(host.node.start("agent", &mut command).unwrap());
    agent.wait_for("postern-agent is ready");
    agent
}

#[test]
fn weakness_32_sudo_runs_a_command_as_its_user_and_group_without_cmd_exec_group() {
    let (who, reasons) = identity(
        "ENABLE_CMD_EXEC Y\nENABLE_CMD_SUDO_EXEC Y\nCMD_SUDO_EXEC_USER nobody\n\
         CMD_SUDO_EXEC_GROUP daemon",
    );

    assert_eq!(who, "nobody:daemon", "{reasons:?}");
    assert!(
        reasons[0].starts_with("start: (as root, by sudo as nobody:daemon) sh -c"),
        "{reasons:?}"
    );
    assert!(reasons[1].starts_with("exit code 0"), "{reasons:?}");
}

#[test]
fn a_user_of_the_stanza_may_do_by_sudo_what_sudoers_lets_her_and_no_more() {
    let stanza =
        "ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nENABLE_CMD_SUDO_EXEC Y\nCMD_SUDO_EXEC_USER";

    let (games, told) = identity(&format!("{stanza} games"));
    assert_eq!(games, "games:games", "{told:?}");

    let (root, told) = identity(&format!("{stanza} root"));
    assert_eq!(root, "", "{told:?}");
    assert!(told[1].starts_with("exit code 1"), "{told:?}");
}
