//! What is wrong, or without effect, in a stanza as a whole.

use super::Draft;
use crate::dialect::Dialect;
use crate::keyword::Keyword;
use crate::nat::NatRules;
use crate::problem::Problem;

impl Draft {
    /// What is wrong with the stanza as a whole.
    pub(super) fn mistakes(
        &self,
        dialect: Dialect,
    ) -> impl Iterator<Item = (Keyword, Problem)> + use<> {
        let source = (!self.has(Keyword::Source)).then(|| {
            let problem = Problem::new("the stanza has no SOURCE");
            let problem = problem.hint("SOURCE ANY allows every address");
            (Keyword::Source, problem)
        });
        let expires_twice = dialect != Dialect::Alone
            && self.has(Keyword::AccessExpire)
            && self.has(Keyword::AccessExpireEpoch);
        let expire = expires_twice.then(|| {
            let problem = Problem::new("the stanza has ACCESS_EXPIRE as well");
            (Keyword::AccessExpireEpoch, problem)
        });
        let key = self.key_mistake(dialect);
        let nat = self.nat_mistake();
        let cycle = self.cycle_mistake();
        let all = source.into_iter().chain(expire).chain(key).chain(nat);
        all.chain(cycle).chain(self.sequence_mistake())
    }

    /// What is wrong with the lines about a command cycle as a whole.
    fn cycle_mistake(&self) -> Option<(Keyword, Problem)> {
        let all = [
            Keyword::CmdCycleOpen,
            Keyword::CmdCycleClose,
            Keyword::CmdCycleTimer,
        ];
        let given = all.into_iter().find(|keyword| self.has(*keyword))?;
        let lacks = |keyword: Keyword| !self.has(keyword);
        if lacks(Keyword::CmdCycleOpen) {
            let problem = Problem::new("the line needs CMD_CYCLE_OPEN");
            return Some((given, problem));
        }
        if lacks(Keyword::CmdCycleClose) {
            let problem = Problem::new("the line needs CMD_CYCLE_CLOSE");
            let problem = problem.hint("CMD_CYCLE_CLOSE NONE runs nothing");
            return Some((Keyword::CmdCycleOpen, problem));
        }
        if self.cycle.close.is_some() && lacks(Keyword::CmdCycleTimer) {
            let problem = Problem::new("the line needs CMD_CYCLE_TIMER");
            let problem = problem.hint("CMD_CYCLE_TIMER 30 runs it after 30 seconds");
            return Some((Keyword::CmdCycleClose, problem));
        }
        None
    }

    /// What keeps a stanza from taking knock sequences.
    fn sequence_mistake(&self) -> Option<(Keyword, Problem)> {
        if !self.stanza.knock_sequence {
            return None;
        }
        let has_key = self.has(Keyword::Key) || self.has(Keyword::KeyBase64);
        let has_hmac = self.has(Keyword::HmacKey) || self.has(Keyword::HmacKeyBase64);
        let problem = if self.gpg.opens() && !has_key {
            Problem::new("OpenPGP has no key from which a sequence could be made")
        } else if has_key && !has_hmac {
            let problem = Problem::new("a knock sequence needs an HMAC key");
            problem.hint("add HMAC_KEY_BASE64 below the key")
        } else if has_key && self.has(Keyword::RequireUsername) {
            let problem = "a sequence names no user, and the key of the stanza is everybody's";
            Problem::new(problem).hint("without KEY every user has her own with every host")
        } else {
            return None;
        };
        Some((Keyword::KnockSequence, problem))
    }

    /// What is wrong with the lines about NAT as a whole.
    fn nat_mistake(&self) -> Option<(Keyword, Problem)> {
        let NatRules {
            force, forward_all, ..
        } = &self.stanza.nat;
        let keyword = match (self.force_snat, self.masquerades) {
            (Some(_), _) => Keyword::ForceSnat,
            (None, true) => Keyword::ForceMasquerade,
            (None, false) => return None,
        };
        if force.is_none() && !forward_all {
            let problem = Problem::new("the line needs FORCE_NAT or FORWARD_ALL Y");
            return Some((keyword, problem));
        }
        let (force, snat) = (force.as_ref()?, self.force_snat?);
        let differs = force.address.is_ipv4() != snat.is_ipv4();
        let problem = "the address is of another family than that of FORCE_NAT";
        differs.then(|| (Keyword::ForceSnat, Problem::new(problem)))
    }

    /// Which of its lines have no effect.
    pub(super) fn warnings(&self) -> Vec<(Keyword, Problem)> {
        let mut warnings = Vec::new();
        let mut useless = |keyword: Keyword, switch: &str| {
            if self.has(keyword) {
                let problem = format!("the line has no effect without {switch} Y");
                warnings.push((keyword, Problem::new(problem)));
            }
        };
        if !self.runs_commands {
            useless(Keyword::CmdExecUser, "ENABLE_CMD_EXEC");
            useless(Keyword::CmdExecGroup, "ENABLE_CMD_EXEC");
        }
        if !self.runs_commands && self.uses_sudo {
            useless(Keyword::EnableCmdSudoExec, "ENABLE_CMD_EXEC");
        }
        if !self.uses_sudo {
            useless(Keyword::CmdSudoExecUser, "ENABLE_CMD_SUDO_EXEC");
            useless(Keyword::CmdSudoExecGroup, "ENABLE_CMD_SUDO_EXEC");
        }
        if self.force_snat.is_some() && self.masquerades {
            let problem = Problem::new("the line has no effect beside FORCE_SNAT");
            warnings.push((Keyword::ForceMasquerade, problem));
        }
        let has_hmac = self.keys.open_pgp_hmac().is_some();
        self.gpg.warnings(has_hmac, &mut warnings);
        if !self.keys.is_empty() && self.keys.has_useless_digest() {
            let problem = Problem::new("the line has no effect without an HMAC key");
            warnings.push((Keyword::HmacDigestType, problem));
        }
        warnings
    }

    /// What is wrong with the keys as a whole.
    fn key_mistake(&self, dialect: Dialect) -> Option<(Keyword, Problem)> {
        let has_key_lines = self.has(Keyword::Key) || self.has(Keyword::KeyBase64);
        let has_user_key = self.has(Keyword::UserPublicKey);
        if let Some(mistake) = self.gpg.mistake(dialect, has_key_lines) {
            return Some(mistake);
        }
        if has_key_lines {
            let problem = Problem::new("the stanza has a KEY as well");
            return has_user_key.then_some((Keyword::UserPublicKey, problem));
        }
        if self.has(Keyword::MoreKeysBase64) {
            let problem = Problem::new("the stanza has no KEY, to which these would be more");
            return Some((Keyword::MoreKeysBase64, problem));
        }
        if self.gpg.opens() {
            return None;
        }
        if let Some(problem) = self.keys.pairwise_mistake() {
            return Some((Keyword::Key, problem));
        }
        match dialect {
            Dialect::Operator => None,
            Dialect::Alone => {
                let problem = Problem::new("the stanza has no KEY");
                let problem =
                    problem.hint("without a controller every stanza needs KEY or KEY_BASE64");
                Some((Keyword::Key, problem))
            }
            Dialect::Compiled if !has_user_key => {
                let problem = Problem::new("the stanza has neither KEY nor USER_PUBLIC_KEY");
                Some((Keyword::UserPublicKey, problem))
            }
            Dialect::Compiled => {
                let names_one = self
                    .usernames
                    .as_ref()
                    .is_some_and(|(_, names)| !names.contains(',') && !names.starts_with('@'));
                let problem = Problem::new("the stanza needs REQUIRE_USERNAME with one user");
                (!names_one).then_some((Keyword::UserPublicKey, problem))
            }
        }
    }
}
