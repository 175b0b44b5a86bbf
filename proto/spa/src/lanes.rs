//! HMAC-SHA256 of one text under sixteen keys at once: each key in a lane of wide registers.
//!
//! Keys that are hashed in differ in the state of the hash, not in the message. So the message
//! schedule is made once for all keys, and for each key only the rounds run (FIPS 180-4 section
//! 6.2.2). The outer hash (RFC 2104 section 2) is over one block, of which eight words differ.
//!
//! Where a processor has instructions for SHA-256, the lanes are hashed by these, four at a time
//! (`sha_instructions`). Else the compiler makes vector instructions: of loops over the lanes that have
//! no branch, and whose step is a whole compression without a loop of its own. `cargo bench -p bench
//! --bench inner -- try_keys` tells if it ever stops.

#[cfg(target_arch = "x86_64")]
mod sha_instructions;
#[cfg(test)]
mod tests;

use multiversion::multiversion;
use multiversion::target::{match_target, target_cfg_f};
use zeroize::Zeroize as _;

use crate::hmac::{BLOCKS_MAX, PaddedText, Sha256State};

/// How many keys are tried at once: the words of 32 bits in a register of AVX-512.
pub const LANES: usize = 16;

/// All lanes together cost what six keys cost one by one; two more pay for the schedules. Measured
/// with instructions for SHA-256, and with AVX-512 against them one by one.
const KEYS_WORTH_LANES: usize = LANES / 2;

/// The constants of the rounds, as FIPS 180-4 section 4.2.2 writes them.
const ROUND_CONSTANTS: Schedule = [
    [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174,
    ],
    [
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc,
        0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
        0x06ca6351, 0x14292967,
    ],
    [
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
        0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624,
        0xf40e3585, 0x106aa070,
    ],
    [
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb,
        0xbef9a3f7, 0xc67178f2,
    ],
];
/// What the outer hash is over: one block of key and the inner hash, in bits.
const OUTER_LEN_BITS: u32 = 8 * (64 + 32);

/// A word for each round over one block: the message schedule, plus the constants of the rounds.
type Schedule = [[u32; 16]; 4];

/// Eight words for each lane. The lanes of a word stand side by side, as registers hold them.
struct States([[u32; LANES]; 8]);

/// A text and its HMAC, prepared for many keys; and a place for keys.
pub(crate) struct LanesTrial {
    /// One for each block of the text, which are `used`.
    schedules: [Schedule; BLOCKS_MAX],
    used: usize,
    mac: [u32; 8],
    /// Made new for each batch of keys; wiped at the end.
    inner: States,
    outer: States,
}

/// Reports whether so many keys are tried faster at once than one by one on this processor.
///
/// Each of these is: the instructions for SHA-256, whose unit is idle two cycles of three while one key
/// is hashed, and the registers of AVX-512 and AVX2.
pub(crate) fn are_worth_it(keys: usize) -> bool {
    #[multiversion(targets("x86_64+sha+sse4.1", "x86_64+avx512f", "x86_64+avx2"))]
    fn on_this_processor() -> bool {
        target_cfg_f!(any(
            target_feature = "sha",
            target_feature = "avx512f",
            target_feature = "avx2",
        ))
    }
    keys >= KEYS_WORTH_LANES && on_this_processor()
}

// === impl LanesTrial ===

impl LanesTrial {
    pub(crate) fn new(text: &PaddedText, mac: &[u8; 32]) -> Self {
        let blocks = text.blocks();
        let mut schedules = [[[0; 16]; 4]; BLOCKS_MAX];
        for (to, block) in schedules.iter_mut().zip(blocks) {
            *to = schedule(words(block));
        }
        Self {
            schedules,
            used: blocks.len(),
            mac: words(mac),
            inner: States::new(),
            outer: States::new(),
        }
    }

    /// Reports of each key whether it made the HMAC.
    pub(crate) fn matching(
        &mut self,
        keys: &[Option<&Sha256State>; LANES],
    ) -> [Option<bool>; LANES] {
        for (lane, key) in keys.iter().enumerate() {
            // A lane without a key keeps what was there, and nobody looks at it.
            if let Some(key) = key {
                self.inner.put(lane, *key.inner());
                self.outer.put(lane, *key.outer());
            }
        }
        let schedules = self.schedules.get(..self.used).unwrap_or_default();
        hash(schedules, &mut self.inner, &mut self.outer);

        let mut differences = self.outer.differences(&self.mac).into_iter();
        keys.map(|key| {
            let difference = differences.next();
            key.map(|_| difference == Some(0))
        })
    }
}

impl Drop for LanesTrial {
    fn drop(&mut self) {
        self.inner.0.zeroize();
        self.outer.0.zeroize();
    }
}

// === impl States ===

impl States {
    fn new() -> Self {
        Self([[0; LANES]; 8])
    }

    #[inline(always)]
    fn of(&self, lane: usize) -> [u32; 8] {
        let Self([a, b, c, d, e, f, g, h]) = self;
        [a, b, c, d, e, f, g, h].map(|word| word.get(lane).copied().unwrap_or_default())
    }

    #[inline(always)]
    fn put(&mut self, lane: usize, state: [u32; 8]) {
        for (word, value) in self.0.iter_mut().zip(state) {
            if let Some(place) = word.get_mut(lane) {
                *place = value;
            }
        }
    }

    /// Returns for each lane the bits in which its words differ from `state`.
    fn differences(&self, state: &[u32; 8]) -> [u32; LANES] {
        let mut differences = [0; LANES];
        for (word, expected) in self.0.iter().zip(state) {
            for (difference, value) in differences.iter_mut().zip(word) {
                *difference |= value ^ expected;
            }
        }
        differences
    }
}

/// Computes the HMAC in each lane, from the hashed-in keys, and leaves it in `outer`.
///
/// Three arguments and not one struct: so the compiler knows that no state is part of a schedule,
/// without which it makes no vector instructions.
#[multiversion(targets("x86_64+sha+sse4.1", "x86_64+avx512f", "x86_64+avx2"))]
fn hash(schedules: &[Schedule], inner: &mut States, outer: &mut States) {
    match_target! {
        "x86_64+sha+sse4.1" => sha_instructions::hash(schedules, inner, outer),
        _ => hash_in_lanes(schedules, inner, outer),
    }
}

/// Hashes all keys at once, each in its lane.
#[inline(always)]
fn hash_in_lanes(schedules: &[Schedule], inner: &mut States, outer: &mut States) {
    for schedule in schedules {
        hash_block(inner, schedule);
    }
    hash_inner(inner, outer);
}

/// Hashes a block that is the same in all lanes.
#[inline(always)]
fn hash_block(states: &mut States, schedule: &Schedule) {
    for lane in 0..LANES {
        let state = states.of(lane);
        states.put(lane, compress(state, schedule));
    }
}

/// Hashes the one block of the outer hash: the inner hash, a bit that ends it, and the length.
#[inline(always)]
fn hash_inner(inner: &States, outer: &mut States) {
    for lane in 0..LANES {
        let [a, b, c, d, e, f, g, h] = inner.of(lane);
        let message = [
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            1 << 31,
            0,
            0,
            0,
            0,
            0,
            0,
            OUTER_LEN_BITS,
        ];
        let state = outer.of(lane);
        outer.put(lane, compress(state, &schedule(message)));
    }
}

/// Computes a new state of the hash (FIPS 180-4 section 6.2.2, steps 2 to 4).
#[inline(always)]
fn compress(state: [u32; 8], schedule: &Schedule) -> [u32; 8] {
    let [first, second, third, fourth] = schedule;
    let worked = sixteen_rounds(state, first);
    let worked = sixteen_rounds(worked, second);
    let worked = sixteen_rounds(worked, third);
    let worked = sixteen_rounds(worked, fourth);
    add(state, worked)
}

#[inline(always)]
fn sixteen_rounds(mut state: [u32; 8], schedule: &[u32; 16]) -> [u32; 8] {
    macro_rules! rounds {
        ($($at:literal)*) => {$(
            state = round(state, schedule[$at]);
        )*};
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    state
}

#[inline(always)]
fn round([a, b, c, d, e, f, g, h]: [u32; 8], word: u32) -> [u32; 8] {
    let sum_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = (e & f) ^ (!e & g);
    let sum_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = (a & b) ^ (a & c) ^ (b & c);
    let first = h
        .wrapping_add(word)
        .wrapping_add(sum_1)
        .wrapping_add(choice);
    let second = sum_0.wrapping_add(majority);
    [
        first.wrapping_add(second),
        a,
        b,
        c,
        d.wrapping_add(first),
        e,
        f,
        g,
    ]
}

/// Prepares one block (FIPS 180-4 section 6.2.2, step 1).
#[inline(always)]
fn schedule(first: [u32; 16]) -> Schedule {
    let second = next_words(first);
    let third = next_words(second);
    let fourth = next_words(third);
    let [one, two, three, four] = ROUND_CONSTANTS;
    [
        add(first, one),
        add(second, two),
        add(third, three),
        add(fourth, four),
    ]
}

#[inline(always)]
fn next_words(mut words: [u32; 16]) -> [u32; 16] {
    macro_rules! next {
        ($($at:literal $after:literal $seventh:literal $second:literal,)*) => {$(
            words[$at] = words[$at]
                .wrapping_add(small_sum_0(words[$after]))
                .wrapping_add(words[$seventh])
                .wrapping_add(small_sum_1(words[$second]));
        )*};
    }
    next!(
        0 1 9 14, 1 2 10 15, 2 3 11 0, 3 4 12 1, 4 5 13 2, 5 6 14 3, 6 7 15 4, 7 8 0 5,
        8 9 1 6, 9 10 2 7, 10 11 3 8, 11 12 4 9, 12 13 5 10, 13 14 6 11, 14 15 7 12, 15 0 8 13,
    );
    words
}

#[inline(always)]
fn small_sum_0(word: u32) -> u32 {
    word.rotate_right(7) ^ word.rotate_right(18) ^ (word >> 3)
}

#[inline(always)]
fn small_sum_1(word: u32) -> u32 {
    word.rotate_right(17) ^ word.rotate_right(19) ^ (word >> 10)
}

#[inline(always)]
fn add<const N: usize>(mut to: [u32; N], other: [u32; N]) -> [u32; N] {
    for (to, other) in to.iter_mut().zip(other) {
        *to = to.wrapping_add(other);
    }
    to
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    let (groups, _) = bytes.as_chunks::<4>();
    for (word, group) in words.iter_mut().zip(groups) {
        *word = u32::from_be_bytes(*group);
    }
    words
}
