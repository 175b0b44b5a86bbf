//! Everything a request can fail with, in terms of what its caller can do about it.

use fleet::{Role, UnknownRole};
use tokio::task::JoinError;

use crate::access::peer::CertificateTime;
use crate::becomes_public::BecomesPublic;
use crate::random::NoRandomness;
use crate::store::error::{NotCommitted, StoreError};
use crate::store::model::Member;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Who asks is not known.
    #[error("no certificate of this fleet was presented")]
    Unauthenticated,
    /// The certificate's time is not now, by this machine's clock.
    #[error("{0}")]
    OutOfTime(CertificateTime),
    /// The certificate is of an authority that is not known here, or no more.
    #[error(
        "the certificate is of an authority that counts no more here: a member renews it by itself, and one \
         that does not must join anew, with a new token"
    )]
    AuthorityUnknown,
    /// Its membership has ended, or its name is somebody else's now.
    #[error("the certificate names nobody who belongs to this fleet now")]
    NotMember,
    /// Its membership has ended: the key was issued here, and belongs to nobody any more.
    #[error("the certificate names nobody who belongs to this fleet now: the membership has ended")]
    MembershipEnded,
    /// It may do nothing until an operator unlocks it.
    #[error("{}", locked(*.role, name, key.as_deref()))]
    Locked {
        /// Of the member.
        role: Role,
        /// Of the member.
        name: String,
        /// The key that is locked by itself, while the member is not.
        key: Option<String>,
    },
    /// The caller's role has not the permission.
    #[error("role {role} may not {what}")]
    NotAllowed {
        /// Of the caller.
        role: Role,
        /// Reads on after "may not".
        what: &'static str,
    },
    /// Nobody may call it, because nobody has said who may.
    #[error("this controller knows no such call: it may be older than the program that asks")]
    UnknownCall,
    /// The peer has used up its allowance.
    #[error("too many requests from this peer; try again later")]
    TooMany,
    /// Too many questions of the log are open.
    #[error("{whose} {max} {what} already; ask again when one has ended")]
    Busy {
        /// "you have" or "there are".
        whose: &'static str,
        /// "questions of the log open".
        what: &'static str,
        /// How many may be.
        max: usize,
    },
    /// A question of the log cost more than one may.
    #[error(
        "the search was given up after 10 s of work, and there may be more events than these: \
         narrow it by time, host, user or kind"
    )]
    TooCostly,
    /// Whoever asked takes no more of the answer.
    #[error("the answer was not read for {secs} s")]
    NotRead {
        /// How long.
        secs: u64,
    },
    /// The token does not admit its bearer.
    #[error("token refused")]
    Token(#[from] TokenRefused),
    /// The member is not given a fresh certificate.
    #[error("renewal refused")]
    Renewal(#[from] RenewalRefused),
    /// A field of the request makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// As the contract names it.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Two members of one role cannot have one name.
    #[error("there is a {role} called `{name}` already")]
    NameTaken {
        /// Of the member that has the name.
        role: Role,
        /// The name.
        name: String,
    },
    /// Policy trusts the name, and the token does not say that its bearer is meant.
    #[error(
        "the policy in force names {role} `{name}`, so it can be taken only with a token that \
         carries the name; ask an operator for one"
    )]
    NameTrusted {
        /// Of the joiner.
        role: Role,
        /// What it would like to be called.
        name: String,
    },
    /// Two keys of one user cannot have one name.
    #[error("user {name} has a key called `{key}` already")]
    KeyTaken {
        /// The user.
        name: String,
        /// Of the key.
        key: String,
    },
    /// The fleet would be left without anybody who can say who may do what.
    #[error(
        "owner {name} is the last one who can do anything, and nobody could undo this; make another \
         first, or on the controller's machine run `postern-controller token create --role owner`, \
         which needs no owner"
    )]
    LastOwner {
        /// The owner.
        name: String,
    },
    /// Members of that role are not the caller's to invite, lock or remove.
    #[error("{}", not_hers(*.role, *.whom))]
    NotYours {
        /// Of the caller.
        role: Role,
        /// Of the member.
        whom: Role,
    },
    /// It concerns hosts that are not the caller's business.
    #[error("only hosts with {scope} are your business: {problem}")]
    OutOfScope {
        /// The labels, as `env=stage`.
        scope: String,
        /// What else it concerns.
        problem: String,
    },
    /// What was asked for cannot be, as things are.
    #[error("{0}")]
    Conflict(String),
    /// What was asked for does not exist.
    #[error("no {what}")]
    NotFound {
        /// Reads on after "no".
        what: String,
    },
    /// Somebody else has applied a policy since.
    #[error(
        "the policy is at generation {current}, not at {base}: look at what changed, and apply again"
    )]
    StaleBase {
        /// What the caller had seen.
        base: u64,
        /// What is in force.
        current: u64,
    },
    /// It would make public what is hidden, and nobody said that this is meant.
    #[error("nothing was changed: this would make hidden ports public: {0}")]
    BecomesPublic(BecomesPublic),
    /// The database was restored from an older copy, and nobody has said what is to be in force.
    #[error(
        "this controller was {reason}. Hosts keep the policy that they have. Look at the members \
         (`postern host list`) and at the text, and then apply or roll back with --after-restore"
    )]
    SetBack {
        /// How it was found out.
        reason: String,
    },
    /// A host claims for a key that its policy does not hold.
    #[error("this host's policy holds no key of this replay domain")]
    ForeignDomain,
    /// A host has as many claims stored as it may.
    #[error("this host has claimed more than it may; try again later")]
    ClaimsFull,
    /// The policy has mistakes, all of them named.
    #[error("invalid policy\n{0}")]
    InvalidPolicy(policy::InvalidPolicy),
    /// What the policy itself says must hold does not.
    #[error("nothing was changed: {}", tests_failed(.0))]
    TestsFailed(Vec<String>),
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A certificate or signature could not be made.
    #[error("no certificate could be made")]
    Certificate(#[from] rcgen::Error),
    /// The store did not do it.
    #[error("store")]
    Store(#[from] StoreError),
    /// The controller ends.
    #[error("the controller is stopping")]
    Stopping,
    /// A defect, or the controller is stopping.
    #[error("a task broke off")]
    Task(#[from] JoinError),
}

/// Why a token does not admit its bearer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenRefused {
    /// It was made by another fleet, or by nobody.
    #[error("it is none of this fleet's")]
    Unknown,
    /// Its life is over.
    #[error("it has expired; ask an operator for another")]
    Expired,
    /// Somebody else came first.
    #[error("it was redeemed already; ask an operator for another")]
    Used,
    /// An operator took it back.
    #[error("it was revoked; ask an operator for another")]
    Revoked,
    /// It adds a key to a user who is locked.
    #[error("the user it is for is locked; an operator can unlock her, and then it is good")]
    Locked,
}

/// Why a member is not given a fresh certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RenewalRefused {
    /// It does not prove who asks.
    #[error("no member of this name, or not its signature")]
    Signature,
    /// It may be an old one, sent again.
    #[error("signed at another time than now: is the clock right?")]
    Clock,
    /// The settings say how old a key may be.
    #[error(
        "its identity key was made {days} days ago, and the controller takes none so old: it must join anew, \
         with a token that takes its own place"
    )]
    Old {
        /// Since then.
        days: u64,
    },
    /// The settings say how long a key may be away.
    #[error(
        "nobody came with its identity key for {days} days, and the controller takes none that was away so \
         long: it must join anew, with a token that takes its own place"
    )]
    Away {
        /// For so long.
        days: u64,
    },
}

/// What a caller can do about an error. Each front says it in its own protocol's codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Remedy {
    /// Ask an operator for the permission, or for membership.
    AskForPermission,
    /// Present a certificate.
    Authenticate,
    /// Come back when the controller can do it: it says why it cannot.
    ComeBack,
    /// Choose another name.
    ChooseAnother,
    /// Ask for less at once.
    AskLess,
    /// Ask again when the controller reaches its database: nothing was changed.
    AwaitDatabase,
    /// Ask again, and say that it is meant.
    Confirm,
    /// Correct the request.
    Correct,
    /// Ask for something that exists.
    LookElsewhere,
    /// Look whether it is done before asking again: the database went away meanwhile.
    LookFirst,
    /// Nothing: the fault is the controller's, and its log has the cause.
    ReadTheLog,
    /// Look at what has changed since, and begin again.
    StartOver,
    /// Ask again later.
    Wait,
}

// === impl Error ===

impl Error {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }

    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// `key` is the name of the key with which the member comes.
    pub(crate) fn locked(member: &Member, key: &str) -> Self {
        Self::Locked {
            role: member.role,
            name: member.name.clone(),
            key: member.lock.is_none().then(|| key.to_owned()),
        }
    }

    pub(crate) fn no_generation(generation: u64) -> Self {
        Self::not_found(format!("policy has generation {generation}"))
    }

    /// What the caller can do about it.
    pub(crate) const fn remedy(&self) -> Remedy {
        match self {
            Self::Unauthenticated | Self::AuthorityUnknown | Self::OutOfTime(_) => {
                Remedy::Authenticate
            }
            Self::NotMember
            | Self::MembershipEnded
            | Self::Locked { .. }
            | Self::NameTrusted { .. }
            | Self::NotAllowed { .. }
            | Self::UnknownCall
            | Self::NotYours { .. }
            | Self::OutOfScope { .. }
            | Self::ForeignDomain
            | Self::Token(_)
            | Self::Renewal(_) => Remedy::AskForPermission,
            Self::TooMany | Self::Busy { .. } | Self::ClaimsFull => Remedy::Wait,
            Self::Stopping => Remedy::ComeBack,
            Self::Store(StoreError::Disk { .. }) => Remedy::Wait,
            Self::Store(
                StoreError::Unreachable { .. }
                // One that comes back meanwhile has undone it.
                | StoreError::NotCommitted(NotCommitted::Unreachable(_) | NotCommitted::RolledBack),
            ) => Remedy::AwaitDatabase,
            Self::Store(StoreError::NotCommitted(NotCommitted::Unknown)) => Remedy::LookFirst,
            Self::TooCostly | Self::NotRead { .. } => Remedy::AskLess,
            Self::Invalid { .. } | Self::InvalidPolicy(_) | Self::TestsFailed(_) => Remedy::Correct,
            Self::NameTaken { .. } | Self::KeyTaken { .. } => Remedy::ChooseAnother,
            Self::NotFound { .. } => Remedy::LookElsewhere,
            Self::StaleBase { .. }
            | Self::SetBack { .. }
            | Self::LastOwner { .. }
            | Self::Conflict(_) => Remedy::StartOver,
            Self::BecomesPublic(_) => Remedy::Confirm,
            Self::Random(_) | Self::Certificate(_) | Self::Store(_) | Self::Task(_) => {
                Remedy::ReadTheLog
            }
        }
    }
}

impl From<UnknownRole> for Error {
    fn from(error: UnknownRole) -> Self {
        Self::invalid("role", error.to_string())
    }
}

fn locked(role: Role, name: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!(
            "the key {key} of {role} {name} is locked until {} unlocks it; other keys of {name} are \
             not",
            whose(role)
        ),
        None => format!(
            "{role} {name} is locked: banned from this fleet until {} unlocks it",
            whose(role)
        ),
    }
}

/// Who manages members of a role.
const fn whose(role: Role) -> &'static str {
    match role {
        Role::Host | Role::User => "an operator",
        Role::Auditor | Role::Helpdesk | Role::Operator | Role::Owner | Role::Validator => {
            "an owner"
        }
    }
}

fn not_hers(role: Role, whom: Role) -> String {
    let hers = match role {
        Role::Operator => "an operator manages hosts and users only",
        Role::Helpdesk => "a helpdesk may invite users again who are there, and nothing else",
        Role::Auditor | Role::Host | Role::Owner | Role::User | Role::Validator => {
            "that is not its part"
        }
    };
    format!("{hers}: who is {whom} is for {} to say", whose(whom))
}

/// One test a line, each with its place.
fn tests_failed(tests: &[String]) -> String {
    let count = match tests.len() {
        1 => "a test of the policy fails".to_owned(),
        count => format!("{count} tests of the policy fail"),
    };
    format!("{count}\n{}", tests.join("\n"))
}
