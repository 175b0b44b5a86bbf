//! A turn's records, each with what it permits: one value, so that neither goes without the other.
//!
//! An [`Effect`](crate::Effect) that opens or runs something is inside a [`Batch`] and comes out of
//! it in one way: [`Batch::commit`] writes the records, and gives a [`Committed`] if that succeeded,
//! which [`Engine::committed`](crate::Engine::committed) takes. If it failed there is a
//! [`NotCommitted`], from which [`Engine::not_committed`](crate::Engine::not_committed) makes
//! refusals. There is no third way:
//!
//! ```compile_fail
//! fn open_without_a_record(engine: &mut engine::Engine, batch: engine::Batch) {
//!     engine.committed(engine::Committed { items: batch.items }, gate::Now::default());
//! }
//! ```
//!
//! ```
//! fn open_what_is_recorded(engine: &mut engine::Engine, batch: engine::Batch) {
//!     match batch.commit(|_records| Ok::<(), std::convert::Infallible>(())) {
//!         Ok(committed) => engine.committed(committed, gate::Now::default()),
//!         Err((not_committed, _)) => engine.not_committed(not_committed, gate::Now::default()),
//!     }
//! }
//! ```

use gate::Grant;

use crate::commands::Command;
use crate::cycles::LiveCycle;
use crate::grants::LiveGrant;
use crate::record::Record;

/// Records to commit together, with what they permit.
#[derive(Debug)]
#[must_use = "what is in it is neither recorded nor done"]
pub struct Batch {
    items: Vec<Item>,
}

/// A batch whose records are durable. Only [`Batch::commit`] makes one.
#[derive(Debug)]
#[must_use = "what is recorded has yet to be done"]
pub struct Committed {
    items: Vec<Item>,
}

/// A batch of which nothing was written. Only [`Batch::commit`] makes one.
#[derive(Debug)]
#[must_use = "what is not recorded has yet to be refused"]
pub struct NotCommitted {
    items: Vec<Item>,
}

/// A record, and what it permits.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) record: Record,
    pub(crate) permits: Permits,
    /// Whether it was in an earlier batch, which could not be committed.
    pub(crate) is_retried: bool,
}

/// What may be done once the record is committed.
#[derive(Debug)]
pub(crate) enum Permits {
    Nothing,
    Open(Box<LiveGrant>),
    /// A grant that is open is open for longer.
    Extend(Box<LiveGrant>),
    /// A grant is asked for again that another record of this batch opens or extends.
    Join,
    Publish,
    Run(Command, Box<Grant>),
    /// A command of the host's owner opens.
    Cycle(Command, Box<LiveCycle>),
    /// A command of the host's owner closes. Waits for no disk: not recorded, it runs all the same.
    CloseCycle(Command),
}

// === impl Item ===

impl Item {
    /// The grant that it opens or extends.
    pub(crate) fn staged(&mut self) -> Option<&mut LiveGrant> {
        match &mut self.permits {
            Permits::Open(live) | Permits::Extend(live) => Some(live),
            Permits::Join
            | Permits::Nothing
            | Permits::Publish
            | Permits::Run(_, _)
            | Permits::Cycle(_, _)
            | Permits::CloseCycle(_) => None,
        }
    }
}

// === impl Batch ===

impl Batch {
    pub(crate) fn new(items: Vec<Item>) -> Self {
        Self { items }
    }

    /// Whether there is nothing to record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns all records, in their order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.items.iter().map(|item| &item.record)
    }

    /// Lets `write` make all records durable, in one transaction.
    ///
    /// # Errors
    ///
    /// What `write` says, with the batch, of which nothing may have been written then.
    pub fn commit<E>(
        self,
        write: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Committed, (NotCommitted, E)> {
        match write(&self) {
            Ok(()) => Ok(Committed { items: self.items }),
            Err(cause) => Err((NotCommitted::new(self.items), cause)),
        }
    }
}

// === impl Committed ===

impl Committed {
    /// Returns the records that were in no batch before: what there is to log.
    pub fn new_records(&self) -> impl Iterator<Item = &Record> {
        new_records(&self.items)
    }

    pub(crate) fn into_items(self) -> Vec<Item> {
        self.items
    }
}

// === impl NotCommitted ===

impl NotCommitted {
    /// Turns the records of what was permitted into those of its refusal.
    fn new(mut items: Vec<Item>) -> Self {
        for Item {
            record, permits, ..
        } in &mut items
        {
            match permits {
                // A policy is enforced, whether or not it could be recorded.
                Permits::Nothing | Permits::Publish | Permits::CloseCycle(_) => {}
                Permits::Open(_) | Permits::Extend(_) | Permits::Join => {
                    record.refuse("the journal could not be written; nothing was opened");
                }
                Permits::Run(command, _) | Permits::Cycle(command, _) => {
                    let text = &command.line.text;
                    record.refuse(&format!(
                        "the journal could not be written; the command did not run: {text}"
                    ));
                }
            }
        }
        Self { items }
    }

    /// Returns the records that were in no batch before: what there is to log. What was permitted is
    /// a refusal by now.
    pub fn new_records(&self) -> impl Iterator<Item = &Record> {
        new_records(&self.items)
    }

    /// Returns how many grants and commands are refused for it.
    #[must_use]
    pub fn grants(&self) -> usize {
        count_grants(&self.items)
    }

    pub(crate) fn into_items(self) -> Vec<Item> {
        self.items
    }
}

fn new_records(items: &[Item]) -> impl Iterator<Item = &Record> {
    let new = items.iter().filter(|item| !item.is_retried);
    new.map(|item| &item.record)
}

fn count_grants(items: &[Item]) -> usize {
    let depends = |item: &&Item| {
        !matches!(
            item.permits,
            Permits::Nothing | Permits::Publish | Permits::CloseCycle(_)
        )
    };
    items.iter().filter(depends).count()
}
