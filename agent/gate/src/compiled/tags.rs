//! The table tag → key, one for each minute around now.
//!
//! A table of a minute is made once, ahead of time and a few keys at a time, so that no packet waits
//! for it. It is found wanting only when the clock jumps, and is then made at once.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;
use spa::{BUCKET_SECS, Tag, bucket, tag};

use crate::compiled::{CompiledPolicy, KeyIndex};
use crate::settings::AGEING_DEFAULT;

/// How far from now tags are kept, in seconds, whatever the window: 280 kB for each minute and
/// 10,000 keys. Tagged packets from further off, which only a wider window lets in, are tried like
/// untagged ones.
pub(crate) const SPAN_SECS: u64 = AGEING_DEFAULT.as_secs();

/// The tags of one minute.
#[derive(Debug)]
pub(crate) struct TagTable {
    bucket: u64,
    tags: HashTable<(Tag, KeyIndex)>,
    /// Keys up to this one are in it.
    done: KeyIndex,
}

/// The tables that the gate looks into.
#[derive(Debug)]
pub(crate) struct Tags {
    /// In order of their minutes, without gaps.
    tables: VecDeque<Arc<TagTable>>,
    /// The minute that comes next into reach, in the making.
    next: Option<TagTable>,
}

// === impl TagTable ===

impl TagTable {
    fn empty(bucket: u64, compiled: &CompiledPolicy) -> Self {
        Self {
            bucket,
            tags: HashTable::with_capacity(compiled.key_count()),
            done: 0,
        }
    }

    /// Makes the whole table at once.
    fn whole(bucket: u64, compiled: &CompiledPolicy) -> Self {
        let mut table = Self::empty(bucket, compiled);
        table.extend(compiled, usize::MAX);
        table
    }

    /// Makes the tags of at most so many more keys.
    fn extend(&mut self, compiled: &CompiledPolicy, keys_max: usize) {
        for key in (self.done..key_count(compiled)).take(keys_max) {
            if let Some(tag_key) = compiled.tag_key(key) {
                let entry = (tag(tag_key, self.bucket), key);
                self.tags
                    .insert_unique(hash(entry.0), entry, |(tag, _)| hash(*tag));
            }
            self.done = key + 1;
        }
    }

    fn find(&self, tag: Tag) -> impl Iterator<Item = KeyIndex> + '_ {
        self.tags
            .iter_hash(hash(tag))
            .filter(move |(own, _)| *own == tag)
            .map(|&(_, key)| key)
    }
}

// === impl Tags ===

impl Tags {
    /// Starts with the tables that the policy was compiled with, if they are still current.
    pub(crate) fn new(compiled: &CompiledPolicy) -> Self {
        Self {
            tables: compiled.initial_tags().iter().cloned().collect(),
            next: None,
        }
    }

    /// Follows the clock, and makes at most `keys_max` tags ahead of time. Reports whether nothing
    /// is left to make ahead.
    pub(crate) fn precompute(
        &mut self,
        compiled: &CompiledPolicy,
        now_secs: u64,
        keys_max: usize,
    ) -> bool {
        let (first, last) = reach(now_secs);
        if self.tables.front().map(|table| table.bucket) != Some(first)
            || self.tables.back().map(|table| table.bucket) != Some(last)
        {
            self.follow(compiled, first, last);
        }
        let next = self
            .next
            .get_or_insert_with(|| TagTable::empty(last + 1, compiled));
        next.extend(compiled, keys_max);
        next.done >= key_count(compiled)
    }

    /// Returns the keys whose tag this is, in any minute within reach; hardly ever more than one.
    pub(crate) fn find(&self, tag: Tag) -> impl Iterator<Item = KeyIndex> + '_ {
        self.tables.iter().flat_map(move |table| table.find(tag))
    }

    /// Drops the minutes out of reach and makes those that are missing.
    fn follow(&mut self, compiled: &CompiledPolicy, first: u64, last: u64) {
        let mut kept = std::mem::take(&mut self.tables);
        kept.retain(|table| (first..=last).contains(&table.bucket));
        let mut next = self.next.take().filter(|next| next.bucket <= last);
        for bucket in first..=last {
            let known = kept.iter().find(|table| table.bucket == bucket);
            self.tables.push_back(match known {
                Some(table) => Arc::clone(table),
                None => Arc::new(match next.take_if(|next| next.bucket == bucket) {
                    Some(mut table) => {
                        table.extend(compiled, usize::MAX);
                        table
                    }
                    None => TagTable::whole(bucket, compiled),
                }),
            });
        }
    }
}

/// Makes the tables of all minutes within reach.
pub(crate) fn around(compiled: &CompiledPolicy, now_secs: u64) -> Vec<Arc<TagTable>> {
    let (first, last) = reach(now_secs);
    (first..=last)
        .map(|bucket| Arc::new(TagTable::whole(bucket, compiled)))
        .collect()
}

/// Returns the first and the last minute of which a message can be recent.
fn reach(now_secs: u64) -> (u64, u64) {
    // The last one has a successor also at the end of time.
    let end_secs = u64::MAX - 2 * BUCKET_SECS;
    let now_secs = now_secs.min(end_secs - SPAN_SECS);
    (
        bucket(now_secs.saturating_sub(SPAN_SECS)),
        bucket(now_secs + SPAN_SECS),
    )
}

fn key_count(compiled: &CompiledPolicy) -> KeyIndex {
    KeyIndex::try_from(compiled.key_count()).unwrap_or(KeyIndex::MAX)
}

/// What is in the tables are MACs, which no sender chooses, so that their bits need no hashing, only
/// spreading.
fn hash(tag: Tag) -> u64 {
    u64::from_le_bytes(tag.0)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
}
