//! The records that are under way, by partition and assignment. Holds no I/O.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{ConsumerSettings, Watermark};

/// A record under way: where it lies, and in which assignment of its partition it was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) partition: i32,
    pub(super) generation: u64,
    pub(super) offset: i64,
}

/// All partitions of this consumer, with a `T` for each record that is not done.
pub(super) struct Lanes<T> {
    lanes: BTreeMap<i32, Lane<T>>,
    /// Records of a log that was cut or made anew while they were under way: nobody delivers them again, so they are worked
    /// on to their end, and their offsets mean nothing any more.
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
const HOLD: Duration = Duration::from_millis(100);

/// Most bytes of all outstanding records together before every partition pauses. A thousand events have 0.3 MB; this
/// is for those who write what is none.
const WINDOW_BYTES: usize = 64 * 1024 * 1024;

struct Lane<T> {
    generation: u64,
    watermark: Watermark,
    entries: HashMap<i64, (usize, T)>,
    paused: bool,
    /// The client has not been told yet, and may remember anything of an earlier assignment.
    is_new: bool,
}

/// A record that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
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

impl<T> Lanes<T> {
    pub(super) fn new(windows: ConsumerSettings) -> Self {
        Self {
            lanes: BTreeMap::new(),
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
            let lane = Lane {
                generation: self.generations,
                watermark: Watermark::default(),
                entries: HashMap::new(),
                paused: true,
                is_new: true,
            };
            self.lanes.insert(*partition, lane);
        }
    }

    /// Forgets the partitions; whatever is still under way for them completes into nothing.
    pub(super) fn revoke(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(lane) = self.lanes.remove(partition) {
                self.outstanding -= lane.entries.len();
                self.bytes -= lane.entries.values().map(|(bytes, _)| bytes).sum::<usize>();
            }
        }
    }

    /// Takes a delivered record in; `None` when its partition is another consumer's.
    ///
    /// Kafka delivers upwards. An offset that is not above the highest is one of another log under the same name, or of one
    /// that lost its end: passing it over as a repeat would pass over a record that nobody has seen.
    pub(super) fn deliver(&mut self, partition: i32, offset: i64, bytes: usize, entry: T) -> Option<Delivered> {
        let lane = self.lanes.get_mut(&partition)?;
        let mut rewound_from = None;
        if !lane.watermark.deliver(offset) {
            rewound_from = lane.watermark.highest_delivered();
            let generation = lane.generation;
            let key = |offset| Key { partition, generation, offset };
            self.left_over.extend(lane.entries.drain().map(|(offset, entry)| (key(offset), entry)));
            self.generations += 1;
            lane.generation = self.generations;
            lane.watermark = Watermark::default();
            lane.watermark.deliver(offset);
        }
        lane.entries.insert(offset, (bytes, entry));
        self.outstanding += 1;
        self.bytes += bytes;
        Some(Delivered { key: Key { partition, generation: lane.generation, offset }, rewound_from })
    }

    /// The record, unless its assignment has ended or it is done.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let lane = self.lanes.get_mut(&key.partition).filter(|lane| lane.generation == key.generation);
        let entry = match lane {
            Some(lane) => lane.entries.get_mut(&key.offset),
            None => self.left_over.get_mut(&key),
        };
        entry.map(|(_, entry)| entry)
    }

    /// Everything about the record is durable. Gives the offset to store when the watermark moved.
    pub(super) fn complete(&mut self, key: Key) -> Option<i64> {
        let lane = self.lanes.get_mut(&key.partition).filter(|lane| lane.generation == key.generation);
        let Some(lane) = lane else {
            let (bytes, _) = self.left_over.remove(&key)?;
            self.outstanding -= 1;
            self.bytes -= bytes;
            return None;
        };
        let (bytes, _) = lane.entries.remove(&key.offset)?;
        self.outstanding -= 1;
        self.bytes -= bytes;
        lane.watermark.complete(key.offset)
    }

    /// Which partitions to pause or resume so that full windows stop delivering and nothing else does. A partition
    /// resumes at half its window, all of them at four fifths of the whole, so that they do not flutter; and none pauses
    /// before a window has been full, or nearly, for [`HOLD`].
    pub(super) fn changes(&mut self, all_paused: bool, now: Instant) -> Changes {
        let mut changes = Changes::default();
        let (total, window) = (self.windows.window_total, self.windows.window_per_partition);
        let fullest = self.open().map(|lane| lane.entries.len()).max();
        let is_full =
            fullest.is_some_and(|fullest| fullest >= window || self.outstanding >= total || self.bytes >= WINDOW_BYTES);
        let has_room = fullest.is_none_or(|fullest| {
            fullest <= window - window / 10 && self.outstanding <= total - total / 10 && self.bytes < WINDOW_BYTES
        });
        if is_full {
            self.full_since.get_or_insert(now);
        } else if has_room {
            self.full_since = None;
        }
        self.held_until = self.full_since.map(|since| since + HOLD).filter(|until| is_full && now < *until);
        // All pause for what all share, and resume together; one that pauses for itself waits for itself alone.
        let all_were_paused = fullest.is_none();
        let (total_bound, byte_bound) =
            if all_were_paused { (total - total / 5, WINDOW_BYTES / 2) } else { (total, WINDOW_BYTES) };
        let all_full = self.outstanding >= total_bound || self.bytes >= byte_bound;
        for (partition, lane) in &mut self.lanes {
            let bound = if lane.paused { window.div_ceil(2) } else { window };
            let is_full = all_full || lane.entries.len() >= bound;
            let pause = all_paused || is_full && (lane.paused || self.held_until.is_none());
            let is_new = std::mem::take(&mut lane.is_new);
            if pause != lane.paused || is_new {
                lane.paused = pause;
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
    fn open(&self) -> impl Iterator<Item = &Lane<T>> {
        self.lanes.values().filter(|lane| !lane.paused)
    }

    /// How many records may be taken in at once, whatever partitions they are of.
    pub(super) fn room(&self) -> usize {
        let fullest = self.open().map(|lane| lane.entries.len()).max().unwrap_or(0);
        let of_partition = self.windows.window_per_partition.saturating_sub(fullest);
        of_partition.min(self.windows.window_total.saturating_sub(self.outstanding)).max(1)
    }

    /// Records delivered and not done.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// What is kept of each of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &T> {
        let entries = self.lanes.values().flat_map(|lane| lane.entries.values());
        entries.chain(self.left_over.values()).map(|(_, entry)| entry)
    }

    /// The partitions, each with whether this consumer is at work on records of it, or has paused it.
    pub(super) fn assigned(&self) -> BTreeMap<i32, bool> {
        self.lanes.iter().map(|(partition, lane)| (*partition, lane.paused || !lane.entries.is_empty())).collect()
    }

    /// Partitions assigned.
    pub(super) fn partitions(&self) -> usize {
        self.lanes.len()
    }

    /// Partitions that deliver nothing now, for whatever reason.
    pub(super) fn paused(&self) -> usize {
        self.lanes.values().filter(|lane| lane.paused).count()
    }

    /// How full the fullest window is: that of a partition, or the one of all. 1 pauses.
    #[expect(clippy::cast_precision_loss, reason = "numbers of records are far below 2^53")]
    pub(super) fn fill(&self) -> f64 {
        let fullest = self.lanes.values().map(|lane| lane.entries.len()).max().unwrap_or(0);
        let share = |records: usize, window: usize| records as f64 / window as f64;
        share(fullest, self.windows.window_per_partition)
            .max(share(self.outstanding, self.windows.window_total))
            .max(share(self.bytes, WINDOW_BYTES))
    }

    /// Offsets between what was delivered and what may be stored, of the partition where they are most.
    #[expect(clippy::cast_precision_loss, reason = "offsets are far below 2^53")]
    pub(super) fn watermark_lag(&self) -> f64 {
        self.lanes.values().map(|lane| lane.watermark.lag()).max().unwrap_or(0) as f64
    }
}

#[cfg(test)]
mod tests;
