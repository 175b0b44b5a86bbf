//! The agent on hosts whose firewall has another owner: real rules of real programs, real knocks and
//! real traffic, with every back end.
//!
//! | file | what it holds |
//! |---|---|
//! | `world` | a kind of host, as the lines that its owner types |
//! | `place` | such a host with an agent, a user and a stranger |
//! | `traffic` | how it looks from outside, to the millisecond |
//! | `life` | what must hold in every world: one story, walked through once for each |
//! | `iptables`, `native`, `programs`, `containers` | the kinds of host |
//! | `bans` | the owner's block stays in force |
//! | `many` | two thousand holes at once |

mod bans;
mod containers;
mod iptables;
mod life;
mod many;
mod native;
mod place;
mod programs;
mod traffic;
mod world;
