//! The processes of a running agent. Each holds the powers that its work takes, and no others.
//!
//! | domain | holds | does |
//! |---|---|---|
//! | supervisor | `CAP_NET_ADMIN` | hides, changes the packet filter, watches over the others |
//! | capture | `CAP_NET_RAW` | reads what strangers send; knows no key |
//! | gate | no capability | keys, journal, link; decides |
//! | command | what the service was left | runs commands, only where commands are on |
//!
//! They are one program, started again by the supervisor, and they talk over sockets that nobody else
//! has. Nobody trusts what another says: every message has a type, a bound, and is checked.
//!
//! | file | what it holds |
//! |---|---|
//! | `supervisor` | starts the others and watches over them |
//! | `ended` | how one of them ended |
//! | `child` | what the others do first |
//! | `spawn` | starting one, and being one |
//! | `channel` | messages between two of them |
//! | `confine` | giving up powers for good |
//! | `pulse` | whether each still does its work |
//! | `parts` | what the gate needs of the others: here, or in their own processes |
//! | `seen` | what each can do, as the kernel says it |
//! | `gate` | what the gate keeps, and how it is started |
//! | [`capture`] | the sources of packets |
//! | [`command`] | what runs commands |
//! | [`firewall`] | the packet filter, as the gate has it |

pub mod capture;
pub mod channel;
pub mod child;
pub mod command;
pub mod confine;
pub mod ended;
pub mod firewall;
pub mod gate;
pub mod log_to;
pub mod parts;
pub mod pulse;
pub mod seen;
pub mod spawn;
pub mod supervisor;
