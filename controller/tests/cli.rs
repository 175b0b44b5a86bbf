//! The command line: what it prints where, and its exit codes.
#![expect(clippy::unwrap_used, reason = "a test that is wrong may panic")]

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

fn run(arguments: &[&str], data: &Path) -> (i32, String, String) {
    let mut command = Command::cargo_bin("postern-controller").unwrap();
    let output = command
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn init(data: &Path) -> (i32, String, String) {
    run(&["init", "--address", "controller.example:7443"], data)
}

#[test]
fn init_prints_the_token_and_nothing_else_on_standard_output() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");

    let (code, stdout, stderr) = init(&data);

    assert_eq!(code, 0, "{stderr}");
    let token: fleet::Token = stdout.strip_suffix('\n').unwrap().parse().unwrap();
    assert_eq!(token.role, fleet::Role::Owner);
    assert_eq!(token.address, "controller.example:7443");
    assert!(stderr.contains("postern join"), "{stderr}");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = if name.is_empty() {
            data.clone()
        } else {
            data.join(name)
        };
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for secret in ["ca-key.pem", "server-key.pem", "seal.key"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
}

#[test]
fn init_does_not_run_twice_nor_into_a_directory_with_other_things() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    let before = std::fs::read(data.join("ca.pem")).unwrap();

    let (twice, stdout, stderr) = init(&data);
    let (into_other, _, not_empty) = init(dir.path());

    assert_eq!((twice, into_other), (1, 1));
    assert_eq!(stdout, "");
    assert!(stderr.contains("already"), "{stderr}");
    assert!(not_empty.contains("not empty"), "{not_empty}");
    assert_eq!(std::fs::read(data.join("ca.pem")).unwrap(), before);
}

#[test]
fn a_token_can_be_made_when_the_last_owner_is_lost() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);

    let (code, stdout, stderr) = run(&["token", "create", "--role", "owner"], &data);

    assert_eq!(code, 0, "{stderr}");
    let token: fleet::Token = stdout.trim().parse().unwrap();
    assert_eq!(token.role, fleet::Role::Owner);
}

#[test]
fn what_a_token_cannot_promise_is_refused_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);

    for (arguments, reason) in [
        (
            ["--role", "user", "--label", "role=web"],
            "only hosts have labels",
        ),
        (["--role", "host", "--label", "role=w b"], "not a label"),
        (
            ["--role", "host", "--name", "controller"],
            "cannot be called",
        ),
        (["--role", "user", "--name", "a/b"], "not a name"),
        (["--role", "user", "--ttl", "90d"], "at most 30days"),
        (
            ["--role", "owner", "--scope", "env=stage"],
            "cannot be bounded",
        ),
    ] {
        let arguments = [&["token", "create"][..], &arguments].concat();
        let (code, stdout, stderr) = run(&arguments, &data);
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let dir = TempDir::new().unwrap();

    for arguments in [
        &["init", "--address", "no-port"][..],
        &["init", "--address", "a:1", "--fleet", "a b"],
        &["serve", "--listen", "nowhere"],
        &["dance"],
    ] {
        assert_eq!(run(arguments, dir.path()).0, 2, "{arguments:?}");
    }
}

#[test]
fn an_invalid_configuration_ends_with_64_and_names_every_mistake() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    let text = "fleet = 'prod'\naddress = 'x'\npolicy_valid = 'soon'\n";
    std::fs::write(data.join("controller.toml"), text).unwrap();

    let (code, _, stderr) = run(&["serve"], &data);

    assert_eq!(code, 64);
    assert!(stderr.contains("address:"), "{stderr}");
    assert!(stderr.contains("policy_valid:"), "{stderr}");
}

#[test]
fn a_directory_without_a_controller_is_named_with_what_to_do() {
    let dir = TempDir::new().unwrap();

    let (code, _, stderr) = run(&["serve"], dir.path());

    assert_eq!(code, 1);
    assert!(
        stderr.contains("postern-controller init --data"),
        "{stderr}"
    );
}

#[test]
fn man_writes_a_page_for_every_command() {
    let dir = TempDir::new().unwrap();
    let pages = dir.path().join("man1");

    let written = Command::cargo_bin("postern-controller")
        .unwrap()
        .arg("man")
        .arg(&pages)
        .output()
        .unwrap();

    assert_eq!(written.status.code(), Some(0), "{written:?}");
    for page in [
        "",
        "-init",
        "-serve",
        "-sink-test",
        "-token",
        "-token-create",
    ] {
        let path = pages.join(format!("postern-controller{page}.1"));
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn nobody_reading_any_more_is_no_failure_and_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);

    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_postern-controller"))
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();

    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[test]
fn one_variable_and_one_option_make_the_log_speak_in_json() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    // The port of the address is taken, so that it ends by itself.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();

    let ended = Command::cargo_bin("postern-controller")
        .unwrap()
        .args(["serve", "--log", "json", "--listen", &listen, "--data"])
        .arg(&data)
        .env("POSTERN_LOG", "debug,controller=loud")
        .output()
        .unwrap();

    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    let first = told.lines().next().unwrap();
    assert!(
        first.starts_with('{') && first.contains("POSTERN_LOG"),
        "{told}"
    );
    assert!(told.contains("\n  because: "), "{told}");
}

#[test]
fn whoever_may_not_read_the_directory_is_told_so_and_not_that_there_is_no_controller() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if chown(dir.path(), Some(0), None).is_err() {
        // Only root can become somebody else.
        return;
    }

    let serve = |data: &Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postern-controller"));
        command.args(["serve", "--data"]).arg(data).uid(NOBODY);
        let ended = command.output().unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap(),
        )
    };
    let (code, forbidden) = serve(&data);
    let (_, missing) = serve(&dir.path().join("nowhere"));

    assert_eq!(code, Some(1));
    assert!(
        forbidden.contains("this user (uid 65534) may not use"),
        "{forbidden}"
    );
    assert!(!forbidden.contains("holds no controller"), "{forbidden}");
    assert!(missing.contains("there is no"), "{missing}");
}

fn add_sink(data: &Path, text: &str) {
    let path = data.join("controller.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}[[sink]]\n{text}\n")).unwrap();
}

#[test]
fn a_test_of_a_sink_says_what_came_back_and_ends_as_it_went() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    add_sink(&data, "name = 'file'\ntype = 'file'\npath = 'events.json'");
    add_sink(
        &data,
        "name = 'away'\ntype = 'webhook'\nurl = 'http://127.0.0.1:1/'",
    );

    let (taken, said, _) = run(&["sink", "test", "file"], &data);
    let (away, _, unreachable) = run(&["sink", "test", "away"], &data);
    let (unknown, _, near) = run(&["sink", "test", "awya"], &data);
    let (listed, rows, _) = run(&["sink", "list", "--json"], &data);

    assert_eq!(
        (taken, away, unknown, listed),
        (0, 3, 1, 0),
        "{unreachable}"
    );
    assert!(said.contains("written and synced"), "{said}");
    let written = std::fs::read_to_string(data.join("events.json")).unwrap();
    assert!(written.contains("a test of sink file"), "{written}");
    assert!(near.contains("did you mean away?"), "{near}");
    assert_eq!(rows.lines().count(), 2);
    assert!(rows.contains("\"delivered_id\":null"), "{rows}");
}

#[test]
fn a_secret_that_everybody_may_read_is_refused_and_never_shown() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    let url = "url = 'http://127.0.0.1:1/'";
    add_sink(
        &data,
        &format!("name = 'a'\ntype = 'webhook'\n{url}\nsecret_file = 'secret'"),
    );
    add_sink(
        &data,
        &format!("name = 'b'\ntype = 'webhook'\n{url}\ntoken_file = 'secret'"),
    );
    let sentence = "correct horse battery staple";

    for (mode, name, code, why) in [
        (0o644, "a", 64, "may be read by everybody"),
        (0o644, "b", 64, "may be read by everybody"),
        // Mounted for a group, as secrets of containers are.
        (0o440, "a", 3, "request failed"),
        (0o600, "b", 3, "request failed"),
    ] {
        let _ = std::fs::remove_file(data.join("secret"));
        program::files::create(&data.join("secret"), mode, sentence.as_bytes()).unwrap();
        let (ended, _, stderr) = run(&["-v", "sink", "test", name], &data);
        assert_eq!(ended, code, "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
        assert!(!stderr.contains("horse"), "{stderr}");
    }
}

#[test]
fn a_database_that_is_gone_is_named_and_none_is_made_in_its_place() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    init(&data);
    std::fs::remove_file(data.join("controller.db")).unwrap();

    let file = dir.path().join("backup.tar").display().to_string();
    for arguments in [
        &["serve"][..],
        &["check"],
        &["sink", "list"],
        &["backup", &file],
    ] {
        let (code, _, stderr) = run(arguments, &data);
        assert_eq!(code, 1, "{stderr}");
        assert!(
            stderr.contains("controller.db") && stderr.contains("No such file"),
            "{stderr}"
        );
        assert!(stderr.contains("postern-controller restore"), "{stderr}");
    }
    assert!(!data.join("controller.db").exists());
}

#[test]
fn a_controller_is_backed_up_checked_and_restored_by_commands() {
    let dir = TempDir::new().unwrap();
    let [data, copy] = ["data", "copy"].map(|name| dir.path().join(name));
    let file = dir.path().join("backup.tar").display().to_string();
    init(&data);

    let (made, said, _) = run(&["backup", &file, "--json"], &data);
    let (again, _, there) = run(&["backup", &file], &data);
    let (restored, _, next) = run(&["restore", &file], &copy);
    let (checked, findings, _) = run(&["check"], &copy);
    std::fs::write(copy.join("seal.key"), "no key").unwrap();
    let (unsound, _, failed) = run(&["check"], &copy);
    let (moved, _, _) = run(
        &["move", &dir.path().join("m.tar").display().to_string()],
        &data,
    );
    let (gone, _, elsewhere) = run(&["serve"], &data);

    assert_eq!(
        (made, again, restored, checked, unsound, moved, gone),
        (0, 1, 0, 0, 1, 0, 1)
    );
    assert!(said.contains("\"schema\":"), "{said}");
    assert!(there.contains("nothing was written"), "{there}");
    assert!(next.contains("postern-controller serve --data"), "{next}");
    assert!(
        findings.lines().all(|line| line.starts_with("ok ")),
        "{findings}"
    );
    assert!(failed.contains("not sound"), "{failed}");
    assert!(elsewhere.contains("was moved"), "{elsewhere}");
}

#[test]
fn root_who_works_in_somebodys_directory_leaves_nothing_there_that_is_hers() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    const NOBODY: u32 = 65_534;
    let dir = TempDir::new().unwrap();
    let [data, copy] = ["data", "copy"].map(|name| dir.path().join(name));
    let file = dir.path().join("backup.tar").display().to_string();
    init(&data);
    add_sink(&data, "name = 'file'\ntype = 'file'\npath = 'events.json'");
    std::fs::create_dir(&copy).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let inside = |dir: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    for path in inside(&data)
        .into_iter()
        .chain([data.clone(), copy.clone()])
    {
        if chown(path, Some(NOBODY), Some(NOBODY)).is_err() {
            // Only root can work in somebody else's name.
            return;
        }
    }

    let codes = [
        run(&["sink", "test", "file"], &data),
        run(&["sink", "list"], &data),
        run(&["sink", "skip", "file"], &data),
        run(&["token", "create", "--role", "owner"], &data),
        run(&["check"], &data),
        run(&["backup", &file], &data),
        run(&["restore", &file], &copy),
        run(&["check"], &copy),
    ]
    .map(|(code, _, _)| code);

    assert_eq!(codes, [0, 0, 1, 0, 0, 0, 0, 0]);
    let written = inside(&data).into_iter().chain(inside(&copy));
    for path in written {
        let owner = std::fs::metadata(&path).unwrap().uid();
        assert_eq!(owner, NOBODY, "{}", path.display());
    }
    assert!(data.join("events.json").exists() && copy.join("seal.key").exists());
}

#[test]
fn the_status_of_a_controller_that_does_not_serve_ends_with_3_and_says_what_the_directory_says() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    assert_eq!(init(&data).0, 0);

    let (code, out, error) = run(&["status"], &data);
    let (code_json, json, _) = run(&["status", "--json"], &data);

    assert_eq!((code, code_json), (3, 3));
    assert!(
        out.contains("members dial controller.example:7443"),
        "{out}"
    );
    assert!(error.contains("no controller serves from"), "{error}");
    assert!(json.contains("\"is_serving\":false"), "{json}");
}
