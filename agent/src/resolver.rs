//! Looks host names up for the gate thread, which waits for nothing.
//!
//! The system's own resolver is asked, on a few threads that live while there is something to ask;
//! it may take as long as its configuration says, so the engine gives up before. What is known is
//! remembered for a moment, also that a name has no address.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use engine::NameAsk;
use parking_lot::Mutex;

use crate::orders::{Answer, NotTaken, Order, OrderSender};

/// Threads that ask at once.
const THREADS_MAX: usize = 4;
/// Names that are remembered.
const KNOWN_MAX: usize = 256;
/// For how long a name's addresses are remembered, and for how long that it has none.
const KNOWN_FOR: Duration = Duration::from_secs(30);
const UNKNOWN_FOR: Duration = Duration::from_secs(2);
/// Before another attempt at a mailbox that is full.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Looks names up. Answers that are not known yet are left in the mailbox of the gate.
#[derive(Clone, Debug)]
pub struct Resolver {
    orders: OrderSender,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Answers, each with the steady time up to which it holds.
    known: HashMap<String, (Duration, Answer)>,
    /// Names to be asked for, and being asked for, with those who wait.
    waiting: HashMap<String, Vec<u64>>,
    queue: VecDeque<String>,
    threads: usize,
}

// === impl Resolver ===

impl Resolver {
    /// Asks nobody yet.
    pub fn new(orders: OrderSender) -> Self {
        Self {
            orders,
            table: Arc::default(),
        }
    }

    /// The answer, if it is known; else it comes as an order.
    pub(crate) fn look_up(&self, ask: NameAsk, steady: Duration) -> Option<Answer> {
        let NameAsk { seq, name } = ask;
        let mut table = self.table.lock();
        if let Some((until, answer)) = table.known.get(&name)
            && *until > steady
        {
            return Some(answer.clone());
        }
        if let Some(others) = table.waiting.get_mut(&name) {
            others.push(seq);
            return None;
        }
        table.waiting.insert(name.clone(), vec![seq]);
        table.queue.push_back(name.clone());
        if table.threads >= THREADS_MAX {
            return None;
        }
        let own = self.clone();
        let thread = thread::Builder::new().name("resolver".to_owned());
        match thread.spawn(move || own.work()) {
            Ok(_) => table.threads += 1,
            Err(cause) if table.threads == 0 => {
                table.queue.clear();
                table.waiting.remove(&name);
                return Some(Err(cause.to_string()));
            }
            // Another thread takes it.
            Err(_) => {}
        }
        None
    }

    /// Asks for one name after the other until there is none.
    fn work(self) {
        loop {
            let name = {
                let mut table = self.table.lock();
                let Some(name) = table.queue.pop_front() else {
                    table.threads -= 1;
                    return;
                };
                name
            };
            let answer = addresses_of(&name);
            let waiting = self.table.lock().learn(name, answer.clone(), now());
            for seq in waiting {
                let answer = answer.clone();
                self.tell(Order::NameAnswered { seq, answer });
            }
        }
    }

    fn tell(&self, order: Order) {
        let mut told = self.orders.send(order);
        while let Err(NotTaken::Full(order)) = told {
            thread::sleep(FULL_PAUSE);
            told = self.orders.send(*order);
        }
    }
}

// === impl Table ===

impl Table {
    /// Remembers an answer; who waits for it.
    fn learn(&mut self, name: String, answer: Answer, steady: Duration) -> Vec<u64> {
        self.known.retain(|_, (until, _)| *until > steady);
        if self.known.len() < KNOWN_MAX {
            let long = if answer.is_ok() {
                KNOWN_FOR
            } else {
                UNKNOWN_FOR
            };
            self.known.insert(name.clone(), (steady + long, answer));
        }
        self.waiting.remove(&name).unwrap_or_default()
    }
}

fn now() -> Duration {
    crate::clock::now().steady
}

fn addresses_of(name: &str) -> Answer {
    let found = (name, 0)
        .to_socket_addrs()
        .map_err(|cause| cause.to_string())?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|address| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Next, OrderInbox, mailbox};

    fn resolver() -> (Resolver, OrderInbox) {
        let (orders, inbox) = mailbox().unwrap();
        (Resolver::new(orders), inbox)
    }

    fn ask(seq: u64, name: &str) -> NameAsk {
        NameAsk {
            seq,
            name: name.to_owned(),
        }
    }

    fn wait_for(inbox: &OrderInbox, count: usize) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        let began = now();
        while answers.len() < count && now() - began < Duration::from_secs(20) {
            let mut orders = VecDeque::new();
            assert_eq!(inbox.take(&mut orders), Next::GoOn);
            for order in orders {
                let Order::NameAnswered { seq, answer } = order else {
                    panic!("{order:?}");
                };
                answers.push((seq, answer));
            }
            thread::sleep(Duration::from_millis(5));
        }
        answers
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_who_wait_and_then_known_for_a_moment() {
        let (resolver, inbox) = resolver();
        let loopback = |answer: &Answer| {
            let addresses = answer.as_ref().unwrap();
            addresses.iter().any(IpAddr::is_loopback)
        };

        let first = [1, 2].map(|seq| resolver.look_up(ask(seq, "localhost"), now()));
        let answers = wait_for(&inbox, 2 - first.iter().flatten().count());
        let again = resolver.look_up(ask(3, "localhost"), now());
        let later = resolver.look_up(ask(4, "localhost"), now() + KNOWN_FOR);

        assert!(
            answers.iter().all(|(_, answer)| loopback(answer)),
            "{answers:?}"
        );
        assert!(loopback(&again.unwrap()));
        assert_eq!(later, None);
        assert_eq!(wait_for(&inbox, 1).len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut table = Table::default();
        for number in 0..=KNOWN_MAX {
            table.learn(number.to_string(), Ok(Vec::new()), Duration::ZERO);
        }
        assert_eq!(table.known.len(), KNOWN_MAX);

        table.learn("late".to_owned(), Ok(Vec::new()), KNOWN_FOR);
        assert_eq!(table.known.len(), 1);
    }
}
