//! GnuPG with a home of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home, whose agent ends with it.
pub(crate) struct GnuPg(TempDir);

// === impl GnuPg ===

impl GnuPg {
    pub(crate) fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self(home)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self) -> openpgp::Home {
        openpgp::Home::read(self.path()).unwrap()
    }

    /// Makes a key pair: `kind` signs, `encrypting` is its subkey.
    pub(crate) fn key(&self, name: &str, kind: &str, encrypting: &str, passphrase: &str) -> String {
        let user = format!("{name} <{name}@example>");
        let secret = ["--pinentry-mode", "loopback", "--passphrase", passphrase];
        self.run_with(
            &secret,
            &["--quick-generate-key", &user, kind, "sign,cert", "never"],
        );
        let fingerprint = self.fingerprint(name);
        self.run_with(
            &secret,
            &["--quick-add-key", &fingerprint, encrypting, "encr", "never"],
        );
        fingerprint
    }

    pub(crate) fn fingerprint(&self, name: &str) -> String {
        let listed = self.run(&["--with-colons", "--list-keys", name], b"");
        let text = String::from_utf8(listed).unwrap();
        let line = text.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.output(&[], args, input);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    fn run_with(&self, secret: &[&str], args: &[&str]) {
        let output = self.output(secret, args, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
    }

    pub(crate) fn output(&self, secret: &[&str], args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .args(["--batch", "--quiet", "--trust-model", "always", "--homedir"])
            .arg(self.path())
            .args(secret)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is installed (deploy/setup.sh)");
        // A gpg that has ended does not read.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// A message from one to another, with further options.
    pub(crate) fn sealed(&self, from: &str, to: &str, options: &[&str]) -> Vec<u8> {
        let args = [
            options,
            &[
                "--local-user",
                from,
                "--recipient",
                to,
                "--sign",
                "--encrypt",
            ],
        ];
        self.run(&args.concat(), b"the message")
    }
}

impl Drop for GnuPg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// Later than anything that a test makes, and before anything ends.
#[expect(
    clippy::disallowed_methods,
    reason = "GnuPG dates what it makes by the real clock"
)]
pub(crate) fn now_secs() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1
}
