//! Policy: access.conf parsed, judged, compiled and printed.
//!
//! No I/O, no clock, no async: everything is a function of its arguments. Included files come
//! through [`Source`], time through [`Ask`].
//!
//! # The life of a policy
//!
//! | step | takes | gives |
//! |---|---|---|
//! | [`parse_as`] | text | [`Policy`], or every mistake at once |
//! | [`Policy::run_tests`] | policy, and the fleet as far as it is known | what holds of what was said to hold |
//! | [`Policy::rights_on`] | policy, one host, the users | who may open what there |
//! | [`diff()`] | two policies | what an operator should see before applying |
//! | [`compile()`] | policy, one host, the users' public keys | the text of that host |
//! | [`Stanza::judge`] | one authentic message | [`Permit`] or [`Denied`] |
//! | [`Policy::print`] | policy | canonical text, with or without keys |

mod access_change;
mod accounts;
mod compatibility;
mod compile;
mod cycle;
mod dialect;
mod diff;
mod doubts;
mod exposure;
mod host;
mod judge;
mod keyword;
mod lexer;
mod lint;
mod mistake;
mod moment;
mod nat;
mod network;
mod open_pgp;
mod os;
mod own;
mod parse;
mod policy;
mod ports;
mod print;
mod problem;
mod redacted;
mod rights;
mod source;
mod stanza;
mod test_line;
mod test_run;
mod timeout;

#[cfg(test)]
mod properties;

pub use access_change::{AccessChange, access_changes, access_changes_of_host};
pub use accounts::{Account, AccountKind};
pub use compatibility::{FWKNOP_KEYWORDS, FwknopKeyword, KeywordVerdict};
pub use compile::{HostPolicy, compile, compile_selected};
pub use cycle::{Cycle, CycleCommand, CyclePort, CycleRule, CycleValues};
pub use dialect::Dialect;
pub use diff::{Change, LineDiff, PolicyDiff, StanzaDiff, diff};
pub use doubts::{EXPIRY_NEAR_SECS, Fleet, doubts, own_doubts};
pub use exposure::Exposure;
pub use host::{HostFacts, InvalidSelector, Selector};
pub use judge::{
    Ask, Denied, EVERYTHING, ForwardTo, Forwarding, HostSettings, HostSource, LOCAL, NamedTarget,
    NatSettings, Permit, Permitted, RefusedFor, SpaPort,
};
pub use keyword::nearest_of;
pub use mistake::{InvalidPolicy, Mistake, Place};
pub use nat::{ForcedTarget, InvalidNat, NatAccess, NatLine, NatRules, SeenSource};
pub use network::{InvalidNetwork, Networks};
pub use open_pgp::{GPG_HOME_DIR_DEFAULT, InvalidKeyId, KeyId, OpenPgpRule, Signers};
pub use os::{
    InvalidSignatures, NotTaken, OptionKinds, OsLabel, OsMatch, OsName, OsPattern, OsRule,
    OsSignatures, Quirks, Syn, kinds,
};
pub use own::OwnAddresses;
pub use parse::{parse, parse_as};
pub use policy::{CollectMode, Policy};
pub use ports::{InvalidPort, PortSet, meant as port_meant};
pub use print::{Secrets, redact_text};
pub use redacted::{keys_left_out, keys_restored, with_stand_ins};
pub use rights::{Answer, Asked, Holder, Judged, NotGiven, Proof, Question, Right};
pub use source::{NoIncludes, ReadError, Source};
pub use stanza::{
    CommandRule, OnControllerLoss, Stanza, StanzaKey, SudoRule, Usernames, is_username,
};
pub use test_line::{Expected, PolicyTest, TestedHosts, Who};
pub use test_run::{TestOutcome, TestRun};
pub use timeout::{FW_ACCESS_TIMEOUT_DEFAULT_SECS, MAX_FW_TIMEOUT_DEFAULT_SECS, TIMEOUT_MAX_SECS};
