//! What every test here needs of GnuPG's homes.

use openpgp::Home;

pub(crate) use vectors::gnupg::GnuPg;

/// A home as a host reads it.
pub(crate) fn read(gnupg: &GnuPg) -> Home {
    Home::read(gnupg.path()).unwrap()
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
