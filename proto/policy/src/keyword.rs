//! Every keyword that is known: enforced, or refused by name.

/// A keyword that this version enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Keyword {
    AccessExpire,
    AccessExpireEpoch,
    CmdCycleClose,
    CmdCycleOpen,
    CmdCycleTimer,
    CmdExecGroup,
    CmdExecUser,
    CmdSudoExecGroup,
    CmdSudoExecUser,
    DataCollectMode,
    Destination,
    DisableDnat,
    EnableCmdExec,
    EnableCmdSudoExec,
    EncryptionMode,
    ForceMasquerade,
    ForceNat,
    ForceSnat,
    ForwardAll,
    FwAccessTimeout,
    GpgAllowNoPw,
    GpgDecryptId,
    GpgDecryptPw,
    GpgDisableSig,
    GpgExe,
    GpgFingerprintId,
    GpgHomeDir,
    GpgIgnoreSigVerifyError,
    GpgRemoteId,
    GpgRequireSig,
    Group,
    HmacDigestType,
    HmacKey,
    HmacKeyBase64,
    Hosts,
    Include,
    IncludeFolder,
    IncludeKeys,
    Key,
    KeyBase64,
    KnockSequence,
    MaxFwTimeout,
    MoreKeysBase64,
    Name,
    NatAccess,
    OnControllerLoss,
    OpenPacketSource,
    OpenPorts,
    OpenPrefix,
    OpenPrefix6,
    Protect,
    RequireOs,
    RequireOsRegex,
    RequireSourceAddress,
    RequireUsername,
    RestrictPorts,
    Source,
    SpaServerPort,
    Test,
    UserPublicKey,
}

/// What the first word of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Enforced.
    Enforced(Keyword),
    /// Written by tools around fwknop, and without a meaning to it or to us.
    Harmless,
    /// Of fwknop 1.x; what is 2.x passes it over.
    Former {
        /// A switch that changes nothing when it is off, so that `N` may stand.
        may_be_off: bool,
    },
    /// Neither ours nor fwknop's.
    Unknown,
}

/// The keywords that are enforced, by name.
const ENFORCED: [(&str, Keyword); 61] = [
    ("SOURCE", Keyword::Source),
    ("NAME", Keyword::Name),
    ("HOSTS", Keyword::Hosts),
    ("OPEN_PORTS", Keyword::OpenPorts),
    ("OPEN_PREFIX", Keyword::OpenPrefix),
    ("OPEN_PREFIX6", Keyword::OpenPrefix6),
    ("OPEN_PACKET_SOURCE", Keyword::OpenPacketSource),
    ("KEY_BASE64", Keyword::KeyBase64),
    ("HMAC_KEY_BASE64", Keyword::HmacKeyBase64),
    ("REQUIRE_USERNAME", Keyword::RequireUsername),
    ("USER_PUBLIC_KEY", Keyword::UserPublicKey),
    ("FW_ACCESS_TIMEOUT", Keyword::FwAccessTimeout),
    ("MAX_FW_TIMEOUT", Keyword::MaxFwTimeout),
    ("KEY", Keyword::Key),
    ("HMAC_KEY", Keyword::HmacKey),
    ("MORE_KEYS_BASE64", Keyword::MoreKeysBase64),
    ("HMAC_DIGEST_TYPE", Keyword::HmacDigestType),
    ("ENCRYPTION_MODE", Keyword::EncryptionMode),
    ("DESTINATION", Keyword::Destination),
    ("SPA_SERVER_PORT", Keyword::SpaServerPort),
    ("RESTRICT_PORTS", Keyword::RestrictPorts),
    ("KNOCK_SEQUENCE", Keyword::KnockSequence),
    ("REQUIRE_OS", Keyword::RequireOs),
    ("REQUIRE_OS_REGEX", Keyword::RequireOsRegex),
    ("REQUIRE_SOURCE_ADDRESS", Keyword::RequireSourceAddress),
    ("REQUIRE_SOURCE", Keyword::RequireSourceAddress),
    ("ACCESS_EXPIRE", Keyword::AccessExpire),
    ("ACCESS_EXPIRE_EPOCH", Keyword::AccessExpireEpoch),
    ("ENABLE_CMD_EXEC", Keyword::EnableCmdExec),
    ("CMD_EXEC_USER", Keyword::CmdExecUser),
    ("CMD_EXEC_GROUP", Keyword::CmdExecGroup),
    ("ENABLE_CMD_SUDO_EXEC", Keyword::EnableCmdSudoExec),
    ("CMD_SUDO_EXEC_USER", Keyword::CmdSudoExecUser),
    ("CMD_SUDO_EXEC_GROUP", Keyword::CmdSudoExecGroup),
    ("CMD_CYCLE_OPEN", Keyword::CmdCycleOpen),
    ("CMD_CYCLE_CLOSE", Keyword::CmdCycleClose),
    ("CMD_CYCLE_TIMER", Keyword::CmdCycleTimer),
    ("ON_CONTROLLER_LOSS", Keyword::OnControllerLoss),
    ("PROTECT", Keyword::Protect),
    ("FORCE_NAT", Keyword::ForceNat),
    ("FORCE_SNAT", Keyword::ForceSnat),
    ("FORCE_MASQUERADE", Keyword::ForceMasquerade),
    ("DISABLE_DNAT", Keyword::DisableDnat),
    ("FORWARD_ALL", Keyword::ForwardAll),
    ("NAT_ACCESS", Keyword::NatAccess),
    ("DATA_COLLECT_MODE", Keyword::DataCollectMode),
    ("GPG_ALLOW_NO_PW", Keyword::GpgAllowNoPw),
    ("GPG_DECRYPT_ID", Keyword::GpgDecryptId),
    ("GPG_DECRYPT_PW", Keyword::GpgDecryptPw),
    ("GPG_DISABLE_SIG", Keyword::GpgDisableSig),
    ("GPG_EXE", Keyword::GpgExe),
    ("GPG_FINGERPRINT_ID", Keyword::GpgFingerprintId),
    ("GPG_HOME_DIR", Keyword::GpgHomeDir),
    (
        "GPG_IGNORE_SIG_VERIFY_ERROR",
        Keyword::GpgIgnoreSigVerifyError,
    ),
    ("GPG_REMOTE_ID", Keyword::GpgRemoteId),
    ("GPG_REQUIRE_SIG", Keyword::GpgRequireSig),
    ("%group", Keyword::Group),
    ("%include", Keyword::Include),
    ("%include_folder", Keyword::IncludeFolder),
    ("%include_keys", Keyword::IncludeKeys),
    ("%test", Keyword::Test),
];

/// The words of fwknop 1.x that its successor does not know, and whether they are switches that may
/// be off. What such a word narrows nobody enforces any more, so it does not stand in silence.
const FORMER: [(&str, bool); 23] = [
    ("CMD_REGEX", false),
    ("DISABLE_FW_TIMEOUT", true),
    ("ENABLE_EXTERNAL_CMDS", true),
    ("ENABLE_FORWARD_ACCESS", true),
    ("ENABLE_OUTPUT_ACCESS", true),
    ("ENCRYPT_SEQUENCE", true),
    ("EXTERNAL_CMD_ALARM", false),
    ("EXTERNAL_CMD_CLOSE", false),
    ("EXTERNAL_CMD_OPEN", false),
    ("GPG_NO_OPTIONS", true),
    ("GPG_NO_REQUIRE_PREFIX", true),
    ("GPG_PATH", false),
    ("GPG_USE_OPTIONS", true),
    ("KNOCK_INTERVAL", false),
    ("KNOCK_LIMIT", false),
    ("MAX_TIME_DIFF", false),
    ("MIN_TIME_DIFF", false),
    ("PERMIT_CLIENT_PORTS", true),
    ("PERMIT_CLIENT_TIMEOUT", true),
    ("PORT_OFFSET", false),
    ("REQUIRE_AUTH_METHOD", true),
    ("RESTRICT_INTF", false),
    ("SHARED_SEQUENCE", false),
];

/// Words that other tools write into an access.conf (OpenWrt's LuCI, configuration management).
const HARMLESS: [&str; 3] = ["SUDO_EXE", "hkeytype", "keytype"];

/// Words longer than this have no nearest keyword.
const WORD_BYTES_MAX: usize = 40;

// === impl Keyword ===

impl Keyword {
    /// Its bit in a set of keywords.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Its name, for mistakes that are found after its line.
    pub(crate) fn name(self) -> &'static str {
        ENFORCED
            .iter()
            .find(|(_, keyword)| *keyword == self)
            .map_or("", |(name, _)| name)
    }
}

// === impl Word ===

impl Word {
    /// Looks the first word of a line up. Names are case-sensitive, as in fwknop.
    pub(crate) fn of(word: &str) -> Self {
        if let Some((_, keyword)) = ENFORCED.iter().find(|(name, _)| *name == word) {
            return Self::Enforced(*keyword);
        }
        if HARMLESS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(word))
        {
            return Self::Harmless;
        }
        FORMER
            .iter()
            .find(|(name, _)| *name == word)
            .map_or(Self::Unknown, |&(_, may_be_off)| Self::Former {
                may_be_off,
            })
    }
}

/// The known keyword that is spelt most like `word`, if one is spelt like it at all.
pub(crate) fn nearest(word: &str) -> Option<&'static str> {
    nearest_of(word, ENFORCED.iter().map(|(name, _)| *name))
}

/// The candidate that is spelt most like `word`, without regard to case.
pub fn nearest_of<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_uppercase();
    let allowed = (word.len() / 3).min(3);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&word, &candidate.to_ascii_uppercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enforced_keyword_has_its_own_bit_and_a_name() {
        let mut bits = 0_u64;
        for (name, keyword) in ENFORCED {
            if name != "REQUIRE_SOURCE" {
                assert_eq!(bits & keyword.bit(), 0, "{name}");
                assert_eq!(keyword.name(), name);
            }
            bits |= keyword.bit();
        }
    }

    #[test]
    fn a_misspelt_keyword_has_a_nearest_one() {
        assert_eq!(nearest("OPEN_PORT"), Some("OPEN_PORTS"));
        assert_eq!(nearest("source"), Some("SOURCE"));
        assert_eq!(nearest("REQUIRE_USER_NAME"), Some("REQUIRE_USERNAME"));
        assert_eq!(nearest("FW_ACESS_TIMEOUT"), Some("FW_ACCESS_TIMEOUT"));
        assert_eq!(nearest("KYE"), Some("KEY"));
    }

    #[test]
    fn what_is_no_keyword_has_none() {
        assert_eq!(nearest("hunter2hunter2"), None);
        assert_eq!(
            nearest("dGhpcyBpcyBhIGtleSB0aGF0IG5vYm9keSBtdXN0IHNlZQ=="),
            None
        );
        assert_eq!(nearest(""), None);
    }
}
