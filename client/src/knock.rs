//! Knocking: from options to a packet on its way.
//!
//! | module | takes → gives |
//! |---|---|
//! | `args` | command line → [`KnockArgs`](args::KnockArgs) |
//! | `request` | command line over rc stanza → what is asked for, for whom, how long |
//! | `target` | directory and own secret, or static keys → whom to ask, where, under which keys |
//! | `gpg` | a GnuPG home, or gpg → key pairs of OpenPGP, and packets made with them |
//! | `keys` | file, standard input, rc stanza, prompt or argument → static keys |
//! | `outside` | a web page → the address the world sees |
//! | `address`, `way`, `seen` | the kernel's word and the controller's → the address the host sees |
//! | `packet` | request, target, time, randomness → message, packet, and its fields in words |
//! | `keep` | packet → file |
//! | `send` | packet → network |
//! | `sequence` | message → ports to knock at, one after the other |
//! | `answer` | a port → whether it answers |
//! | `listed` | what the directory says of a host |
//! | `hosts`, `refresh` | names and labels → hosts, by a directory that is not older than it need be |
//! | `asker`, `known` | the controller, for as long as somebody waits → what became of the packets |
//! | `delivery` | target → a packet for each of its addresses, sent |
//! | `attempt` | all of it, and `why` a port does not answer |

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod args;
pub(crate) mod asker;
pub(crate) mod attempt;
pub(crate) mod delivery;
pub(crate) mod gpg;
pub(crate) mod gpg_args;
pub(crate) mod hosts;
mod keep;
mod key_file;
pub(crate) mod keys;
pub(crate) mod known;
pub(crate) mod listed;
pub(crate) mod outside;
pub(crate) mod packet;
pub(crate) mod reach;
pub(crate) mod refresh;
pub(crate) mod request;
pub(crate) mod seen;
pub(crate) mod send;
pub(crate) mod sequence;
pub(crate) mod target;
pub(crate) mod way;
pub(crate) mod why;
