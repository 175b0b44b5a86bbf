//! A fleet in network namespaces, for the demo, the suite and the benchmark.
//!
//! Nothing here is simulated: every [`Node`] is a network namespace with its own addresses, joined
//! to the others by a bridge in a namespace of its own; the programs inside are the real ones; what
//! they did is read back from the kernel and from packets that `tcpdump` caught.
//!
//! | file | what it holds |
//! |---|---|
//! | [`lab`] | the namespaces of one test, made and swept away together |
//! | [`node`] | one machine: run programs in it, open sockets in it, read its firewall |
//! | [`Owner`] | ufw, firewalld and fail2ban as Debian packs them, in one node |
//! | [`process`] | one running program and its log |
//! | [`service`] | the listener behind the protected port, and how it looks from outside |
//! | [`capture`] | `tcpdump`, and the datagrams it caught |
//! | [`fwknop`] | the stock client and server |
//! | [`Postgres`] | a PostgreSQL server of Debian's |
//! | [`postern`] | our agent, controller and client |
//! | [`machine`] | what a machine must have; what it lacks is named, and the test fails |
//! | [`wait`] | conditions with a deadline; the only place that reads the clock |
//!
//! Everything needs root and more, and says what is missing instead of skipping.

pub mod capture;
mod check;
pub mod fwknop;
pub mod lab;
pub mod machine;
pub mod node;
mod owner;
pub mod postern;
mod postgres;
pub mod process;
pub mod service;
pub mod shell;
pub mod wait;

pub use check::check;
pub use lab::{Lab, in_lab};
pub use node::Node;
pub use owner::Owner;
pub use postgres::Postgres;
pub use process::Process;
pub use shell::Ran;

/// What everything here returns: a test has nothing to do with an error but to print it.
pub type Result<T> = anyhow::Result<T>;

/// The port SPA packets go to when nobody says otherwise.
pub const SPA_PORT: u16 = 62201;
