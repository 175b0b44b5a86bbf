//! Every variable of fwknop's rc file, and what becomes of it here.

/// What a variable does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    /// Read somewhere in `knock`.
    Used,
    /// It changes nothing of the packet or of where it goes: accepted and without effect.
    NoEffect,
    /// It would change the packet or its way in a manner this version cannot do.
    Unsupported(Unsupported),
}

/// When a variable is refused, and in which words.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unsupported {
    /// Whatever its value.
    Always(&'static str),
    /// Only when it is switched on.
    WhenOn(&'static str),
}

use Meaning::{NoEffect, Used};

const GPG: Meaning = Meaning::Unsupported(Unsupported::WhenOn(
    "GPG packets are not supported by this version",
));

pub(super) const VARIABLES: &[(&str, Meaning)] = &[
    ("ACCESS", Used),
    ("ALLOW_IP", Used),
    ("DIGEST_TYPE", Used),
    ("ENCRYPTION_MODE", Used),
    ("FW_TIMEOUT", Used),
    ("GPG_EXE", NoEffect),
    ("GPG_HOMEDIR", NoEffect),
    ("GPG_NO_SIGNING_PW", NoEffect),
    ("GPG_RECIPIENT", NoEffect),
    ("GPG_SIGNER", NoEffect),
    ("GPG_SIGNING_PW", NoEffect),
    ("GPG_SIGNING_PW_BASE64", NoEffect),
    ("HMAC_DIGEST_TYPE", Used),
    ("HMAC_KEY", Used),
    ("HMAC_KEY_BASE64", Used),
    ("HMAC_KEY_FILE", Used),
    ("HTTP_USER_AGENT", Used),
    ("KEY", Used),
    ("KEY_BASE64", Used),
    ("KEY_FILE", Used),
    ("NAT_ACCESS", Used),
    ("NAT_LOCAL", Used),
    ("NAT_PORT", Used),
    ("NAT_RAND_PORT", Used),
    ("NO_SAVE_ARGS", NoEffect),
    ("RAND_PORT", Used),
    ("RESOLVE_HTTP_ONLY", Used),
    ("RESOLVE_IP_HTTP", Used),
    ("RESOLVE_IP_HTTPS", Used),
    ("RESOLVE_URL", Used),
    ("SERVER_RESOLVE_IPV4", Used),
    ("SPA_SERVER", Used),
    ("SPA_SERVER_PORT", Used),
    ("SPA_SERVER_PROTO", Used),
    ("SPA_SOURCE_PORT", Used),
    (
        "SPOOF_SOURCE_IP",
        Meaning::Unsupported(Unsupported::Always(
            "a forged source address is not supported by this version",
        )),
    ),
    ("SPOOF_USER", Used),
    ("TIME_OFFSET", Used),
    ("USE_GPG", GPG),
    ("USE_GPG_AGENT", NoEffect),
    ("USE_HMAC", Used),
    ("USE_WGET_USER_AGENT", NoEffect),
    ("VERBOSE", NoEffect),
    ("WGET_CMD", NoEffect),
];

/// The variable as we know it.
///
/// # Errors
///
/// In words, with the nearest name if there is one; what does not look like a variable is not
/// repeated.
pub(super) fn known(name: &str, has_value: bool) -> Result<&'static str, String> {
    if let Some((known, _)) = VARIABLES.iter().find(|(known, _)| *known == name) {
        return Ok(known);
    }
    let upper = name.to_ascii_uppercase();
    let nearest = VARIABLES
        .iter()
        .map(|(known, _)| (strsim::jaro_winkler(known, &upper), known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    // It may be a key that got onto a line of its own.
    let looks_like_one = has_value && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    Err(match nearest {
        Some((_, nearest)) if name.len() <= 2 * nearest.len() => {
            format!("{name}: unknown variable; did you mean {nearest}?")
        }
        Some(_) | None if looks_like_one => format!("{name}: unknown variable"),
        Some(_) | None => "the line does not begin with a known variable".to_owned(),
    })
}

// === impl Unsupported ===

impl Unsupported {
    pub(super) fn refuses(self, value: &str) -> bool {
        match self {
            Self::Always(_) => true,
            Self::WhenOn(_) => is_yes(value),
        }
    }

    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Always(why) | Self::WhenOn(why) => why,
        }
    }
}

/// A word that begins with y is yes, as fwknop reads it.
pub(super) fn is_yes(text: &str) -> bool {
    text.starts_with(['y', 'Y'])
}
