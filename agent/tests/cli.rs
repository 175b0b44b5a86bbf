//! The command line as scripts and systemd see it: exit codes, streams, pages.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn agent(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-agent"));
    command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    agent(words).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn man_writes_a_page_for_every_command() {
    let dir = TempDir::new().unwrap();
    let pages = dir.path().join("man1");

    let written = run(&["man", pages.to_str().unwrap()]);

    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    for page in ["", "-run", "-join", "-explain", "-flush"] {
        let path = pages.join(format!("postern-agent{page}.1"));
        assert!(path.exists(), "{}", path.display());
    }
    let main = run(&["man"]);
    assert!(main.stdout.starts_with(b".ie"), "a page in roff");
}

#[test]
fn nobody_reading_any_more_is_no_failure_and_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);

    let ended = agent(&["completions", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();

    assert_eq!(
        (ended.status.code(), stderr(&ended).as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_file_that_is_not_there_is_named_and_no_unit_tries_again_and_again() {
    for words in [
        ["run", "--access-file", "/nowhere/access.conf"],
        ["run", "--config", "/nowhere/agent.toml"],
        ["explain", "--access-file", "/nowhere/access.conf"],
    ] {
        let ended = run(&words);
        assert_eq!(ended.status.code(), Some(64), "{words:?}");
        let told = stderr(&ended);
        assert!(told.starts_with("error: cannot read /nowhere/"), "{told}");
        assert!(told.contains("\n  because: No such file"), "{told}");
    }
}

/// The table of docs/install.md: what stays so ends for good (64), what may pass is tried again (1).
#[test]
fn what_cannot_mend_itself_ends_for_good_and_what_may_pass_is_tried_again() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, mode: u32| {
        fs::write(at(name), "SOURCE ANY\nKEY a\nHMAC_KEY b\n").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        at(name)
    };
    let (good, open) = (write("good.conf", 0o600), write("open.conf", 0o666));
    let pipe = at("pipe");
    nix::unistd::mkfifo(&*pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let huge = at("huge");
    File::create(&huge).unwrap().set_len(20 << 30).unwrap();
    fs::write(at("no-folder"), "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = taken.local_addr().unwrap().to_string();
    fs::write(at("a.toml"), format!("metrics_listen = \"{metrics}\"\n")).unwrap();
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = free.local_addr().unwrap().to_string();
    drop(free);
    let with = |access: &str, state: &str, more: &[&str]| {
        let words = [
            "run",
            "--dry-run",
            "--udp-server",
            &udp,
            "--access-file",
            access,
        ];
        let ended = run(&[&words[..], &["--state", state], more].concat());
        (ended.status.code(), stderr(&ended))
    };

    let state = at("state");
    for (file, told) in [
        (&open, "written"),
        (&pipe, "pipe"),
        (&at("missing"), "No such file"),
        (&huge, "larger than 64 MiB"),
    ] {
        let (code, said) = with(file, &state, &[]);
        assert_eq!(code, Some(64), "{file}: {said}");
        assert!(said.contains(told), "{file}: {said}");
    }
    let (code, said) = with(&good, &at("no-folder/state"), &[]);
    assert_eq!(code, Some(64), "{said}");
    let (code, said) = with(&good, &state, &["--config", &at("a.toml")]);
    assert_eq!(
        code,
        Some(1),
        "somebody else's port may become free: {said}"
    );
}

#[test]
fn mistakes_stand_at_the_left_margin_with_file_and_line() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.conf");
    fs::write(&path, "SOURCE ANY\nNONSENSE 1\n").unwrap();
    let file = path.to_str().unwrap();

    let ended = run(&["explain", "--access-file", file]);

    assert_eq!(ended.status.code(), Some(64));
    let told = stderr(&ended);
    assert!(
        told.starts_with("error: the access file is invalid"),
        "{told}"
    );
    assert!(told.contains(&format!("\n{file}:2: ")), "{told}");
}

#[test]
fn under_systemd_every_line_carries_its_priority() {
    let dir = TempDir::new().unwrap();
    let told = |name: &str, stream: &dyn Fn(&Path) -> String| {
        let path = dir.path().join(name);
        let journal = File::create(&path).unwrap();
        agent(&["run", "--config", "/nowhere/agent.toml"])
            .env("JOURNAL_STREAM", stream(&path))
            // Not a filter, which is worth a warning in the log.
            .env("POSTERN_LOG", "agent=loud")
            .stderr(journal)
            .status()
            .unwrap();
        fs::read_to_string(path).unwrap()
    };

    let to_the_journal = told("journal", &|path| {
        let journal = fs::metadata(path).unwrap();
        format!("{}:{}", journal.dev(), journal.ino())
    });
    let elsewhere = told("file", &|_| "1:1".to_owned());

    let (log, error) = to_the_journal.split_once('\n').unwrap();
    // The journal knows the time better.
    assert!(log.starts_with("<4> WARN "), "{to_the_journal}");
    assert!(error.lines().count() > 1, "{to_the_journal}");
    for line in error.lines() {
        assert!(line.starts_with("<3>"), "{line}");
    }
    assert!(elsewhere.contains("\nerror: "), "{elsewhere}");
    assert!(!elsewhere.contains("<3>"), "{elsewhere}");
}

#[test]
fn a_filter_that_is_none_is_said_and_not_used() {
    let ended = agent(&["explain", "--access-file", "/nowhere/access.conf"])
        .env("POSTERN_LOG", "agent=loud")
        .output()
        .unwrap();

    let told = stderr(&ended);
    assert!(told.contains("POSTERN_LOG is not a filter"), "{told}");
}

#[test]
fn an_import_says_how_it_read_dates_and_doubtful_lines() {
    let dir = TempDir::new().unwrap();
    let access = dir.path().join("access.conf");
    let text =
        "SOURCE 192.0.2.7/24\nKEY one\nHMAC_KEY two\nOPEN_PORTS tcp/22\nACCESS_EXPIRE 06/30/27\n";
    fs::write(&access, text).unwrap();
    let conf = dir.path().join("fwknopd.conf");
    fs::write(&conf, format!("ACCESS_FILE {};\n", access.display())).unwrap();
    let new = dir.path().join("new");
    let [conf, to] = [&conf, &new].map(|path| path.to_str().unwrap());
    let words = ["import", "--fwknopd-conf", conf, "--to", to];

    let told = agent(&words).env("TZ", "Asia/Tokyo").output().unwrap();

    assert_eq!(told.status.code(), Some(0), "{}", stderr(&told));
    let printed = String::from_utf8(told.stdout).unwrap();
    let written = fs::read_to_string(new.join("access.conf")).unwrap();
    // `TZ=Asia/Tokyo date -d 2027-06-30 +%s`
    for line in [
        "access.conf:1: SOURCE: ",
        "access.conf:5: ACCESS_EXPIRE: the year is 2027",
        "access.conf:5: ACCESS_EXPIRE: access ends at 2027-06-30 00:00:00 +09:00, which is second 1814281200",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
        assert!(written.contains(line), "{line}\n{written}");
    }
    assert!(
        written.contains("\nACCESS_EXPIRE_EPOCH 1814281200\n"),
        "{written}"
    );
}
