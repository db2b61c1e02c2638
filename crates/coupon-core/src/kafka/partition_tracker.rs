//! The outstanding records, by partition and assignment generation. Holds no I/O.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{ConsumerSettings, Watermark};

/// An outstanding record: its partition and offset, and the assignment generation in which it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) partition: i32,
    pub(super) generation: u64,
    pub(super) offset: i64,
}

/// All partitions of this consumer, with a `T` for each record that is not done.
pub(super) struct PartitionTracker<T> {
    partitions: BTreeMap<i32, TrackedPartition<T>>,
    /// Records of a log that was cut or made anew while they were outstanding: nobody delivers them again, so they are worked
    /// on to their end, and their offsets are not stored.
    left_over: HashMap<Key, (usize, T)>,
    generations: u64,
    outstanding: usize,
    /// Bytes of the outstanding records.
    bytes: usize,
    windows: ConsumerSettings,
    /// Since when a window has been full, without having real room in between.
    full_since: Option<Instant>,
    held_until: Option<Instant>,
}

/// How long a full window only keeps the consumer from taking records in, before it pauses its partition. Most windows
/// are full because a batch is being written, which takes a few ms; and the client throws away what it has fetched of
/// a partition that pauses.
const FULL_WINDOW_GRACE: Duration = Duration::from_millis(100);

/// Most bytes of all outstanding records together before every partition pauses. A thousand events have 0.3 MB; this bounds
/// records that are no events.
const MAX_OUTSTANDING_BYTES: usize = 64 * 1024 * 1024;

struct TrackedPartition<T> {
    generation: u64,
    watermark: Watermark,
    entries: HashMap<i64, (usize, T)>,
    paused: bool,
    /// The client was not paused or resumed yet, and may remember the state of an earlier assignment.
    is_new: bool,
}

/// A record that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliveredRecord {
    pub(super) key: Key,
    /// The highest offset before, when this one is not above it: the log was cut or made anew, and a new generation of
    /// the partition has begun with this record.
    pub(super) rewound_from: Option<i64>,
}

/// Partitions whose consumption is to be changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) pause: Vec<i32>,
    pub(super) resume: Vec<i32>,
}

impl<T> PartitionTracker<T> {
    pub(super) fn new(windows: ConsumerSettings) -> Self {
        Self {
            partitions: BTreeMap::new(),
            left_over: HashMap::new(),
            generations: 0,
            outstanding: 0,
            bytes: 0,
            windows,
            full_since: None,
            held_until: None,
        }
    }

    /// Begins a new generation of each partition. The client keeps a pause beyond the assignment it was made in, so
    /// what is assigned counts as paused until it has been resumed.
    pub(super) fn assign(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.revoke(&[*partition]);
            self.generations += 1;
            let tracked = TrackedPartition {
                generation: self.generations,
                watermark: Watermark::default(),
                entries: HashMap::new(),
                paused: true,
                is_new: true,
            };
            self.partitions.insert(*partition, tracked);
        }
    }

    /// Drops the partitions; completions of their records that come later have no effect.
    pub(super) fn revoke(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(tracked) = self.partitions.remove(partition) {
                self.outstanding -= tracked.entries.len();
                self.bytes -= tracked.entries.values().map(|(bytes, _)| bytes).sum::<usize>();
            }
        }
    }

    /// Takes a delivered record in; `None` when its partition is another consumer's.
    ///
    /// Kafka delivers upwards. An offset that is not above the highest is one of another log under the same name, or of one
    /// that lost its end: passing it over as a repeat would lose a record.
    pub(super) fn deliver(&mut self, partition: i32, offset: i64, bytes: usize, entry: T) -> Option<DeliveredRecord> {
        let tracked = self.partitions.get_mut(&partition)?;
        let mut rewound_from = None;
        if !tracked.watermark.deliver(offset) {
            rewound_from = tracked.watermark.highest_delivered();
            let generation = tracked.generation;
            let key = |offset| Key { partition, generation, offset };
            self.left_over.extend(tracked.entries.drain().map(|(offset, entry)| (key(offset), entry)));
            self.generations += 1;
            tracked.generation = self.generations;
            tracked.watermark = Watermark::default();
            tracked.watermark.deliver(offset);
        }
        tracked.entries.insert(offset, (bytes, entry));
        self.outstanding += 1;
        self.bytes += bytes;
        Some(DeliveredRecord { key: Key { partition, generation: tracked.generation, offset }, rewound_from })
    }

    /// The record, unless its assignment has ended or it is done.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let tracked = self.partitions.get_mut(&key.partition).filter(|tracked| tracked.generation == key.generation);
        let entry = match tracked {
            Some(tracked) => tracked.entries.get_mut(&key.offset),
            None => self.left_over.get_mut(&key),
        };
        entry.map(|(_, entry)| entry)
    }

    /// Everything about the record is durable. Gives the offset to store when the watermark moved.
    pub(super) fn complete(&mut self, key: Key) -> Option<i64> {
        let tracked = self.partitions.get_mut(&key.partition).filter(|tracked| tracked.generation == key.generation);
        let Some(tracked) = tracked else {
            let (bytes, _) = self.left_over.remove(&key)?;
            self.outstanding -= 1;
            self.bytes -= bytes;
            return None;
        };
        let (bytes, _) = tracked.entries.remove(&key.offset)?;
        self.outstanding -= 1;
        self.bytes -= bytes;
        tracked.watermark.complete(key.offset)
    }

    /// Which partitions to pause or resume so that full windows stop delivering and nothing else does. A partition
    /// resumes at half its window, all of them at four fifths of the whole, so that they do not flutter; and none pauses
    /// before a window has been full, or nearly, for [`FULL_WINDOW_GRACE`].
    pub(super) fn changes(&mut self, all_paused: bool, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let (total, window) = (self.windows.window_total, self.windows.window_per_partition);
        let fullest = self.open().map(|tracked| tracked.entries.len()).max();
        let is_full = fullest.is_some_and(|fullest| {
            fullest >= window || self.outstanding >= total || self.bytes >= MAX_OUTSTANDING_BYTES
        });
        let has_room = fullest.is_none_or(|fullest| {
            fullest <= window - window / 10
                && self.outstanding <= total - total / 10
                && self.bytes < MAX_OUTSTANDING_BYTES
        });
        if is_full {
            self.full_since.get_or_insert(now);
        } else if has_room {
            self.full_since = None;
        }
        self.held_until =
            self.full_since.map(|since| since + FULL_WINDOW_GRACE).filter(|until| is_full && now < *until);
        // All pause for what all share, and resume together; one that pauses for itself waits for itself alone.
        let all_were_paused = fullest.is_none();
        let (total_bound, byte_bound) = if all_were_paused {
            (total - total / 5, MAX_OUTSTANDING_BYTES / 2)
        } else {
            (total, MAX_OUTSTANDING_BYTES)
        };
        let all_full = self.outstanding >= total_bound || self.bytes >= byte_bound;
        for (partition, tracked) in &mut self.partitions {
            let bound = if tracked.paused { window.div_ceil(2) } else { window };
            let is_full = all_full || tracked.entries.len() >= bound;
            let pause = all_paused || is_full && (tracked.paused || self.held_until.is_none());
            let is_new = std::mem::take(&mut tracked.is_new);
            if pause != tracked.paused || is_new {
                tracked.paused = pause;
                if pause { &mut changes.pause } else { &mut changes.resume }.push(*partition);
            }
        }
        changes
    }

    /// Until when nothing is to be taken in, because a window is full that may have room in a moment.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// The partitions that deliver.
    fn open(&self) -> impl Iterator<Item = &TrackedPartition<T>> {
        self.partitions.values().filter(|tracked| !tracked.paused)
    }

    /// How many records may be taken in at once, whatever partitions they are of.
    pub(super) fn room(&self) -> usize {
        let fullest = self.open().map(|tracked| tracked.entries.len()).max().unwrap_or(0);
        let of_partition = self.windows.window_per_partition.saturating_sub(fullest);
        of_partition.min(self.windows.window_total.saturating_sub(self.outstanding)).max(1)
    }

    /// Number of records delivered and not done.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The entry of each outstanding record.
    pub(super) fn entries(&self) -> impl Iterator<Item = &T> {
        let entries = self.partitions.values().flat_map(|tracked| tracked.entries.values());
        entries.chain(self.left_over.values()).map(|(_, entry)| entry)
    }

    /// The partitions, each with whether this consumer works on records of the partition, or has paused it.
    pub(super) fn assigned(&self) -> BTreeMap<i32, bool> {
        self.partitions
            .iter()
            .map(|(partition, tracked)| (*partition, tracked.paused || !tracked.entries.is_empty()))
            .collect()
    }

    /// Number of assigned partitions.
    pub(super) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Number of paused partitions.
    pub(super) fn paused(&self) -> usize {
        self.partitions.values().filter(|tracked| tracked.paused).count()
    }

    /// How full the fullest window is: that of a partition, or the one of all. 1 pauses.
    #[expect(clippy::cast_precision_loss, reason = "numbers of records are far below 2^53")]
    pub(super) fn fill(&self) -> f64 {
        let fullest = self.partitions.values().map(|tracked| tracked.entries.len()).max().unwrap_or(0);
        let share = |records: usize, window: usize| records as f64 / window as f64;
        share(fullest, self.windows.window_per_partition)
            .max(share(self.outstanding, self.windows.window_total))
            .max(share(self.bytes, MAX_OUTSTANDING_BYTES))
    }

    /// Offsets between what was delivered and what may be stored, of the partition where they are most.
    #[expect(clippy::cast_precision_loss, reason = "offsets are far below 2^53")]
    pub(super) fn watermark_lag(&self) -> f64 {
        self.partitions.values().map(|tracked| tracked.watermark.lag()).max().unwrap_or(0) as f64
    }
}

#[cfg(test)]
mod tests;
