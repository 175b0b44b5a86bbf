//! A home directory of its own for every test, and what a run left behind.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use spa::{
    DigestType, EncryptionKey, EncryptionMode, HmacKey, Keys, Opened, OpeningKey, Sealed, Secret,
};
use tempfile::TempDir;

/// Home, working directory and profile of one test.
pub(crate) struct Sandbox {
    pub(crate) dir: TempDir,
}

/// What a run said.
#[must_use = "assert the exit code or the output"]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

// === impl Sandbox ===

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// `postern`, seeing nothing of the real home.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("postern"));
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("LOGNAME", "root")
            .env("PATH", "/usr/bin:/bin")
            .current_dir(self.dir.path());
        command
    }

    pub(crate) fn run<S: AsRef<str>>(&self, words: &[S]) -> Ran {
        self.run_with(words, "")
    }

    pub(crate) fn run_with<S: AsRef<str>>(&self, words: &[S], stdin: &str) -> Ran {
        let mut command = self.command();
        command.args(words.iter().map(AsRef::as_ref));
        finish(command, stdin)
    }

    /// The packet that `postern knock WORDS... --dry-run` prints.
    pub(crate) fn packet<S: AsRef<str>>(&self, words: &[S]) -> String {
        let mut all = vec!["knock", "--dry-run"];
        all.extend(words.iter().map(AsRef::as_ref));
        let ran = self.run(&all);
        assert_eq!(ran.code, 0, "{all:?}: {}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        ran.stdout.trim().to_owned()
    }
}

/// Runs to the end.
pub(crate) fn finish(mut command: Command, stdin: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may be gone before it is written.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Keys made of passphrases.
pub(crate) fn keys(key: &str, hmac: Option<&str>) -> Keys {
    keys_of(
        Secret::from_passphrase(key),
        EncryptionMode::Cbc,
        hmac.map(|hmac| (Secret::from_passphrase(hmac), DigestType::Sha256)),
    )
}

pub(crate) fn keys_of(
    key: Secret,
    mode: EncryptionMode,
    hmac: Option<(Secret, DigestType)>,
) -> Keys {
    let hmac = hmac.map(|(secret, digest)| (HmacKey::new(secret).unwrap(), digest));
    Keys::new(EncryptionKey::new(key).unwrap(), mode, hmac).unwrap()
}

/// Opens a packet in fwknop's form.
pub(crate) fn open(packet: &str, keys: &Keys) -> Opened {
    let key = OpeningKey::new(keys);
    let sealed = Sealed::parse(packet.as_bytes()).unwrap();
    sealed.authenticate(&key).unwrap().open().unwrap()
}

/// Opens a packet in the tagged form, whose tag must be the right one.
pub(crate) fn open_tagged(packet: &str, keys: &Keys) -> Opened {
    let sealed = Sealed::parse(packet.as_bytes()).unwrap();
    let (tag, rest) = sealed.tag().unwrap();
    let key = OpeningKey::new(keys);
    let opened = rest.authenticate(&key).unwrap().open().unwrap();
    let bucket = spa::bucket(opened.message().timestamp_secs);
    assert_eq!(tag, spa::tag(&keys.tag_key().unwrap(), bucket));
    opened
}
