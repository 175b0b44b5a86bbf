//! Options of packets that OpenPGP wraps.

use std::path::PathBuf;

/// Keys of OpenPGP. Any of these means that they are used.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "OpenPGP keys")]
pub(crate) struct GpgArgs {
    /// Encrypt to an OpenPGP key of the server, and sign
    #[arg(short = 'g', long)]
    pub(crate) gpg_encryption: bool,

    /// Key of the server: a fingerprint, a key id or part of a user id
    #[arg(long, value_name = "KEY")]
    pub(crate) gpg_recipient_key: Option<String>,

    /// Key to sign with [default: the first that can]
    #[arg(long, value_name = "KEY")]
    pub(crate) gpg_signer_key: Option<String>,

    /// Home of GnuPG [default: $GNUPGHOME, else ~/.gnupg]
    #[arg(long, value_name = "DIR")]
    pub(crate) gpg_home_dir: Option<PathBuf>,

    /// The key to sign with has no passphrase
    #[arg(long)]
    pub(crate) gpg_no_signing_pw: bool,

    /// Have gpg make the message: for keys that gpg-agent or a card holds
    #[arg(long)]
    pub(crate) gpg_agent: bool,

    /// The gpg program of --gpg-agent [default: gpg]
    #[arg(long, value_name = "FILE")]
    pub(crate) gpg_exe: Option<PathBuf>,
}

// === impl GpgArgs ===

impl GpgArgs {
    /// Whether packets of OpenPGP are meant, as far as the command line says.
    pub(crate) fn is_meant(&self) -> bool {
        let Self {
            gpg_encryption,
            gpg_recipient_key,
            gpg_signer_key,
            gpg_home_dir,
            gpg_no_signing_pw,
            gpg_agent,
            gpg_exe,
        } = self;
        *gpg_encryption
            || gpg_recipient_key.is_some()
            || gpg_signer_key.is_some()
            || gpg_home_dir.is_some()
            || *gpg_no_signing_pw
            || *gpg_agent
            || gpg_exe.is_some()
    }
}
