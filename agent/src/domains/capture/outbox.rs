//! What is on its way to the gate: messages with as much in each as fits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use serde::Serialize;

use super::message::Said;
use crate::domains::channel::{Channel, ChannelError, MESSAGE_MAX, Sent, decode};

/// Of one message. A gate that wants fewer at once gets these at most beyond.
const ITEMS_MAX: usize = 128;
/// The longest thing that is handed on: no SPA packet is in a longer frame.
const ITEM_MAX: usize = MESSAGE_MAX / 2;

/// One channel to the gate, and what it did not take yet.
#[derive(Debug)]
pub(super) struct Outbox {
    channel: Channel,
    ready: VecDeque<Vec<u8>>,
    filling: Vec<u8>,
    items: usize,
    /// Messages that were sent, for their memory.
    spare: Vec<Vec<u8>>,
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel,
            ready: VecDeque::new(),
            filling: Vec::new(),
            items: 0,
            spare: Vec::new(),
        }
    }

    /// Puts something in, behind what is there. What is longer than anything that is of interest is
    /// left out.
    pub(super) fn put(&mut self, said: &Said<'_>) {
        let before = self.filling.len();
        let filled = postcard::to_extend(said, std::mem::take(&mut self.filling));
        let Ok(mut filled) = filled else {
            // It cannot fail for these types and a vector.
            return;
        };
        if filled.len() - before > ITEM_MAX {
            filled.truncate(before);
        }
        self.filling = filled;
        self.items += 1;
        if self.filling.len() > MESSAGE_MAX - ITEM_MAX || self.items >= ITEMS_MAX {
            self.close_message();
        }
    }

    /// A message of its own.
    pub(super) fn put_message(&mut self, value: &impl Serialize) {
        self.close_message();
        if let Ok(message) = postcard::to_stdvec(value) {
            self.ready.push_back(message);
        }
    }

    fn close_message(&mut self) {
        self.items = 0;
        if !self.filling.is_empty() {
            let next = self.spare.pop().unwrap_or_default();
            self.ready
                .push_back(std::mem::replace(&mut self.filling, next));
        }
    }

    /// Hands over as much as the channel takes; of what does not fill a message yet only where `all` is.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Gone`] when the gate has ended.
    pub(super) fn flush(&mut self, all: bool) -> Result<(), ChannelError> {
        if all {
            self.close_message();
        }
        while let Some(message) = self.ready.front() {
            match self.channel.send_bytes(message)? {
                Sent::Full => return Ok(()),
                Sent::Taken => {
                    if let Some(mut sent) = self.ready.pop_front() {
                        sent.clear();
                        self.spare.push(sent);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the channel has not taken something yet that it is to take.
    pub(super) fn is_full(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether something is held back.
    pub(super) fn holds(&self) -> bool {
        !self.filling.is_empty()
    }

    /// What the gate asks for next, if it does.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] when it has ended, or asks for what is nothing.
    pub(super) fn asked<T: serde::de::DeserializeOwned>(
        &mut self,
    ) -> Result<Option<T>, ChannelError> {
        let message = self.channel.receive_bytes()?;
        message.map(decode).transpose()
    }
}

impl AsFd for Outbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::each;
    use super::*;
    use crate::capture::Arrival;

    fn put(outbox: &mut Outbox, first: u8) {
        outbox.put(&Said::of(Arrival::Seen(gate::LinkType::RawIp, &[first])));
    }

    /// First bytes of what has come, message by message.
    fn come(gate: &mut Channel) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(message) = gate.receive_bytes().unwrap() {
            let mut firsts = Vec::new();
            each(message, &mut |said| {
                if let Said::Seen(_, frame) = said {
                    firsts.push(frame[0]);
                }
            })
            .unwrap();
            messages.push(firsts);
        }
        messages
    }

    #[test]
    fn what_is_held_back_goes_with_the_next_that_is_not_in_order_and_never_more_than_a_message() {
        let (mut gate, domain) = Channel::pair().unwrap();
        let mut outbox = Outbox::new(domain);

        put(&mut outbox, 1);
        outbox.flush(false).unwrap();
        assert!(outbox.holds() && !outbox.is_full());
        assert!(come(&mut gate).is_empty());

        put(&mut outbox, 2);
        outbox.flush(true).unwrap();
        assert!(!outbox.holds());
        assert_eq!(come(&mut gate), [[1, 2]]);

        for _ in 0..=ITEMS_MAX {
            put(&mut outbox, 3);
        }
        outbox.flush(false).unwrap();
        assert!(outbox.holds());
        assert_eq!(come(&mut gate), [[3; ITEMS_MAX]]);
    }
}
