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
//! | `channel` | messages between two of them |
//! | `spawn` | starting one, and being one |
//! | `confine` | giving up powers for good |
//! | [`firewall`] | the packet filter, as the gate has it |

pub mod channel;
pub mod confine;
pub mod firewall;
pub mod spawn;
