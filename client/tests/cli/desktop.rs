//! A desktop's session: a bus of its own and GNOME Keyring on it, unlocked, as tests/keyring.sh has unpacked
//! them beside the build. What is in the keyring is asked of secret-tool, which is libsecret's.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::sandbox::{Ran, Sandbox, finish};

const PASSWORD: &str = "of the keyring";
const KEYRINGS: &str = "org.freedesktop.secrets";

pub(crate) struct Desktop {
    dir: TempDir,
    bus: Child,
    keyring: Option<Child>,
}

// === impl Desktop ===

impl Desktop {
    /// With a keyring that is unlocked.
    pub(crate) fn new() -> Self {
        let mut desktop = Self::without_keyring();
        desktop.log_in();
        desktop
    }

    /// Begins the keyring anew, with its password.
    pub(crate) fn log_in(&mut self) {
        if let Some(mut daemon) = self.keyring.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
        let mut daemon = self.tool("gnome-keyring-daemon");
        daemon.args(["--unlock", "--components=secrets", "--foreground"]);
        self.keyring = Some(spawn(daemon, PASSWORD));
        self.await_owner(KEYRINGS);
    }

    /// With a keyring in which nothing was ever kept, and that knows no password.
    pub(crate) fn without_collection() -> Self {
        let mut desktop = Self::without_keyring();
        let mut daemon = desktop.tool("gnome-keyring-daemon");
        daemon.args(["--components=secrets", "--foreground"]);
        desktop.keyring = Some(spawn(daemon, ""));
        desktop.await_owner(KEYRINGS);
        desktop
    }

    /// The bus alone.
    pub(crate) fn without_keyring() -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["home", "run"] {
            let mut private = fs::DirBuilder::new();
            private.mode(0o700).create(dir.path().join(name)).unwrap();
        }
        let config = dir.path().join("bus.conf");
        fs::write(&config, bus_config(&address(dir.path()))).unwrap();
        let mut bus = Command::new("dbus-daemon");
        in_session(&mut bus, dir.path());
        bus.arg("--nofork")
            .arg(format!("--config-file={}", config.display()));
        let desktop = Self {
            bus: spawn(bus, ""),
            keyring: None,
            dir,
        };
        desktop.await_owner("org.freedesktop.DBus");
        desktop
    }

    /// `postern` of the sandbox in this session.
    pub(crate) fn command(&self, sandbox: &Sandbox) -> Command {
        let mut command = sandbox.command();
        command
            .env("DBUS_SESSION_BUS_ADDRESS", address(self.dir.path()))
            .env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        command
    }

    pub(crate) fn run(&self, sandbox: &Sandbox, words: &[&str]) -> Ran {
        let mut command = self.command(sandbox);
        command.args(words);
        finish(command, "")
    }

    /// The same at a terminal, in a session with a screen. Both outputs are one.
    pub(crate) fn run_at_terminal(&self, sandbox: &Sandbox, words: &[&str]) -> Ran {
        let postern = self.command(sandbox);
        let program = postern.get_program().to_string_lossy();
        let mut script = Command::new("script");
        script.args([
            "-qec",
            &format!("{program} {}", words.join(" ")),
            "/dev/null",
        ]);
        script.env_clear().env("DISPLAY", ":99");
        script.current_dir(sandbox.dir.path());
        script.envs(
            postern
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        finish(script, "")
    }

    /// What libsecret finds as this item.
    pub(crate) fn lookup(&self, item: &str) -> Option<String> {
        let mut tool = self.tool("secret-tool");
        tool.args(["lookup", "application", "postern", "item", item]);
        let ran = finish(tool, "");
        (ran.code == 0).then_some(ran.stdout)
    }

    pub(crate) fn store(&self, item: &str, text: &str) {
        let mut tool = self.tool("secret-tool");
        tool.args(["store", "--label=by hand", "application", "postern"]);
        tool.args(["item", item]);
        assert_eq!(finish(tool, text).code, 0);
    }

    pub(crate) fn delete(&self, item: &str) {
        let mut tool = self.tool("secret-tool");
        tool.args(["clear", "application", "postern", "item", item]);
        assert_eq!(finish(tool, "").code, 0);
    }

    pub(crate) fn lock(&self) {
        let of = "/org/freedesktop/secrets";
        let words = format!(
            "--session --print-reply --dest={KEYRINGS} {of} org.freedesktop.Secret.Service.Lock \
             array:objpath:{of}/aliases/default"
        );
        assert_eq!(self.dbus_send(&words).code, 0);
    }

    /// From now on it says nothing.
    pub(crate) fn hang(&self) {
        let pid = self.keyring.as_ref().unwrap().id().to_string();
        let stopped = Command::new("kill").args(["-STOP", &pid]).status();
        assert!(stopped.unwrap().success());
    }

    fn tool(&self, name: &str) -> Command {
        let tree = tree();
        let mut command = Command::new(tree.join("usr/bin").join(name));
        in_session(&mut command, self.dir.path());
        command
    }

    fn await_owner(&self, name: &str) {
        let words = format!(
            "--session --print-reply --dest=org.freedesktop.DBus / \
             org.freedesktop.DBus.NameHasOwner string:{name}"
        );
        let has_come = || self.dbus_send(&words).stdout.contains("boolean true");
        let comes = (0..1000).any(|_| {
            let has_come = has_come();
            if !has_come {
                sleep(Duration::from_millis(20));
            }
            has_come
        });
        assert!(comes, "{name} does not come");
    }

    fn dbus_send(&self, words: &str) -> Ran {
        let mut command = Command::new("dbus-send");
        in_session(&mut command, self.dir.path());
        command.args(words.split_whitespace());
        finish(command, "")
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for child in self.keyring.iter_mut().chain([&mut self.bus]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A bus that starts nothing, whatever the machine has installed.
fn bus_config(address: &str) -> String {
    format!(
        "<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>\
         <policy context='default'><allow send_destination='*' eavesdrop='true'/>\
         <allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"
    )
}

fn address(dir: &Path) -> String {
    format!("unix:path={}", dir.join("run/bus").display())
}

/// Programs of the machine and those that were unpacked, seeing nothing of the real session.
fn in_session(command: &mut Command, dir: &Path) {
    let tree = tree();
    let libraries: Vec<String> = fs::read_dir(tree.join("usr/lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .map(|path| path.display().to_string())
        .collect();
    let own = tree.join("usr/bin");
    command
        .env_clear()
        .env("HOME", dir.join("home"))
        .env("XDG_RUNTIME_DIR", dir.join("run"))
        .env("DBUS_SESSION_BUS_ADDRESS", address(dir))
        .env("LD_LIBRARY_PATH", libraries.join(":"))
        .env("PATH", format!("/usr/bin:/bin:{}", own.display()));
}

fn tree() -> PathBuf {
    let program = assert_cmd::cargo::cargo_bin!("postern");
    let target = program.parent().and_then(Path::parent).unwrap();
    let tree = target.join("keyring");
    assert!(
        tree.join("complete").exists(),
        "GNOME Keyring is not beside the build: run tests/keyring.sh first, as `make test` does"
    );
    tree
}

fn spawn(mut command: Command, stdin: &str) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    child
}
