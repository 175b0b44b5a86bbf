//! How the gate is told of what was found.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::firewall::Notice;
use crate::orders::{NotTaken, Order, OrderSender};

/// Before another attempt at a mailbox that is full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Tells the gate, without waiting.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(Notice) -> Result<(), Untold> + Send + Sync>);

/// Why a notice was not taken.
#[derive(Debug)]
pub enum Untold {
    /// Try again in a moment; the notice comes back.
    Full(Notice),
    /// Nobody listens any more.
    Stopped,
}

// === impl Tell ===

impl Tell {
    /// Has this done with every notice.
    pub fn by(tell: impl Fn(Notice) -> Result<(), Untold> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Puts them into the mailbox of the gate thread.
    pub fn orders(orders: &OrderSender) -> Self {
        let orders = orders.clone();
        Self::by(move |notice| match orders.send(Order::Firewall(notice)) {
            Ok(()) => Ok(()),
            Err(NotTaken::Full(order)) => {
                let Order::Firewall(notice) = *order else {
                    return Err(Untold::Stopped);
                };
                Err(Untold::Full(notice))
            }
            Err(NotTaken::Stopped) => Err(Untold::Stopped),
        })
    }

    /// Tells, if it can be told now.
    ///
    /// # Errors
    ///
    /// [`Untold::Full`] gives the notice back.
    pub fn tell(&self, notice: Notice) -> Result<(), Untold> {
        (self.0)(notice)
    }

    /// Tells what must not be lost. Not taken only by a gate that has stopped, or whose mailbox
    /// others fill.
    pub fn deliver(&self, notice: Notice) {
        let mut told = self.tell(notice);
        while let Err(Untold::Full(notice)) = told {
            thread::sleep(FULL_PAUSE);
            told = self.tell(notice);
        }
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}
