//! What stands open and what is closed, whatever breaks: the whole agent, a client in another network
//! namespace, real packets and a real kernel. Frames are put on its wire by libpcap.
#![cfg(feature = "pcap")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "doors/addressed.rs"]
mod addressed;
#[path = "doors/interfaces.rs"]
mod interfaces;
#[path = "doors/nflog.rs"]
mod nflog;
#[path = "doors/notices.rs"]
mod notices;
#[path = "doors/protection.rs"]
mod protection;
#[path = "doors/transports.rs"]
mod transports;
#[path = "doors/wire.rs"]
mod wire;
#[path = "doors/world.rs"]
mod world;
