//! What a controller tells a host to enforce: whatever it is, it is in force whole or refused with
//! reasons, and a text that is in force is the one that its digest names.

use agent::policies::{PolicyVersion, Verdict, judge};
use engine::Status;
use fleet::wire::PolicySnapshot;
use gate::Now;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use spa::ExchangeSecret;

use crate::scene::NOW_SECS;

pub(crate) fn check(bytes: &[u8]) {
    let Some((&form, bytes)) = bytes.split_first() else {
        return;
    };
    let Ok(mut snapshot) = PolicySnapshot::decode(bytes) else {
        return;
    };
    let named = <[u8; 32]>::from(Sha256::digest(&snapshot.text)).to_vec();
    if form & 1 == 0 {
        snapshot.digest.clone_from(&named);
    }
    let is_named = snapshot.digest == named;
    let generation = snapshot.generation;
    let now = Now {
        wall_secs: NOW_SECS,
        wall_nanos: 0,
        steady: std::time::Duration::from_secs(1_000),
    };
    let exchange = ExchangeSecret::from_bytes([7; 32]);
    let exchange = (form & 2 == 0).then_some(&exchange);
    let status = Status {
        generation: u64::from(form >> 4),
        ..Status::default()
    };
    match judge(snapshot, &status, PolicyVersion::default(), exchange, now) {
        Verdict::Adopt(adopted) => {
            assert!(is_named, "another text than was named is in force");
            assert!(generation >= status.generation, "an older one is in force");
            assert_eq!(adopted.version.digest.as_slice(), named.as_slice());
        }
        Verdict::Reject(rejected) => {
            assert!(!rejected.reasons.is_empty(), "refused for nothing");
        }
        Verdict::Known | Verdict::RejectedBefore => panic!("nothing was in force"),
    }
}
