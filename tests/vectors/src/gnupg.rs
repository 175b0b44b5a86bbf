//! GnuPG with a home of its own: for whoever needs keys and messages that are not ours.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A home, whose agent ends with it.
#[derive(Debug)]
pub struct GnuPg(TempDir);

/// What a key signs with, and what is sealed for its subkey, as GnuPG calls them.
pub type Kinds<'k> = (&'k str, &'k str);

/// The kind that every fwknop knows, in the only length of which it sends every packet.
pub const RSA: Kinds<'_> = ("rsa2048", "rsa2048");
/// The kind that GnuPG makes where nobody says anything.
pub const CURVES: Kinds<'_> = ("ed25519", "cv25519");

/// Ready for a program that asks nobody.
const ALONE: [&str; 6] = [
    "--batch",
    "--quiet",
    "--trust-model",
    "always",
    "--pinentry-mode",
    "loopback",
];

// === impl GnuPg ===

impl Default for GnuPg {
    fn default() -> Self {
        let home = TempDir::new().expect("there is room for a home");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700))
            .expect("the home is ours");
        Self(home)
    }
}

impl GnuPg {
    /// Without a key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same as a word of a command line.
    #[must_use]
    pub fn home(&self) -> String {
        self.path().display().to_string()
    }

    /// Makes a key pair `NAME <NAME@example>` with a subkey to encrypt to, and returns its fingerprint.
    pub fn key(&self, name: &str, (signs, decrypts): Kinds<'_>, passphrase: &str) -> String {
        let user = format!("{name} <{name}@example>");
        let secret = ["--passphrase", passphrase];
        let words = ["--quick-generate-key", &user, signs, "sign,cert", "never"];
        self.run(&[&secret, &words[..]].concat(), b"");
        let fingerprint = self.fingerprint(name);
        let words = ["--quick-add-key", &fingerprint, decrypts, "encr", "never"];
        self.run(&[&secret, &words[..]].concat(), b"");
        fingerprint
    }

    /// The fingerprint of the key of this name.
    #[must_use]
    pub fn fingerprint(&self, name: &str) -> String {
        let listed = self.run(&["--with-colons", "--list-keys", name], b"");
        let text = String::from_utf8_lossy(&listed);
        let line = text.lines().find(|line| line.starts_with("fpr:"));
        let field = line.and_then(|line| line.split(':').nth(9));
        field.expect("gpg lists the fingerprint").to_owned()
    }

    /// Brings all public keys of another home here.
    pub fn learn(&self, other: &Self) {
        self.run(&["--import"], &other.run(&["--export"], b""));
    }

    /// Trusts the key of this fingerprint as the owner's own.
    pub fn trust(&self, fingerprint: &str) {
        self.run(
            &["--import-ownertrust"],
            format!("{fingerprint}:6:\n").as_bytes(),
        );
    }

    /// Runs gpg, which must succeed, and returns what it printed.
    pub fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.output(args, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        output.stdout
    }

    /// Runs gpg.
    #[must_use]
    pub fn output(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("gpg")
            .arg("--homedir")
            .arg(self.path())
            .args(ALONE)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gpg is installed (deploy/setup.sh)");
        // A gpg that has ended does not read.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input);
        }
        child.wait_with_output().expect("gpg can be waited for")
    }

    /// A message from one to another, with further options.
    #[must_use]
    pub fn sealed(&self, from: &str, to: &str, options: &[&str]) -> Vec<u8> {
        let names = ["--local-user", from, "--recipient", to];
        let args = [options, &names, &["--sign", "--encrypt"]].concat();
        self.run(&args, b"the message")
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
