//! Completions of names: what the shells get, offline.

use std::process::Command;

use crate::fleet_profile::{Member, alice};
use crate::sandbox::Sandbox;

fn completed(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let ran = sandbox.run(&[&["complete", "--"], words].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    ran.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn hosts_ports_and_stanzas_are_completed_from_the_profile_without_a_network() {
    let alice = alice();
    let sandbox = &alice.sandbox;
    sandbox.write(".fwknoprc", "[office]\nSPA_SERVER 192.0.2.1\n[home]\n");

    assert_eq!(completed(sandbox, &["knock", "w"]), ["web-1"]);
    assert_eq!(completed(sandbox, &["ssh", ""]), ["db-1", "web-1"]);
    let ports = completed(sandbox, &["knock", "db-1", "-A", "tcp/54"]);
    assert_eq!(ports, ["tcp/5432", "tcp/5433"]);
    assert_eq!(completed(sandbox, &["knock", "-n", "o"]), ["office"]);
    assert_eq!(completed(sandbox, &["knock", "--fw"]), [] as [&str; 0]);
}

#[test]
fn where_nobody_has_joined_nothing_is_completed_and_nothing_is_said() {
    assert_eq!(completed(&Sandbox::new(), &["knock", ""]), [] as [&str; 0]);
}

#[test]
fn bash_completes_hosts_and_options() {
    let alice = alice();
    let Member { sandbox, .. } = &alice;
    let script = sandbox.run(&["completions", "bash"]).stdout;
    sandbox.write("completions", script);
    let program = assert_cmd::cargo::cargo_bin!("postern");
    let typed = |line: &str| {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let ask = format!(
            "source completions; COMP_WORDS=('{}' {}); COMP_CWORD={}; COMP_LINE=x; \
             _postern_names '{}' \"${{COMP_WORDS[COMP_CWORD]}}\" ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            program.display(),
            words.join(" "),
            words.len(),
            program.display(),
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &ask]).env_clear();
        bash.env("HOME", sandbox.dir.path())
            .env("PATH", "/usr/bin:/bin");
        let output = bash.current_dir(sandbox.dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };

    assert_eq!(typed("knock we"), "web-1\n");
    assert!(typed("kno").contains("knock"), "{}", typed("kno"));
    assert!(typed("knock --fw-t").contains("--fw-timeout"));
}
