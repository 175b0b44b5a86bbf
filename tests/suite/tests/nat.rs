//! Packets that are led on, with traffic: a gateway, a host behind it, a user and a stranger before
//! it. What real fwknopd does in the same place is what ours is held to.

#[path = "nat/beside_fwknopd.rs"]
mod beside_fwknopd;
#[path = "nat/life.rs"]
mod life;
#[path = "nat/limits.rs"]
mod limits;
#[path = "nat/world.rs"]
mod world;
