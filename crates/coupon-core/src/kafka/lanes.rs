//! The records that are under way, by partition and assignment. Holds no I/O.

use std::collections::{BTreeMap, HashMap};

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
    generations: u64,
    outstanding: usize,
    windows: ConsumerSettings,
}

struct Lane<T> {
    generation: u64,
    watermark: Watermark,
    entries: HashMap<i64, T>,
    paused: bool,
}

/// Partitions whose consumption is to be changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) pause: Vec<i32>,
    pub(super) resume: Vec<i32>,
}

impl<T> Lanes<T> {
    pub(super) fn new(windows: ConsumerSettings) -> Self {
        Self { lanes: BTreeMap::new(), generations: 0, outstanding: 0, windows }
    }

    /// Begins a new generation of each partition. Newly assigned partitions are not paused.
    pub(super) fn assign(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.revoke(&[*partition]);
            self.generations += 1;
            let lane = Lane {
                generation: self.generations,
                watermark: Watermark::default(),
                entries: HashMap::new(),
                paused: false,
            };
            self.lanes.insert(*partition, lane);
        }
    }

    /// Forgets the partitions; whatever is still under way for them completes into nothing.
    pub(super) fn revoke(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(lane) = self.lanes.remove(partition) {
                self.outstanding -= lane.entries.len();
            }
        }
    }

    /// Takes a delivered record in; `None` when it is not to be worked on: a repeat, or a partition of others.
    pub(super) fn deliver(&mut self, partition: i32, offset: i64, entry: T) -> Option<Key> {
        let lane = self.lanes.get_mut(&partition)?;
        if !lane.watermark.deliver(offset) {
            return None;
        }
        lane.entries.insert(offset, entry);
        self.outstanding += 1;
        Some(Key { partition, generation: lane.generation, offset })
    }

    /// The record, unless its assignment has ended or it is done.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.lanes
            .get_mut(&key.partition)
            .filter(|lane| lane.generation == key.generation)?
            .entries
            .get_mut(&key.offset)
    }

    /// Everything about the record is durable. Gives the offset to store when the watermark moved.
    pub(super) fn complete(&mut self, key: Key) -> Option<i64> {
        let lane = self.lanes.get_mut(&key.partition).filter(|lane| lane.generation == key.generation)?;
        lane.entries.remove(&key.offset)?;
        self.outstanding -= 1;
        lane.watermark.complete(key.offset)
    }

    /// Which partitions to pause or resume so that full windows stop delivering and nothing else does. A partition
    /// resumes at half its window, all at four fifths of the whole, so that they do not flutter.
    pub(super) fn changes(&mut self, all_paused: bool) -> Changes {
        let mut changes = Changes::default();
        let total = self.windows.window_total;
        for (partition, lane) in &mut self.lanes {
            let window = self.windows.window_per_partition;
            let (lane_bound, total_bound) =
                if lane.paused { (window.div_ceil(2), total - total / 5) } else { (window, total) };
            let pause = all_paused || lane.entries.len() >= lane_bound || self.outstanding >= total_bound;
            if pause != lane.paused {
                lane.paused = pause;
                if pause { &mut changes.pause } else { &mut changes.resume }.push(*partition);
            }
        }
        changes
    }

    /// Records delivered and not done.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Partitions assigned.
    pub(super) fn partitions(&self) -> usize {
        self.lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(window_per_partition: usize, window_total: usize) -> Lanes<()> {
        let mut lanes = Lanes::new(ConsumerSettings { window_per_partition, window_total });
        lanes.assign(&[0, 1]);
        lanes
    }

    #[test]
    fn a_completion_of_an_earlier_assignment_moves_nothing() {
        let mut lanes = lanes(10, 10);
        let stale = lanes.deliver(0, 7, ()).unwrap();
        lanes.revoke(&[0]);
        assert_eq!(lanes.outstanding(), 0);
        lanes.assign(&[0]);
        let fresh = lanes.deliver(0, 7, ()).unwrap();
        assert!(lanes.get_mut(stale).is_none());
        assert_eq!(lanes.complete(stale), None);
        assert_eq!(lanes.complete(fresh), Some(8));
    }

    #[test]
    fn a_full_window_pauses_its_partition_and_half_a_window_resumes_it() {
        let mut lanes = lanes(4, 100);
        let keys: Vec<Key> = (0..4).filter_map(|offset| lanes.deliver(0, offset, ())).collect();
        assert_eq!(lanes.changes(false), Changes { pause: vec![0], resume: vec![] });
        lanes.complete(keys[3]);
        lanes.complete(keys[2]);
        assert_eq!(lanes.changes(false), Changes::default(), "at half, not before");
        lanes.complete(keys[1]);
        assert_eq!(lanes.changes(false), Changes { pause: vec![], resume: vec![0] });
    }

    #[test]
    fn the_total_window_and_an_open_breaker_pause_every_partition() {
        let mut lanes = lanes(10, 5);
        let keys: Vec<Key> = (0..5).filter_map(|offset| lanes.deliver(0, offset, ())).collect();
        assert_eq!(lanes.changes(false).pause, [0, 1]);
        lanes.complete(keys[0]);
        lanes.complete(keys[1]);
        assert_eq!(lanes.changes(false).resume, [0, 1]);
        assert_eq!(lanes.changes(true).pause, [0, 1]);
        assert!(lanes.deliver(2, 0, ()).is_none(), "a partition of others is not worked on");
    }
}
