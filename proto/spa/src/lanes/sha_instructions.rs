//! SHA-256 of four keys at once by a processor's instructions for it: each key a stream of its own.
//!
//! Two rounds of one stream wait for the two before, four processor cycles long; meanwhile the unit
//! takes those of the others. With six streams it is no faster.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
};
use std::array;

use super::{LANES, OUTER_LEN_BITS, ROUND_CONSTANTS, Schedule, States};

/// How many keys are hashed at once: more keep the unit no busier.
const STREAMS: usize = 4;

/// The state of one stream, in the order in which the instructions want its words: `abef`, `cdgh`
/// (Intel's reference of `SHA256RNDS2`).
#[derive(Clone, Copy)]
struct Stream {
    abef: __m128i,
    cdgh: __m128i,
}

/// Four words of the message schedule of each stream.
type FourWords = [__m128i; STREAMS];

/// Computes the HMAC in each lane, from the hashed-in keys, and leaves it in `outer`.
#[target_feature(enable = "sha,sse4.1")]
pub(super) fn hash(schedules: &[Schedule], inner: &States, outer: &mut States) {
    for first in (0..LANES).step_by(STREAMS) {
        let lanes: [usize; STREAMS] = array::from_fn(|at| first + at);
        let hashes = hash_streams(
            schedules,
            lanes.map(|lane| inner.of(lane)),
            lanes.map(|lane| outer.of(lane)),
        );
        for (lane, hash) in lanes.into_iter().zip(hashes) {
            outer.put(lane, hash);
        }
    }
}

/// Computes the HMAC of each stream from the states of its inner and its outer hash.
#[target_feature(enable = "sha,sse4.1")]
fn hash_streams(
    schedules: &[Schedule],
    inner: [[u32; 8]; STREAMS],
    outer: [[u32; 8]; STREAMS],
) -> [[u32; 8]; STREAMS] {
    let mut streams = inner.map(|state| load(state));
    for schedule in schedules {
        streams = hash_block(streams, schedule);
    }
    let inner_hashes = streams.map(|stream| store(stream));
    hash_inner(outer.map(|state| load(state)), inner_hashes).map(|stream| store(stream))
}

/// Hashes a block that is the same in all streams.
#[target_feature(enable = "sha,sse4.1")]
fn hash_block(before: [Stream; STREAMS], schedule: &Schedule) -> [Stream; STREAMS] {
    let mut streams = before;
    for sixteen in schedule {
        let (fours, _) = sixteen.as_chunks::<4>();
        for &[a, b, c, d] in fours {
            let words = four(a, b, c, d);
            streams = four_rounds(streams, [words; STREAMS]);
        }
    }
    add(streams, before)
}

/// Hashes the one block of the outer hash, which differs: the inner hash, a bit that ends it, and
/// the length.
#[target_feature(enable = "sha,sse4.1")]
fn hash_inner(before: [Stream; STREAMS], inner: [[u32; 8]; STREAMS]) -> [Stream; STREAMS] {
    let first = inner.map(|[a, b, c, d, _, _, _, _]| four(a, b, c, d));
    let second = inner.map(|[_, _, _, _, e, f, g, h]| four(e, f, g, h));
    let third = [four(1 << 31, 0, 0, 0); STREAMS];
    let fourth = [four(0, 0, 0, OUTER_LEN_BITS); STREAMS];

    let mut words = [first, second, third, fourth];
    let mut streams = before;
    for (at, sixteen) in ROUND_CONSTANTS.iter().enumerate() {
        if at > 0 {
            words = next_sixteen(words);
        }
        let (fours, _) = sixteen.as_chunks::<4>();
        for (message, &[a, b, c, d]) in words.iter().zip(fours) {
            let constants = four(a, b, c, d);
            streams = four_rounds(streams, message.map(|word| _mm_add_epi32(word, constants)));
        }
    }
    add(streams, before)
}

/// The next sixteen words of the message schedule (FIPS 180-4 section 6.2.2, step 1).
#[target_feature(enable = "sha,sse4.1")]
fn next_sixteen([a, b, c, d]: [FourWords; 4]) -> [FourWords; 4] {
    let next_a = next_four([a, b, c, d]);
    let next_b = next_four([b, c, d, next_a]);
    let next_c = next_four([c, d, next_a, next_b]);
    let next_d = next_four([d, next_a, next_b, next_c]);
    [next_a, next_b, next_c, next_d]
}

#[target_feature(enable = "sha,sse4.1")]
fn next_four([a, b, c, d]: [FourWords; 4]) -> FourWords {
    let mut next = a;
    for (((next, b), c), d) in next.iter_mut().zip(b).zip(c).zip(d) {
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(*next, b), _mm_alignr_epi8::<4>(d, c));
        *next = _mm_sha256msg2_epu32(sum, d);
    }
    next
}

/// Four rounds of every stream, with these words of its schedule, constants added.
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds(mut streams: [Stream; STREAMS], words: FourWords) -> [Stream; STREAMS] {
    for (stream, words) in streams.iter_mut().zip(words) {
        stream.cdgh = _mm_sha256rnds2_epu32(stream.cdgh, stream.abef, words);
    }
    for (stream, words) in streams.iter_mut().zip(words) {
        let later = _mm_shuffle_epi32::<0x0e>(words);
        stream.abef = _mm_sha256rnds2_epu32(stream.abef, stream.cdgh, later);
    }
    streams
}

#[target_feature(enable = "sha,sse4.1")]
fn add(mut to: [Stream; STREAMS], other: [Stream; STREAMS]) -> [Stream; STREAMS] {
    for (to, other) in to.iter_mut().zip(other) {
        to.abef = _mm_add_epi32(to.abef, other.abef);
        to.cdgh = _mm_add_epi32(to.cdgh, other.cdgh);
    }
    to
}

#[target_feature(enable = "sha,sse4.1")]
fn load([a, b, c, d, e, f, g, h]: [u32; 8]) -> Stream {
    Stream {
        abef: four(f, e, b, a),
        cdgh: four(h, g, d, c),
    }
}

#[target_feature(enable = "sha,sse4.1")]
fn store(stream: Stream) -> [u32; 8] {
    let [f, e, b, a] = words_of(stream.abef);
    let [h, g, d, c] = words_of(stream.cdgh);
    [a, b, c, d, e, f, g, h]
}

/// Four words, the first in the lowest bits.
#[target_feature(enable = "sse4.1")]
fn four(a: u32, b: u32, c: u32, d: u32) -> __m128i {
    _mm_set_epi32(
        d.cast_signed(),
        c.cast_signed(),
        b.cast_signed(),
        a.cast_signed(),
    )
}

#[target_feature(enable = "sse4.1")]
fn words_of(four: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<0>(four),
        _mm_extract_epi32::<1>(four),
        _mm_extract_epi32::<2>(four),
        _mm_extract_epi32::<3>(four),
    ]
    .map(i32::cast_unsigned)
}
