//! The gate: from bytes off the wire to a word on who gets in.
//!
//! A [`Gate`] performs no I/O, reads no clock and starts nothing. It is told what arrived and when,
//! and answers with a [`Decision`]; the agent's loop makes it so. Every rule about who gets in is a
//! rule about values, and is tested as one.
//!
//! # The life of a packet
//!
//! Read `Gate::run_checks`; the other modules are its checks, in the order in which a packet meets
//! them. Each check consumes the evidence of the one before and leaves evidence that nothing else
//! can make, so that none can be skipped and no two can be swapped.
//!
//! | check | takes | leaves | refuses with ([`Reason`]) |
//! |---|---|---|---|
//! | [`datagram`] | frame | [`Datagram`] | [`NotForUs`] |
//! | `fragments` | [`Fragment`]s | the [`Datagram`] that they were | `NotForUs`, until it is whole |
//! | [`addressees`] | destination | nothing: a shortcut for what is for others | `NotForUs` |
//! | `parse` | payload | `Parsed` | `Malformed`, `NotHttp` |
//! | `copies` | text | nothing: a shortcut for copies | `Replayed`, `Stale`; or is a duplicate |
//! | `matching` | `Parsed`, source | candidate keys, paid for | `NoCandidate`, `Budget` |
//! | `authenticate` | sealed packet, key | `Authenticated` | `NotAuthentic`, `NotOpened`, `ForeignTag` |
//! | `fresh` | `Authenticated`, wall time, [`ReplayLog`] | `Fresh` | `Stale`, `Future`, `BeforeFloor`, `Replayed` |
//! | `authorize` | `Fresh`, stanzas | `Authorized` | `Denied`, `PolicyExpired` |
//! | [`decision`] | `Authorized` | [`Grant`] or [`Pending`] | `ReplayedElsewhere`, `ClaimUnreachable` |
//!
//! # What strangers can do
//!
//! Nothing that they send is logged, answered or kept; they can make counters grow. Junk of the
//! wrong shape costs some comparisons. Junk of the right shape costs one HMAC for each key, under
//! [`Budget`]s, and finding none in them it costs nothing. Memory is bounded by constants: 4096
//! budgets, 8192 sources with their last keys, 1024 texts of authentic packets,
//! 256 packets of 1,600 bytes that are not whole; the SYNs of 16,384 addresses where a stanza says
//! REQUIRE_OS; 16,384 knock sequences under way where one says KNOCK_SEQUENCE.
//!
//! Two decisions that cost an argument. *The tag is checked again after opening* (`ForeignTag`):
//! accepting a foreign tag in front of an authentic packet would be harmless, since the replay digest
//! ignores it, but then one message had many texts, and that is how fwknop's replay bypasses began.
//! *A packet is tried with all its keys or with none*: spending the rest of a budget on some of the
//! keys would make the last stanzas of a file unreachable under attack while the first ones work.

pub mod addressees;
pub mod budget;
pub mod compiled;
pub mod counters;
pub mod datagram;
pub mod decision;
pub mod fresh;
pub mod now;
pub mod replay;
pub mod seen_texts;
mod settings;
pub mod syns;

mod authenticate;
mod authorize;
mod copies;
mod fragments;
mod gate;
mod http;
mod matching;
mod parse;
mod recorded;
mod sequences;

pub use crate::addressees::{Addressees, HostAddresses};
pub use crate::budget::{Budget, Exhausted};
pub use crate::compiled::{CompileError, CompiledPolicy, Keyrings, NoKeyrings, SharedKeys};
pub use crate::counters::Counters;
pub use crate::datagram::{Datagram, Fragment, LinkType, NotForUs, Packet, Transport};
pub use crate::decision::{
    Check, Claimed, Decision, Grant, Identity, Pending, Reason, Refusal, Route, UserProof,
};
pub use crate::fragments::FRAGMENTED_LEN_MAX;
pub use crate::fresh::{ReplayLog, Replayed};
pub use crate::gate::Gate;
pub use crate::now::Now;
pub use crate::recorded::{LedTo, Recorded};
pub use crate::replay::{
    Capacity, Clock, Floor, FloorReason, Floors, Memory, MemoryReplayLog, Span, Spans,
};
pub use crate::seen_texts::SeenTexts;
pub use crate::settings::{AGEING_DEFAULT, Settings};
pub use crate::syns::{SYN_WITHIN, syn_of};
