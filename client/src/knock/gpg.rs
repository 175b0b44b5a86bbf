//! Packets that OpenPGP wraps, as fwknop's GPG mode sends them: with which keys, and who makes the
//! message.
//!
//! Keys of a GnuPG home are read and used here; only what gpg-agent or a card holds needs gpg itself.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use openpgp::{Home, KeyFault, KeyringError, Sealer};
use spa::{DigestType, HmacKey, Keys, Message, Secret};

use super::args::KeyArgs;
use super::gpg_args::GpgArgs;
use super::{key_file, keys, packet};
use crate::clock;
use crate::error::{CommandError, Result};
use crate::profile::home;
use crate::rc::Stanza;
use crate::ui::Ui;

/// What a packet is sealed with.
#[derive(Debug)]
pub(crate) enum PacketKeys {
    /// An encryption key, and perhaps an HMAC key.
    Rijndael(Keys),
    /// A key pair of the server, and one of the sender.
    OpenPgp(Box<OpenPgpKeys>),
}

/// Keys of OpenPGP, and perhaps an HMAC key.
#[derive(Debug)]
pub(crate) struct OpenPgpKeys {
    maker: Maker,
    hmac: Option<(HmacKey, DigestType)>,
    /// As it was named.
    recipient: String,
}

/// Who makes the message.
#[derive(Debug)]
enum Maker {
    Own(Box<Sealer>),
    Gpg(Vec<OsString>),
}

// === impl PacketKeys ===

impl PacketKeys {
    /// Finds what the command line and the stanza say.
    ///
    /// # Errors
    ///
    /// Exit code 1 when there is no key to be had, 2 or 64 when one is unfit.
    pub(crate) fn find(ui: &Ui, args: &KeyArgs, rc: &Stanza, host: &str) -> Result<Self> {
        let rc = &*keys::with_source(args, rc)?;
        if args.gpg.is_meant() || rc.is_on("USE_GPG") {
            return OpenPgpKeys::find(ui, args, rc, host).map(|keys| Self::OpenPgp(Box::new(keys)));
        }
        keys::find(ui, args, rc, host).map(Self::Rijndael)
    }

    /// Seals a message, in the tagged or in fwknop's form; OpenPGP has the latter only.
    ///
    /// # Errors
    ///
    /// Exit code 2 when the packet is too long, or the tagged form lacks an HMAC key; 1 when gpg fails.
    pub(crate) fn seal(&self, message: &Message, tagged: bool) -> Result<String> {
        match self {
            Self::Rijndael(keys) => packet::seal(message, keys, tagged),
            Self::OpenPgp(keys) => keys.seal(message),
        }
    }

    /// Returns the keys that are no key pairs.
    pub(crate) fn rijndael(&self) -> Option<&Keys> {
        match self {
            Self::Rijndael(keys) => Some(keys),
            Self::OpenPgp(_) => None,
        }
    }

    /// Says which they are, without showing any.
    pub(crate) fn words(&self) -> Vec<String> {
        let (which, hmac) = match self {
            Self::Rijndael(keys) => (
                vec![
                    format!("key: {}", keys.fingerprint()),
                    format!("encryption mode: {}", keys.mode()),
                ],
                keys.hmac().map(|(_, digest)| digest),
            ),
            Self::OpenPgp(keys) => (
                vec![
                    format!("recipient: {}", keys.recipient),
                    "encryption mode: Asymmetric".to_owned(),
                ],
                keys.hmac.as_ref().map(|(_, digest)| *digest),
            ),
        };
        let hmac = hmac.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
        [which, vec![format!("hmac: {hmac}")]].concat()
    }
}

// === impl OpenPgpKeys ===

impl OpenPgpKeys {
    fn find(ui: &Ui, args: &KeyArgs, rc: &Stanza, host: &str) -> Result<Self> {
        let gpg = &args.gpg;
        let said = |option: &Option<String>, variable| {
            let option = option.clone();
            option.or_else(|| rc.text(variable).map(str::to_owned))
        };
        let recipient = said(&gpg.gpg_recipient_key, "GPG_RECIPIENT").ok_or_else(|| {
            CommandError::usage("which key of the server is to be encrypted to?")
                .with_hint("--gpg-recipient-key names it, or GPG_RECIPIENT in the rc stanza")
        })?;
        let signer = said(&gpg.gpg_signer_key, "GPG_SIGNER");
        let home = home_of(gpg, rc);
        let mut lines = keys::lines(args)?;
        let maker = if gpg.gpg_agent || rc.is_on("USE_GPG_AGENT") {
            let exe = gpg.gpg_exe.clone().map(PathBuf::into_os_string);
            let exe = exe.or_else(|| rc.text("GPG_EXE").map(OsString::from));
            let exe = exe.unwrap_or_else(|| "gpg".into());
            Maker::Gpg(command(exe, &home, &recipient, signer.as_deref()))
        } else {
            let passphrase = passphrase(ui, args, rc, (host, &mut lines))?;
            Maker::Own(Box::new(sealer(
                &home,
                &recipient,
                signer.as_deref(),
                passphrase,
            )?))
        };
        Ok(Self {
            maker,
            hmac: keys::hmac_key(ui, args, rc, (host, &mut lines))?,
            recipient,
        })
    }

    fn seal(&self, message: &Message) -> Result<String> {
        let plaintext = message
            .encode()
            .map_err(|cause| CommandError::usage("this cannot be asked for").because(cause))?;
        let message = match &self.maker {
            Maker::Own(sealer) => sealer
                .seal(plaintext.as_bytes())
                .map_err(|cause| CommandError::failed("the packet cannot be sealed", cause))?,
            Maker::Gpg(words) => {
                openpgp::with_two_length_octets(&run(words, plaintext.as_bytes())?)
            }
        };
        let hmac = self.hmac.as_ref().map(|(key, digest)| (key, *digest));
        spa::seal_open_pgp(&message, hmac).map_err(|cause| {
            CommandError::usage("the packet cannot be sealed")
                .because(cause)
                .with_hint(
                    "signatures of Curve25519 are short; one of RSA has the length of its key",
                )
        })
    }
}

fn home_of(args: &GpgArgs, rc: &Stanza) -> PathBuf {
    let said = args.gpg_home_dir.clone();
    let said = said.or_else(|| rc.text("GPG_HOMEDIR").map(PathBuf::from));
    if let Some(said) = said {
        return said;
    }
    match std::env::var_os("GNUPGHOME").filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => home().join(".gnupg"),
    }
}

/// The passphrase of the signing key as far as somebody has said it.
fn passphrase(
    ui: &Ui,
    args: &KeyArgs,
    rc: &Stanza,
    (host, lines): (&str, &mut Option<keys::Lines>),
) -> Result<Option<Secret>> {
    if args.gpg.gpg_no_signing_pw || rc.is_on("GPG_NO_SIGNING_PW") {
        return Ok(None);
    }
    if let Some(path) = &args.key_file {
        return key_file::read(ui, path, host).map(|text| Some(Secret::from_passphrase(&*text)));
    }
    let of_stanza = ["GPG_SIGNING_PW_BASE64", "GPG_SIGNING_PW"];
    if let Some(lines) = lines
        && !keys::comes_first(args, rc, &of_stanza)
    {
        return keys::next_line(lines).map(|text| Some(Secret::from_passphrase(&*text)));
    }
    keys::from_stanza(rc, "GPG_SIGNING_PW_BASE64", "GPG_SIGNING_PW")
}

/// Reads the keys; asks for a passphrase where one is needed and none was said.
fn sealer(
    home: &Path,
    recipient: &str,
    signer: Option<&str>,
    passphrase: Option<Secret>,
) -> Result<Sealer> {
    let keyring = Home::read(home).map_err(unfit)?;
    let now_secs = clock::now_secs();
    let with = |passphrase: Option<&Secret>| {
        let signs = Some((signer, passphrase.map(Secret::as_bytes)));
        Sealer::new(&keyring, recipient, signs, now_secs)
    };
    match with(passphrase.as_ref()) {
        Err(KeyringError::SecretKey {
            cause: KeyFault::PassphraseNeeded,
            ..
        }) if passphrase.is_none() => {
            let answer = keys::prompt("Passphrase of the key to sign with: ")?;
            with(Some(&Secret::from_passphrase(answer.as_bytes()))).map_err(unfit)
        }
        other => other.map_err(unfit),
    }
}

fn unfit(error: KeyringError) -> CommandError {
    let hint = match &error {
        KeyringError::SecretKey { cause, .. } => match cause {
            KeyFault::OnCard => Some("--gpg-agent has gpg sign"),
            KeyFault::PassphraseNeeded | KeyFault::WrongPassphrase => {
                Some("--stdin, --fd and --key-file read it; --gpg-agent has gpg ask for it")
            }
            KeyFault::Protection | KeyFault::Format | KeyFault::Algorithm => {
                Some("--gpg-agent has gpg sign")
            }
        },
        KeyringError::NoKey { .. } => Some("`gpg --import` brings keys there"),
        KeyringError::NoSecretKey { .. } => {
            Some("--gpg-signer-key names one; --gpg-agent has gpg sign")
        }
        KeyringError::Unreadable { .. } => Some("--gpg-home-dir names another"),
        KeyringError::Damaged { .. }
        | KeyringError::Exposed { .. }
        | KeyringError::Ambiguous { .. }
        | KeyringError::Unusable { .. } => None,
    };
    let refused = CommandError::refused("no packet can be made with these OpenPGP keys");
    let refused = refused.because(error);
    match hint {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    }
}

/// The gpg that signs and encrypts what it reads. The passphrase is between it and its agent.
fn command(exe: OsString, home: &Path, recipient: &str, signer: Option<&str>) -> Vec<OsString> {
    let mut words = vec![exe, "--homedir".into(), home.into()];
    words.extend(["--batch", "--quiet", "--trust-model", "always"].map(OsString::from));
    if let Some(signer) = signer {
        words.extend(["--local-user".into(), signer.into()]);
    }
    words.extend(["--recipient".into(), recipient.into()]);
    words.extend(["--sign", "--encrypt", "--output", "-"].map(OsString::from));
    words
}

fn run(words: &[OsString], input: &[u8]) -> Result<Vec<u8>> {
    let Some((exe, arguments)) = words.split_first() else {
        return Err(CommandError::refused("no gpg"));
    };
    let name = exe.to_string_lossy();
    let cannot = |cause| CommandError::failed(format!("cannot run {name}"), cause);
    let mut child = Command::new(exe)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    // A gpg that has ended says why itself.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(cannot)?;
    if !output.status.success() {
        return Err(CommandError::refused(format!(
            "{name} did not sign and encrypt"
        )));
    }
    Ok(output.stdout)
}
