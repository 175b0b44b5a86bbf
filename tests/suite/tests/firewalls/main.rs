//! The agent on hosts whose firewall has another owner: real rules of real programs, real knocks and
//! real traffic, with every back end.
//!
//! | file | what it holds |
//! |---|---|
//! | `world` | a kind of host, as the lines that its owner types |
//! | `place` | such a host with an agent, a user and a stranger |
//! | `traffic` | how it looks from outside, to the millisecond |
//! | `life` | what must hold in every world: one story, walked through once for each |
//! | `iptables`, `programs` | the kinds of host |

mod iptables;
mod life;
mod place;
mod programs;
mod traffic;
mod world;
