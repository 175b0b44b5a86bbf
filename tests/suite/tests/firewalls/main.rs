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
//! | `foretold` | what would be dropped is said, and cured |
//! | `flushed` | what others flush of ours is laid again |
//! | `bans` | the owner's block stays in force |
//! | `many` | two thousand holes at once |
//! | `blocked` | what still drops is named, and the cure works |
//! | `moved` | from one place to another |
//! | `boot` | in the order of the units |
//! | `manual` | the page is true |
//! | `saves` | what the owner saves can be restored without us |

mod bans;
mod blocked;
mod boot;
mod containers;
mod flushed;
mod foretold;
mod iptables;
mod life;
mod manual;
mod many;
mod moved;
mod native;
mod place;
mod programs;
mod saves;
mod traffic;
mod world;
