//! A stanza while its lines are being read.

mod whole;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use spa::ExchangePublic;

use crate::accounts::{Account, AccountKind};
use crate::cycle::{self, CycleCommand, CycleRule};
use crate::dialect::Dialect;
use crate::host::Selector;
use crate::keyword::Keyword;
use crate::mistake::Place;
use crate::nat::{ForcedTarget, NatAccess, NatLine, NatRules, SeenSource};
use crate::network::Networks;
use crate::os::{OsName, OsPattern};
use crate::parse::gpg::GpgLines;
use crate::parse::keys::{self, Encoding, KeyLines};
use crate::parse::{dates, users, values};
use crate::ports::PortSet;
use crate::problem::Problem;
use crate::stanza::{
    CommandRule, ONE_ADDRESS, ONE_ADDRESS6, OnControllerLoss, Stanza, StanzaKey, SudoRule,
    Usernames,
};
use crate::timeout::{FW_ACCESS_TIMEOUT_DEFAULT_SECS, MAX_FW_TIMEOUT_DEFAULT_SECS};

/// The keywords of which a stanza may have several lines, that all count.
const REPEATABLE: u64 =
    Keyword::Hosts.bit() | Keyword::NatAccess.bit() | Keyword::MoreKeysBase64.bit();
/// Those of which it may have several lines in our own texts only: pairs of keys.
const REPEATABLE_KEYS: u64 = Keyword::Key.bit()
    | Keyword::KeyBase64.bit()
    | Keyword::HmacKey.bit()
    | Keyword::HmacKeyBase64.bit();

/// A stanza as far as it has been read.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The line with which it begins.
    pub(crate) at: Place,
    /// Whether `%include_keys` ended it.
    pub(crate) is_closed: bool,
    dialect: Dialect,
    /// The zone of its dates.
    zone: TimeZone,
    stanza: Stanza,
    hosts: Vec<Selector>,
    keys: KeyLines,
    gpg: GpgLines,
    /// REQUIRE_USERNAME as it is written, and where.
    usernames: Option<(Place, Box<str>)>,
    user_public: Option<ExchangePublic>,
    runs_commands: bool,
    command: CommandRule,
    uses_sudo: bool,
    sudo: SudoRule,
    accounts: Vec<Account>,
    cycle: CycleLines,
    force_snat: Option<IpAddr>,
    masquerades: bool,
    /// The keywords of its lines.
    seen: u64,
    /// Where they stand; of several lines of one the last.
    places: Vec<(Keyword, Place)>,
    /// What is doubtful about single lines.
    doubts: Vec<(Place, Keyword, Problem)>,
    /// How values were read that another program, or another host, may read otherwise.
    notes: Vec<(Place, Keyword, Problem)>,
}

/// The lines about a command cycle.
#[derive(Debug, Default)]
struct CycleLines {
    open: Option<CycleCommand>,
    close: Option<CycleCommand>,
    timer_secs: Option<u32>,
}

/// What a draft becomes.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The line with which it begins.
    pub(crate) at: Place,
    pub(crate) stanza: Stanza,
    /// REQUIRE_USERNAME as it is written, and where.
    pub(crate) usernames: Option<(Place, Box<str>)>,
    pub(crate) problems: Vec<(Place, Keyword, Problem)>,
    pub(crate) warnings: Vec<(Place, Keyword, Problem)>,
    pub(crate) notes: Vec<(Place, Keyword, Problem)>,
    /// Users and groups of the system that its commands need.
    pub(crate) accounts: Vec<Account>,
    places: Vec<(Keyword, Place)>,
}

// === impl Finished ===

impl Finished {
    /// Where this keyword stands in the stanza; where it does not, the stanza's beginning.
    pub(crate) fn place(&self, keyword: Keyword) -> Place {
        place_in(&self.places, &self.at, keyword)
    }
}

fn place_in(places: &[(Keyword, Place)], at: &Place, keyword: Keyword) -> Place {
    let slot = slot(keyword);
    places
        .iter()
        .rev()
        .find(|(own, _)| *own == keyword)
        .or_else(|| {
            places
                .iter()
                .rev()
                .find(|(own, _)| self::slot(*own) == slot)
        })
        .map_or_else(|| at.clone(), |(_, place)| place.clone())
}

/// What a line sets: two keywords that set the same thing are lines of one.
const fn slot(keyword: Keyword) -> Keyword {
    if keyword.bit() == Keyword::KeyBase64.bit() {
        Keyword::Key
    } else if keyword.bit() == Keyword::HmacKeyBase64.bit() {
        Keyword::HmacKey
    } else if keyword.bit() == Keyword::AccessExpireEpoch.bit() {
        Keyword::AccessExpire
    } else {
        keyword
    }
}

// === impl Draft ===

impl Draft {
    pub(crate) fn new(number: u32, at: Place, dialect: Dialect, zone: TimeZone) -> Self {
        Self {
            at,
            is_closed: false,
            dialect,
            zone,
            stanza: Stanza {
                number,
                name: None,
                hosts: Box::default(),
                source: Networks::Any,
                destination: Networks::Any,
                spa_server_port: None,
                open_ports: None,
                restrict_ports: PortSet::default(),
                open_prefix: ONE_ADDRESS,
                open_prefix6: ONE_ADDRESS6,
                open_packet_source: false,
                key: StanzaKey::Pairwise,
                open_pgp: None,
                fw_access_timeout_secs: FW_ACCESS_TIMEOUT_DEFAULT_SECS,
                max_fw_timeout_secs: MAX_FW_TIMEOUT_DEFAULT_SECS,
                require_username: Usernames::default(),
                require_source_address: false,
                os: None,
                knock_sequence: false,
                expire_at_secs: None,
                command: None,
                cycle: None,
                nat: NatRules::default(),
                protect: PortSet::default(),
                on_controller_loss: OnControllerLoss::default(),
            },
            hosts: Vec::new(),
            keys: KeyLines::new(dialect),
            gpg: GpgLines::default(),
            usernames: None,
            user_public: None,
            runs_commands: false,
            command: CommandRule::default(),
            uses_sudo: false,
            sudo: SudoRule::default(),
            accounts: Vec::new(),
            cycle: CycleLines::default(),
            force_snat: None,
            masquerades: false,
            seen: 0,
            places: Vec::new(),
            doubts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether a line with this keyword begins the next stanza: a second SOURCE does, and so does a
    /// NAME, unless it stands directly below the SOURCE of a stanza without one.
    pub(crate) fn ends_before(&self, keyword: Keyword) -> bool {
        if keyword == Keyword::Name {
            self.seen != Keyword::Source.bit() || self.is_closed
        } else {
            keyword == Keyword::Source && self.has(keyword)
        }
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.stanza.name.as_ref()
    }

    /// Takes one line. Of two that set the same the last counts in fwknop's dialect, as fwknop
    /// reads it, and that is said; in our own texts the second is a mistake.
    pub(crate) fn line(&mut self, keyword: Keyword, value: &str, at: Place) -> Result<(), Problem> {
        let own = |seen: &&(Keyword, Place)| slot(seen.0) == slot(keyword);
        let before = self.places.iter().rev().find(own).map(|(_, at)| at.clone());
        let same = self.seen & keyword.bit() != 0;
        self.seen |= keyword.bit();
        self.places.push((keyword, at.clone()));
        let may_repeat = REPEATABLE & keyword.bit() != 0;
        match (self.dialect, before) {
            (_, None) => {}
            (_, Some(_)) if may_repeat => {}
            (Dialect::Alone, Some(before)) => {
                let problem = Problem::new(format!(
                    "the line takes the place of the one at {before}: of two, fwknop takes the last"
                ));
                self.doubts
                    .push((at.clone(), keyword, problem.hint("remove the other line")));
            }
            (Dialect::Operator | Dialect::Compiled, Some(_)) => {
                if same && REPEATABLE_KEYS & keyword.bit() == 0 {
                    return Err(Problem::new("the stanza has this keyword already")
                        .hint("a stanza begins with SOURCE or NAME"));
                }
            }
        }
        self.set(keyword, value, at)
    }

    fn doubt(&mut self, at: &Place, keyword: Keyword, problem: Option<Problem>) {
        if self.dialect != Dialect::Compiled {
            let doubt = problem.map(|problem| (at.clone(), keyword, problem));
            self.doubts.extend(doubt);
        }
    }

    /// SOURCE and DESTINATION.
    fn networks(&mut self, keyword: Keyword, value: &str, at: &Place) -> Result<Networks, Problem> {
        let (networks, doubts) = Networks::read(value).map_err(shown)?;
        for doubt in doubts {
            let problem = Problem::new(doubt.to_string()).hint(doubt.hint());
            if doubt.is_mistake(self.dialect) {
                return Err(problem);
            }
            self.doubt(at, keyword, Some(problem));
        }
        Ok(networks)
    }

    /// ACCESS_EXPIRE.
    fn expires(&mut self, value: &str, at: &Place) -> Result<u64, Problem> {
        let date = dates::read(value, &self.zone)?;
        self.doubt(at, Keyword::AccessExpire, date.doubt);
        self.notes
            .push((at.clone(), Keyword::AccessExpire, date.note));
        Ok(date.at_secs)
    }

    fn set(&mut self, keyword: Keyword, value: &str, at: Place) -> Result<(), Problem> {
        let stanza = &mut self.stanza;
        match keyword {
            Keyword::Name => stanza.name = Some(values::name(value)?.into()),
            Keyword::Hosts => self.hosts.push(Selector::parse(value).map_err(shown)?),
            Keyword::Source => self.stanza.source = self.networks(keyword, value, &at)?,
            Keyword::Destination => self.stanza.destination = self.networks(keyword, value, &at)?,
            Keyword::SpaServerPort => stanza.spa_server_port = Some(values::port(value)?),
            Keyword::OpenPorts => stanza.open_ports = Some(PortSet::parse(value).map_err(shown)?),
            Keyword::RestrictPorts => {
                stanza.restrict_ports = PortSet::parse(value).map_err(shown)?
            }
            Keyword::OpenPrefix => stanza.open_prefix = values::prefix(value, 16, ONE_ADDRESS)?,
            Keyword::OpenPrefix6 => stanza.open_prefix6 = values::prefix(value, 32, ONE_ADDRESS6)?,
            Keyword::OpenPacketSource => stanza.open_packet_source = values::switch(value)?,
            Keyword::Protect => stanza.protect = PortSet::parse(value).map_err(shown)?,
            Keyword::Key => {
                self.doubt(&at, keyword, keys::comment_in(value));
                self.keys.encryption(Encoding::Passphrase, value, at)?;
            }
            Keyword::KeyBase64 => self.keys.encryption(Encoding::Base64, value, at)?,
            Keyword::HmacKey => {
                self.doubt(&at, keyword, keys::comment_in(value));
                self.keys.hmac(Encoding::Passphrase, value)?;
            }
            Keyword::HmacKeyBase64 => self.keys.hmac(Encoding::Base64, value)?,
            Keyword::MoreKeysBase64 => self.keys.more(value, at)?,
            Keyword::RequireUsername => {
                self.doubt(&at, keyword, users::blank_in(value));
                self.usernames = Some((at, value.into()));
            }
            Keyword::EncryptionMode if value.eq_ignore_ascii_case("asymmetric") => {
                self.gpg.line(keyword, value)?;
            }
            Keyword::EncryptionMode => self.keys.mode(value)?,
            Keyword::HmacDigestType => self.keys.digest(value)?,
            Keyword::UserPublicKey => self.user_public = Some(value.parse().map_err(shown)?),
            Keyword::FwAccessTimeout => {
                stanza.fw_access_timeout_secs = values::timeout_secs(value)?
            }
            Keyword::MaxFwTimeout => stanza.max_fw_timeout_secs = values::timeout_secs(value)?,
            Keyword::KnockSequence => stanza.knock_sequence = values::switch(value)?,
            Keyword::RequireOs => stanza.os_mut().names = OsName::list(value)?,
            Keyword::RequireOsRegex => stanza.os_mut().pattern = Some(OsPattern::parse(value)?),
            Keyword::RequireSourceAddress => stanza.require_source_address = values::switch(value)?,
            Keyword::AccessExpire => self.stanza.expire_at_secs = Some(self.expires(value, &at)?),
            Keyword::AccessExpireEpoch => stanza.expire_at_secs = Some(values::epoch_secs(value)?),
            Keyword::EnableCmdExec => self.runs_commands = values::switch(value)?,
            Keyword::EnableCmdSudoExec => self.uses_sudo = values::switch(value)?,
            Keyword::CmdExecUser => self.command.user = Some(self.account(keyword, value, at)?),
            Keyword::CmdExecGroup => self.command.group = Some(self.account(keyword, value, at)?),
            Keyword::CmdSudoExecUser => self.sudo.user = Some(self.account(keyword, value, at)?),
            Keyword::CmdSudoExecGroup => {
                self.sudo.group = Some(self.account(keyword, value, at)?);
            }
            Keyword::CmdCycleOpen => self.cycle.open = Some(CycleCommand::parse(value)?),
            Keyword::CmdCycleClose => self.cycle.close = cycle::close(value)?,
            Keyword::CmdCycleTimer => self.cycle.timer_secs = Some(cycle::timer_secs(value)?),
            Keyword::ForceNat => {
                stanza.nat.force = Some(ForcedTarget::parse(value).map_err(shown)?);
            }
            Keyword::ForceSnat => self.force_snat = Some(values::host_address(value)?),
            Keyword::ForceMasquerade => self.masquerades = values::switch(value)?,
            Keyword::DisableDnat => stanza.nat.disable_dnat = values::switch(value)?,
            Keyword::ForwardAll => stanza.nat.forward_all = values::switch(value)?,
            Keyword::NatAccess => {
                let line = NatLine::parse(value).map_err(shown)?;
                stanza.nat.access.add(line).map_err(shown)?;
            }
            Keyword::OnControllerLoss => {
                stanza.on_controller_loss = values::on_controller_loss(value)?;
            }
            Keyword::GpgAllowNoPw
            | Keyword::GpgDecryptId
            | Keyword::GpgDecryptPw
            | Keyword::GpgDisableSig
            | Keyword::GpgExe
            | Keyword::GpgFingerprintId
            | Keyword::GpgHomeDir
            | Keyword::GpgIgnoreSigVerifyError
            | Keyword::GpgRemoteId
            | Keyword::GpgRequireSig => self.gpg.line(keyword, value)?,
            Keyword::DataCollectMode
            | Keyword::Group
            | Keyword::Include
            | Keyword::IncludeFolder
            | Keyword::IncludeKeys
            | Keyword::Test => {
                return Err(Problem::new("the keyword does not belong into a stanza"));
            }
        }
        Ok(())
    }

    fn account(&mut self, keyword: Keyword, value: &str, at: Place) -> Result<Box<str>, Problem> {
        let name = values::account(value)?;
        let kind = if matches!(keyword, Keyword::CmdExecGroup | Keyword::CmdSudoExecGroup) {
            AccountKind::Group
        } else {
            AccountKind::User
        };
        self.accounts.retain(|before| before.keyword != keyword);
        self.accounts.push(Account {
            name: name.clone(),
            kind,
            at,
            keyword,
        });
        Ok(name)
    }

    /// Users and groups that commands need; those of sudo where sudo runs them.
    fn accounts(&self) -> Vec<Account> {
        let is_of_sudo = |account: &&Account| {
            matches!(
                account.keyword,
                Keyword::CmdSudoExecUser | Keyword::CmdSudoExecGroup
            )
        };
        let accounts = self.accounts.iter();
        let needed = accounts.filter(|account| self.uses_sudo || !is_of_sudo(account));
        needed.filter(|_| self.runs_commands).cloned().collect()
    }

    /// Puts the stanza together and finds the mistakes that only the whole shows. `gpg_home` is the
    /// host's own keyring.
    pub(crate) fn finish(mut self, gpg_home: &str) -> Finished {
        let dialect = self.dialect;
        let placed = |(keyword, problem)| {
            let at = place_in(&self.places, &self.at, keyword);
            (at, keyword, problem)
        };
        let mut problems: Vec<_> = self.mistakes(dialect).map(placed).collect();
        let mut warnings: Vec<_> = self.warnings().into_iter().map(placed).collect();
        warnings.append(&mut self.doubts);
        let accounts = self.accounts();
        let says_whose_address = self.has(Keyword::RequireSourceAddress);
        let caps = self.has(Keyword::MaxFwTimeout);

        let nat_source = self.nat_source();

        let mut stanza = self.stanza;
        stanza.nat.source = nat_source;
        // As fwknop, which permits everything; the host has a switch of its own.
        if dialect == Dialect::Alone && stanza.nat.access == NatAccess::Nowhere {
            stanza.nat.access = NatAccess::Everywhere;
        }
        stanza.hosts = self.hosts.into_boxed_slice();
        let sudo = self.uses_sudo.then_some(self.sudo);
        let command = CommandRule {
            sudo,
            ..self.command
        };
        stanza.command = self.runs_commands.then(|| Box::new(command));
        // The owner's own timer is as long as he wants it; a line of its own caps it, too.
        if let Some(timer_secs) = self.cycle.timer_secs
            && !caps
        {
            stanza.max_fw_timeout_secs = stanza.max_fw_timeout_secs.max(timer_secs);
        }
        stanza.cycle = self.cycle.finish().map(Box::new);
        if let (Some(public), Some((_, user))) = (self.user_public, &self.usernames) {
            let user = user.clone();
            stanza.key = StanzaKey::User { user, public };
        }
        if self.gpg.opens() {
            stanza.key = StanzaKey::Static(Box::default());
        }
        stanza.open_pgp = self.gpg.finish(gpg_home, self.keys.open_pgp_hmac());
        if !self.keys.is_empty() {
            match self.keys.finish() {
                Ok((keys, dropped)) => {
                    stanza.key = StanzaKey::Static(keys);
                    let dropped = dropped.into_iter();
                    warnings.extend(dropped.map(|(at, problem)| (at, Keyword::Key, problem)));
                }
                Err(wrong) => problems.extend(
                    wrong
                        .into_iter()
                        .map(|(at, problem)| (at, Keyword::Key, problem)),
                ),
            }
        }
        // A compiled text says it, unless it is of a version for which this was off.
        let is_ours = dialect == Dialect::Operator && matches!(stanza.key, StanzaKey::Pairwise);
        if is_ours && !says_whose_address {
            stanza.require_source_address = true;
        }
        Finished {
            at: self.at,
            stanza,
            usernames: self.usernames,
            problems,
            warnings,
            notes: self.notes,
            places: self.places,
            accounts,
        }
    }

    /// FORCE_SNAT, else FORCE_MASQUERADE.
    fn nat_source(&self) -> Option<SeenSource> {
        let masquerade = self.masquerades.then_some(SeenSource::Masquerade);
        self.force_snat.map(SeenSource::Address).or(masquerade)
    }

    fn has(&self, keyword: Keyword) -> bool {
        self.seen & keyword.bit() != 0
    }
}

// === impl CycleLines ===

impl CycleLines {
    fn finish(self) -> Option<CycleRule> {
        let Self {
            open,
            close,
            timer_secs,
        } = self;
        Some(CycleRule {
            open: open?,
            close,
            timer_secs,
        })
    }
}

fn shown(error: impl std::error::Error) -> Problem {
    Problem::new(error.to_string())
}
