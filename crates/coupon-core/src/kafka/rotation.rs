//! Which partition an event goes to.

use std::time::{Duration, Instant};

use rdkafka::producer::Partitioner;

/// Sends all records of a few milliseconds to one partition, and those that follow to the next one, whatever their keys.
///
/// The client of C puts one partition into a request, and a broker works on one request of a connection after the other. By key,
/// records that come together go to as many partitions, in as many requests, and wait for each other there.
pub(super) struct Rotation {
    begun: Instant,
}

/// How long one partition is chosen: some times `linger.ms`, so that few batches are divided, and so short that all partitions have
/// their share of every second.
const ROTATION_MS: u128 = 5;

impl Rotation {
    /// Begins now with the first partition.
    pub(super) fn new() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Partitioner for Rotation {
    fn partition(&self, _topic: &str, _key: Option<&[u8]>, partitions: i32, is_available: impl Fn(i32) -> bool) -> i32 {
        turn(self.begun.elapsed(), partitions, is_available)
    }
}

/// The partition whose turn it is after this time. One without a leader is passed over; if none has one, the records wait.
fn turn(after: Duration, partitions: i32, is_available: impl Fn(i32) -> bool) -> i32 {
    let turns = after.as_millis() / ROTATION_MS % u128::from(partitions.unsigned_abs().max(1));
    let first = i32::try_from(turns).unwrap_or(0);
    let mut from_there = (first..partitions).chain(0..first);
    from_there.find(|partition| is_available(*partition)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_turn_and_one_without_a_leader_is_passed_over() {
        let at = |ms| Duration::from_millis(ms);
        let turns: Vec<i32> = (0..10).map(|turns| turn(at(5 * turns), 8, |_| true)).collect();
        assert_eq!(turns, [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
        assert_eq!((turn(at(5), 8, |_| true), turn(at(9), 8, |_| true)), (1, 1), "a turn has 5 ms");
        assert_eq!((turn(at(35), 8, |one| one != 7), turn(at(5), 8, |one| one > 2)), (0, 3));
        assert_eq!(turn(at(15), 8, |_| false), 3, "where nothing has a leader it waits");
    }
}
