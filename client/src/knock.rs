//! Knocking: from options to a packet on its way.
//!
//! | module | takes → gives |
//! |---|---|
//! | `args` | command line → [`KnockArgs`](args::KnockArgs) |
//! | `ask` | command line over rc stanza → [`Ask`](ask::Ask): what is asked for, for whom, how long |
//! | `target` | directory and own secret, or static keys → whom to ask, where, under which keys |
//! | `keys` | file, standard input, rc stanza, prompt or argument → static keys |
//! | `outside` | a web page → the address the world sees |
//! | `packet` | ask, target, time, randomness → message, packet, and its fields in words |
//! | `send` | packet → network |

pub(crate) mod args;
pub(crate) mod ask;
mod key_file;
pub(crate) mod keys;
pub(crate) mod outside;
pub(crate) mod packet;
pub(crate) mod send;
pub(crate) mod target;
