//! Canonical text: one spelling for each policy.
//!
//! Keywords stand in one order with one blank behind them, keys are written in base64, lists are
//! sorted and resolved, includes are in their place, and both timeouts are always there, as is
//! REQUIRE_SOURCE_ADDRESS without a static key: the text says the same to another version with
//! other defaults. Reading the text gives the policy back.

#[cfg(test)]
mod tests;

use std::fmt::{self, Display};

use spa::{DigestType, EncryptionMode, ExchangePublic, Keys};

use crate::cycle::CycleRule;
use crate::keyword::Keyword;
use crate::mistake::Place;
use crate::nat::{NatAccess, NatRules, SeenSource};
use crate::network::Networks;
use crate::open_pgp::{KeyId, OpenPgpRule, Signers};
use crate::os::{OsName, OsRule};
use crate::parse::keys::REDACTED;
use crate::parse::marker;
use crate::policy::Policy;
use crate::ports::{PortSet, listed};
use crate::stanza::{ONE_ADDRESS, ONE_ADDRESS6, OnControllerLoss, Stanza, StanzaKey, SudoRule};

/// Whether keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Keys are written; the text reads back as the same policy.
    Show,
    /// Keys are replaced by their fingerprints; the text does not read back.
    Redact,
}

/// What stands in the place of some lines of a stanza when it is compiled for a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// All its own lines.
    Whole,
    /// Without HOSTS and PROTECT; with this user and her key in the place of a pairwise stanza's
    /// users.
    ForHost(Option<(&'a str, &'a ExchangePublic)>),
}

/// Who reads a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// People: ranges are ranges.
    Canonical,
    /// Agents, of which some may be of a version that knows no ranges.
    Compiled,
}

/// Canonical text while it is being written.
#[derive(Debug)]
pub(crate) struct Printer {
    text: String,
    secrets: Secrets,
    form: Form,
    /// Whether it says where its lines come from.
    says_places: bool,
}

/// Ports one by one, as far as they are not too many.
struct SpelledOut<'p>(&'p PortSet);

/// Writes a policy text as it stands, comments and all, with the values of its keys left out.
///
/// For showing the text that an operator wrote to somebody who must not see its keys. The result does
/// not read back as a policy if there were any.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    for line in text.lines() {
        match secret(line) {
            Some((head, _)) => {
                redacted.push_str(head);
                redacted.push(' ');
                redacted.push_str(REDACTED);
                redacted.push(']');
            }
            None => redacted.push_str(line),
        }
        redacted.push('\n');
    }
    redacted
}

/// A line that holds a secret, as everything up to its keyword's end and the rest.
pub(crate) fn secret(line: &str) -> Option<(&str, &str)> {
    // A key that was commented out may still be in use elsewhere.
    let text = line.trim_start_matches(|c: char| c.is_whitespace() || c == '#' || c == ';');
    let start = line.len() - text.len();
    let end = line
        .char_indices()
        .find(|&(at, c)| at >= start && !(c.is_ascii_alphanumeric() || c == '_'))
        .map_or(line.len(), |(at, _)| at);
    let (head, value) = line.split_at(end);
    let is_secret = head.contains("KEY") && !head.contains("PUBLIC") || head.ends_with("_PW");
    (is_secret && !value.is_empty()).then_some((head, value))
}

// === impl Policy ===

impl Policy {
    /// Writes the policy in its canonical form.
    #[must_use]
    pub fn print(&self, secrets: Secrets) -> String {
        let mut printer = Printer::new(secrets);
        printer.head(self);
        for stanza in &self.stanzas {
            printer.stanza(stanza, Scope::Whole);
        }
        printer.finish()
    }

    /// The same with keys, and with a comment in front of each stanza that says in which file and line
    /// it was written; [`parse`](fn@crate::parse) reads those.
    #[must_use]
    pub fn print_with_places(&self) -> String {
        let mut printer = Printer::new(Secrets::Show);
        printer.says_places = true;
        printer.head(self);
        for (position, stanza) in self.stanzas.iter().enumerate() {
            printer.gap();
            printer.place(self.origin(position));
            printer.stanza_lines(stanza, Scope::Whole);
        }
        printer.finish()
    }
}

// === impl Stanza ===

impl Stanza {
    /// Writes one stanza in its canonical form.
    #[must_use]
    pub fn print(&self, secrets: Secrets) -> String {
        let mut printer = Printer::new(secrets);
        printer.stanza(self, Scope::Whole);
        printer.finish()
    }
}

// === impl Printer ===

impl Printer {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self {
            text: String::new(),
            secrets,
            form: Form::Canonical,
            says_places: false,
        }
    }

    /// For an agent.
    pub(crate) fn compiled() -> Self {
        Self {
            form: Form::Compiled,
            ..Self::new(Secrets::Show)
        }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// What stands before the first stanza.
    pub(crate) fn head(&mut self, policy: &Policy) {
        for (group, users) in &policy.groups {
            self.place(policy.group_origins.get(group));
            let names = users.iter().collect::<Vec<_>>().join(", ");
            self.line(Keyword::Group, format_args!("{group} {names}"));
        }
        self.ports(Keyword::Protect, &policy.protect);
        if let Some(mode) = policy.collect_mode {
            self.line(Keyword::DataCollectMode, mode.name());
        }
        for test in &policy.tests {
            self.place(Some(&test.at));
            self.line(Keyword::Test, test.text());
        }
    }

    /// Says where the next lines come from, where that is asked for.
    fn place(&mut self, place: Option<&Place>) {
        if let Some(marker) = place.filter(|_| self.says_places).and_then(marker::written) {
            self.text.push_str(&marker);
            self.text.push('\n');
        }
    }

    /// PROTECT before the first stanza.
    pub(crate) fn protect(&mut self, ports: &PortSet) {
        self.ports(Keyword::Protect, ports);
    }

    /// One stanza, with an empty line in front unless it is the first text.
    pub(crate) fn stanza(&mut self, stanza: &Stanza, scope: Scope<'_>) {
        self.gap();
        self.stanza_lines(stanza, scope);
    }

    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    fn stanza_lines(&mut self, stanza: &Stanza, scope: Scope<'_>) {
        if let Some(name) = &stanza.name {
            self.line(Keyword::Name, name);
        }
        self.line(Keyword::Source, &stanza.source);
        if stanza.destination != Networks::Any {
            self.line(Keyword::Destination, &stanza.destination);
        }
        if let Some(port) = stanza.spa_server_port {
            self.line(Keyword::SpaServerPort, port);
        }
        if matches!(scope, Scope::Whole) {
            for hosts in &stanza.hosts {
                self.line(Keyword::Hosts, hosts);
            }
        }
        self.who(stanza, scope);
        self.what(stanza);
        if matches!(scope, Scope::Whole) {
            self.ports(Keyword::Protect, &stanza.protect);
        }
    }

    /// Keys and users.
    fn who(&mut self, stanza: &Stanza, scope: Scope<'_>) {
        let user = match (scope, &stanza.key) {
            (Scope::ForHost(user @ Some(_)), _) => user,
            (Scope::Whole | Scope::ForHost(None), StanzaKey::User { user, public }) => {
                Some((&**user, public))
            }
            (Scope::Whole | Scope::ForHost(None), StanzaKey::Static(_) | StanzaKey::Pairwise) => {
                None
            }
        };
        if let Some((user, public)) = user {
            self.line(Keyword::RequireUsername, user);
            self.line(Keyword::UserPublicKey, public);
        } else if !stanza.require_username.is_empty() {
            let names = stanza
                .require_username
                .iter()
                .collect::<Vec<_>>()
                .join(", ");
            self.line(Keyword::RequireUsername, names);
        }
        self.keys(stanza.static_keys());
        if let Some(rule) = &stanza.open_pgp {
            self.open_pgp(rule, stanza.static_keys().is_empty());
        }
    }

    /// GPG_*, and the HMAC key where no other line gives it.
    fn open_pgp(&mut self, rule: &OpenPgpRule, is_alone: bool) {
        self.line(Keyword::GpgHomeDir, &rule.home);
        if let Some(id) = &rule.decrypt_id {
            self.line(Keyword::GpgDecryptId, id);
        }
        match (&rule.passphrase, self.secrets) {
            (None, _) => self.line(Keyword::GpgAllowNoPw, "Y"),
            (Some(passphrase), Secrets::Show) => {
                let text = String::from_utf8_lossy(passphrase.as_bytes());
                self.line(Keyword::GpgDecryptPw, text);
            }
            (Some(_), Secrets::Redact) => {
                self.line(Keyword::GpgDecryptPw, format_args!("{REDACTED}]"));
            }
        }
        match &rule.signers {
            Signers::Anybody => self.line(Keyword::GpgDisableSig, "Y"),
            Signers::Named { ids, fingerprints } => {
                self.list(Keyword::GpgRemoteId, ids);
                self.list(Keyword::GpgFingerprintId, fingerprints);
            }
        }
        let Some((key, digest)) = rule.hmac.as_ref().filter(|_| is_alone) else {
            return;
        };
        match self.secrets {
            Secrets::Show => self.line(Keyword::HmacKeyBase64, &*key.secret().to_base64()),
            Secrets::Redact => {
                let redacted = format!("{REDACTED} {}]", rule.fingerprint());
                self.line(Keyword::HmacKeyBase64, redacted);
            }
        }
        if *digest != DigestType::default() {
            self.line(Keyword::HmacDigestType, digest);
        }
    }

    fn list(&mut self, keyword: Keyword, ids: &[KeyId]) {
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            self.line(keyword, ids.join(", "));
        }
    }

    fn keys(&mut self, pairs: &[Keys]) {
        for keys in pairs {
            let hmac = keys.hmac().map(|(key, _)| key.secret());
            match self.secrets {
                Secrets::Show => {
                    let encryption = keys.encryption().secret().to_base64();
                    self.line(Keyword::KeyBase64, &*encryption);
                    if let Some(hmac) = hmac {
                        self.line(Keyword::HmacKeyBase64, &*hmac.to_base64());
                    }
                }
                Secrets::Redact => {
                    let fingerprint = keys.fingerprint();
                    let redacted = format!("{REDACTED} {fingerprint}]");
                    self.line(Keyword::KeyBase64, &redacted);
                    if hmac.is_some() {
                        self.line(Keyword::HmacKeyBase64, &redacted);
                    }
                }
            }
        }
        let mode = pairs.first().map(Keys::mode).unwrap_or_default();
        if mode != EncryptionMode::default() {
            self.line(Keyword::EncryptionMode, mode);
        }
        let digest = pairs.iter().find_map(|keys| Some(keys.hmac()?.1));
        if let Some(digest) = digest.filter(|digest| *digest != DigestType::default()) {
            self.line(Keyword::HmacDigestType, digest);
        }
    }

    /// Ports, commands, times and conditions.
    fn what(&mut self, stanza: &Stanza) {
        if let Some(open) = &stanza.open_ports {
            self.ports(Keyword::OpenPorts, open);
        }
        self.ports(Keyword::RestrictPorts, &stanza.restrict_ports);
        self.opens(stanza);
        self.line(Keyword::FwAccessTimeout, stanza.fw_access_timeout_secs);
        self.line(Keyword::MaxFwTimeout, stanza.max_fw_timeout_secs);
        match (&stanza.key, stanza.require_source_address) {
            (StanzaKey::Static(_), false) => {}
            // Which of the two is meant without the line depends on the key, and on the version.
            (StanzaKey::Pairwise | StanzaKey::User { .. }, false) => {
                self.line(Keyword::RequireSourceAddress, "N");
            }
            (StanzaKey::Static(_) | StanzaKey::Pairwise | StanzaKey::User { .. }, true) => {
                self.line(Keyword::RequireSourceAddress, "Y");
            }
        }
        self.os(stanza.os.as_deref());
        if stanza.knock_sequence {
            self.line(Keyword::KnockSequence, "Y");
        }
        if let Some(at_secs) = stanza.expire_at_secs {
            self.line(Keyword::AccessExpireEpoch, at_secs);
        }
        if let Some(rule) = &stanza.command {
            self.line(Keyword::EnableCmdExec, "Y");
            if let Some(user) = &rule.user {
                self.line(Keyword::CmdExecUser, user);
            }
            if let Some(group) = &rule.group {
                self.line(Keyword::CmdExecGroup, group);
            }
            self.sudo(rule.sudo.as_ref());
        }
        self.cycle(stanza.cycle.as_deref());
        self.nat(&stanza.nat);
        if stanza.on_controller_loss == OnControllerLoss::Allow {
            self.line(Keyword::OnControllerLoss, "allow");
        }
    }

    fn os(&mut self, rule: Option<&OsRule>) {
        let Some(OsRule { names, pattern }) = rule else {
            return;
        };
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(OsName::as_str).collect();
            self.line(Keyword::RequireOs, names.join(", "));
        }
        if let Some(pattern) = pattern {
            self.line(Keyword::RequireOsRegex, pattern);
        }
    }

    fn sudo(&mut self, sudo: Option<&SudoRule>) {
        let Some(SudoRule { user, group }) = sudo else {
            return;
        };
        self.line(Keyword::EnableCmdSudoExec, "Y");
        if let Some(user) = user {
            self.line(Keyword::CmdSudoExecUser, user);
        }
        if let Some(group) = group {
            self.line(Keyword::CmdSudoExecGroup, group);
        }
    }

    fn cycle(&mut self, cycle: Option<&CycleRule>) {
        let Some(CycleRule {
            open,
            close,
            timer_secs,
        }) = cycle
        else {
            return;
        };
        self.line(Keyword::CmdCycleOpen, open);
        match close {
            Some(close) => self.line(Keyword::CmdCycleClose, close),
            None => self.line(Keyword::CmdCycleClose, "NONE"),
        }
        if let Some(secs) = timer_secs {
            self.line(Keyword::CmdCycleTimer, secs);
        }
    }

    /// For how much around the address.
    fn opens(&mut self, stanza: &Stanza) {
        if stanza.open_prefix != ONE_ADDRESS {
            self.line(Keyword::OpenPrefix, stanza.open_prefix);
        }
        if stanza.open_prefix6 != ONE_ADDRESS6 {
            self.line(Keyword::OpenPrefix6, stanza.open_prefix6);
        }
        if stanza.open_packet_source {
            self.line(Keyword::OpenPacketSource, "Y");
        }
    }

    fn nat(&mut self, nat: &NatRules) {
        if let Some(forced) = nat.force {
            self.line(Keyword::ForceNat, forced);
        }
        match nat.source {
            None | Some(SeenSource::Own) => {}
            Some(SeenSource::Address(address)) => self.line(Keyword::ForceSnat, address),
            Some(SeenSource::Masquerade) => self.line(Keyword::ForceMasquerade, "Y"),
        }
        if nat.disable_dnat {
            self.line(Keyword::DisableDnat, "Y");
        }
        if nat.forward_all {
            self.line(Keyword::ForwardAll, "Y");
        }
        match &nat.access {
            // What is meant without a line is the same for every text of its kind.
            NatAccess::Nowhere | NatAccess::Everywhere => {}
            NatAccess::Lines(lines) if lines.is_empty() => self.line(Keyword::NatAccess, "NONE"),
            NatAccess::Lines(lines) => {
                for line in lines {
                    self.line(Keyword::NatAccess, line);
                }
            }
        }
    }

    fn ports(&mut self, keyword: Keyword, ports: &PortSet) {
        match self.form {
            _ if ports.is_empty() => {}
            Form::Canonical => self.line(keyword, ports),
            Form::Compiled => self.line(keyword, SpelledOut(ports)),
        }
    }

    fn line(&mut self, keyword: Keyword, value: impl Display) {
        use std::fmt::Write as _;

        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{} {value}", keyword.name());
    }
}

// === impl SpelledOut ===

impl Display for SpelledOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.0.spelled_out())
    }
}
