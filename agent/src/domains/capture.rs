//! The capture domain: what reads packets, in a process that knows no key and has no power but to
//! capture.
//!
//! Each source of packets has a channel of its own, so that a flood at one fills its own channel only;
//! what does not fit waits in the kernel, where it is counted. Many packets travel in one message.
//!
//! | file | what it holds |
//! |---|---|
//! | `account` | as whom it runs |
//! | `message` | what the two sides say |
//! | `outbox` | messages on their way to the gate |
//! | `powers` | what the process keeps |
//! | `remote` | the gate's side: as if the sources were here |
//! | `pace` | how often a source is looked at in a flood |
//! | `shape` | what could open something, by its shape |
//! | `serve` | the other side, around the real sources |

mod account;
mod message;
mod outbox;
mod pace;
mod powers;
mod remote;
mod serve;
mod shape;

#[cfg(test)]
mod tests;

pub use remote::{RemoteCapture, RemoteSyns};
pub use serve::{CaptureStart, serve};

/// Gives a message to the reader of what the capture domain says ([`crate::hostile`]). Returns how many
/// things it says.
pub(crate) fn read_hostile(message: &[u8]) -> usize {
    let mut things = 0;
    let _ = message::each(message, &mut |_| things += 1);
    things
}
