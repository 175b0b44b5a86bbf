//! Any target: `POSTERN_FUZZ_TARGET` names it.
#![no_main]

use std::sync::LazyLock;

use fuzz_targets::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("POSTERN_FUZZ_TARGET").unwrap_or_default();
    Target::named(&name).unwrap_or_else(|| {
        let names = TARGETS.map(|target| target.name).join(", ");
        panic!("POSTERN_FUZZ_TARGET is `{name}` and not one of {names}")
    })
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.check)(bytes);
});
