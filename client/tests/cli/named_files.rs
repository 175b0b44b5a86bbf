//! Files that somebody names on a command line.

use std::fs::File;
use std::process::Command;

use crate::sandbox::{Sandbox, finish};

/// Every command that reads a file that is named, but for the file.
fn readers(file: &str) -> Vec<Vec<String>> {
    let words = |line: &str| {
        let words = line.split(' ');
        words.map(|word| word.replace("FILE", file)).collect()
    };
    [
        "policy check FILE",
        "policy import web-1=FILE",
        "audit verify FILE",
        "join --token-file FILE",
        "knock 192.0.2.1 -A tcp/22 -s --dry-run --key-file FILE",
        "knock 192.0.2.1 -A tcp/22 -s --dry-run --key-rijndael k --get-hmac-key FILE",
        "knock 192.0.2.1 --rc-file FILE --dry-run",
    ]
    .map(words)
    .into()
}

/// As `timeout` runs it: what waits for a pipe, or reads a device to its end, fails the test at once.
fn in_time(sandbox: &Sandbox, words: &[String]) -> crate::sandbox::Ran {
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(assert_cmd::cargo::cargo_bin!("postern"))
        .args(words)
        .env_clear()
        .env("HOME", sandbox.dir.path())
        .env("PATH", "/usr/bin:/bin")
        .current_dir(sandbox.dir.path());
    finish(command, "")
}

#[test]
fn a_pipe_a_device_a_folder_and_a_file_without_end_are_refused_by_name_wherever_a_file_is_read() {
    let sandbox = Sandbox::new();
    let at = |name: &str| sandbox.dir.path().join(name).display().to_string();
    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    File::create(at("vast")).unwrap().set_len(20 << 30).unwrap();
    for (file, says) in [
        ("/dev/zero".to_owned(), "a device"),
        (at("pipe"), "a pipe"),
        (at("vast"), "larger than"),
    ] {
        for words in readers(&file) {
            // An export is read line by line, of which none may be that long.
            let is_export = words.starts_with(&["audit".to_owned()]) && says == "larger than";
            let ran = in_time(&sandbox, &words);
            // A log that cannot be read is not one that was changed.
            let code = if words.starts_with(&["audit".to_owned()]) && !is_export {
                2
            } else {
                1
            };
            assert_eq!(ran.code, code, "{words:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(&file), "{words:?}: {}", ran.stderr);
            assert!(
                is_export || ran.stderr.contains(says),
                "{words:?}: {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn a_policy_comes_from_standard_input_or_from_what_the_shell_has_opened_and_has_a_limit_there_too()
{
    let sandbox = Sandbox::new();
    let policy = "SOURCE ANY\nREQUIRE_USERNAME alice\nKEY x\nHMAC_KEY y\nHOSTS *\n";
    sandbox.write("fleet.conf", policy);
    let shell = |line: &str| {
        let postern = assert_cmd::cargo::cargo_bin!("postern");
        let mut command = Command::new("timeout");
        command
            .args(["60", "bash", "-c", line])
            .env_clear()
            .env("HOME", sandbox.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .env("postern", postern)
            .current_dir(sandbox.dir.path());
        finish(command, "")
    };
    let named = shell("$postern policy check fleet.conf");
    for line in [
        "$postern policy check - < fleet.conf",
        "cat fleet.conf | $postern policy check -",
        "$postern policy check <(cat fleet.conf)",
        "$postern policy check /dev/stdin < fleet.conf",
    ] {
        let ran = shell(line);
        assert_eq!(ran.code, named.code, "{line}: {}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), named.stdout.lines().count());
    }
    for line in [
        "$postern policy check - < /dev/zero",
        "cat /dev/zero | $postern policy check -",
        "$postern policy check <(cat /dev/zero)",
    ] {
        let ran = shell(line);
        assert_eq!(ran.code, 1, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains("larger than 64 MiB"), "{}", ran.stderr);
    }
}
