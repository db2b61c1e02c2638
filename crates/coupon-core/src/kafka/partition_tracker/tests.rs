use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Takes a record of one byte in.
fn deliver(tracker: &mut PartitionTracker<()>, partition: i32, offset: i64, (): ()) -> Option<Key> {
    deliver_bytes(tracker, partition, offset, 1)
}

fn deliver_bytes(tracker: &mut PartitionTracker<()>, partition: i32, offset: i64, bytes: usize) -> Option<Key> {
    tracker.deliver(partition, offset, bytes, ()).map(|delivered| delivered.key)
}

/// Looks twice, the second time when no window is held any more.
fn changes<T>(tracker: &mut PartitionTracker<T>, all_paused: bool) -> Changes {
    let now = Instant::now();
    let first = tracker.changes(all_paused, now);
    let Changes { pause, resume } = tracker.changes(all_paused, now + FULL_WINDOW_GRACE);
    Changes { pause: [first.pause, pause].concat(), resume: [first.resume, resume].concat() }
}

fn tracker(window_per_partition: usize, window_total: usize) -> PartitionTracker<()> {
    let mut tracker = PartitionTracker::new(ConsumerSettings { window_per_partition, window_total });
    tracker.assign(&[0, 1]);
    assert_eq!(changes(&mut tracker, false).resume, [0, 1], "whatever the client remembers of earlier pauses");
    tracker
}

#[test]
fn a_completion_of_an_earlier_assignment_moves_nothing() {
    let mut tracker = tracker(10, 10);
    let stale = deliver(&mut tracker, 0, 7, ()).unwrap();
    tracker.revoke(&[0]);
    assert_eq!(tracker.outstanding(), 0);
    tracker.assign(&[0]);
    let fresh = deliver(&mut tracker, 0, 7, ()).unwrap();
    assert!(tracker.get_mut(stale).is_none());
    assert_eq!(tracker.complete(stale), None);
    assert_eq!(tracker.complete(fresh), Some(8));
}

#[test]
fn an_offset_below_the_highest_begins_a_new_generation_and_nothing_is_passed_over() {
    let mut tracker = tracker(10, 10);
    let old: Vec<Key> = (3..6).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(tracker.complete(old[0]), Some(4));
    let first = tracker.deliver(0, 0, 1, ()).unwrap();
    assert_eq!(first.rewound_from, Some(5), "the topic was made anew");
    let second = tracker.deliver(0, 1, 1, ()).unwrap();
    assert_eq!(second.rewound_from, None);
    assert_eq!(tracker.complete(second.key), None, "the one before it is outstanding");
    assert_eq!(tracker.complete(first.key), Some(2));

    assert!(tracker.get_mut(old[1]).is_some(), "nobody delivers it again, so it is worked on to its end");
    assert_eq!((tracker.outstanding(), tracker.entries().count()), (2, 2));
    assert_eq!(old[1..].iter().map(|key| tracker.complete(*key)).collect::<Vec<_>>(), [None, None]);
    assert_eq!((tracker.outstanding(), tracker.entries().count()), (0, 0));
    let at_two = tracker.deliver(0, 2, 1, ()).unwrap();
    assert_eq!((at_two.rewound_from, tracker.complete(at_two.key)), (None, Some(3)));
}

#[test]
fn a_full_window_pauses_its_partition_and_half_a_window_resumes_it() {
    let mut tracker = tracker(4, 100);
    let keys: Vec<Key> = (0..4).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(changes(&mut tracker, false), Changes { pause: vec![0], resume: vec![] });
    tracker.complete(keys[3]);
    tracker.complete(keys[2]);
    assert_eq!(changes(&mut tracker, false), Changes::default(), "at half, not before");
    tracker.complete(keys[1]);
    assert_eq!(changes(&mut tracker, false), Changes { pause: vec![], resume: vec![0] });
}

#[test]
fn a_window_that_is_full_for_a_moment_only_holds_the_consumer_back() {
    let mut tracker = tracker(20, 100);
    let now = Instant::now();
    let keys: Vec<Key> = (0..20).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(
        (tracker.changes(false, now), tracker.held_until()),
        (Changes::default(), Some(now + FULL_WINDOW_GRACE))
    );
    for key in keys.iter().take(2) {
        tracker.complete(*key);
    }
    assert_eq!((tracker.changes(false, now + FULL_WINDOW_GRACE / 2), tracker.held_until()), (Changes::default(), None));
    (20..22).for_each(|offset| assert!(deliver(&mut tracker, 0, offset, ()).is_some()));
    let again = now + FULL_WINDOW_GRACE;
    assert_eq!(
        (tracker.changes(false, again), tracker.held_until()),
        (Changes::default(), Some(again + FULL_WINDOW_GRACE))
    );
    assert_eq!(tracker.changes(false, again + FULL_WINDOW_GRACE), Changes { pause: vec![0], resume: vec![] });
    assert_eq!(tracker.held_until(), None, "the other partition delivers");
}

#[test]
fn a_window_that_is_nearly_full_all_the_time_does_not_hold_the_others_back_again_and_again() {
    let mut tracker = tracker(20, 100);
    let now = Instant::now();
    let keys: Vec<Key> = (0..20).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(tracker.changes(false, now), Changes::default());
    // One of its records is done, and the next one takes its place.
    tracker.complete(keys[0]);
    assert_eq!((tracker.changes(false, now + FULL_WINDOW_GRACE / 2), tracker.held_until()), (Changes::default(), None));
    assert!(deliver(&mut tracker, 0, 20, ()).is_some());
    assert_eq!(tracker.changes(false, now + FULL_WINDOW_GRACE).pause, [0], "it has been so for long enough");
}

#[test]
fn a_partition_that_paused_for_itself_does_not_wait_for_what_all_share() {
    let mut tracker = tracker(10, 15);
    let first: Vec<Key> = (0..10).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(changes(&mut tracker, false).pause, [0]);
    for key in first.iter().take(6) {
        tracker.complete(*key);
    }
    (0..9).for_each(|offset| assert!(deliver(&mut tracker, 1, offset, ()).is_some()));
    // 13 of 15: more than four fifths, which is for those that have all paused, and less than all.
    assert_eq!(changes(&mut tracker, false).resume, [0]);
}

#[test]
fn a_new_assignment_is_told_to_the_client_also_when_it_begins_paused() {
    let mut tracker: PartitionTracker<()> =
        PartitionTracker::new(ConsumerSettings { window_per_partition: 4, window_total: 9 });
    tracker.assign(&[0]);
    assert_eq!(changes(&mut tracker, true).pause, [0], "the client may deliver of it, whatever it remembers");
    assert_eq!(changes(&mut tracker, false).resume, [0]);
    tracker.assign(&[0]);
    assert_eq!(changes(&mut tracker, false).resume, [0]);
}

#[test]
fn what_is_taken_in_at_once_fits_into_every_window() {
    let mut tracker = tracker(4, 6);
    assert_eq!(tracker.room(), 4);
    let delivered: Vec<Key> = (0..3).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(delivered.len(), 3);
    assert_eq!(tracker.room(), 1, "they may all be of the fuller partition");
    deliver(&mut tracker, 0, 3, ());
    changes(&mut tracker, false);
    assert_eq!(tracker.room(), 2, "a paused partition delivers none, and two are left of all");
}

#[test]
fn the_total_window_and_an_open_breaker_pause_every_partition() {
    let mut tracker = tracker(10, 5);
    let keys: Vec<Key> = (0..5).filter_map(|offset| deliver(&mut tracker, 0, offset, ())).collect();
    assert_eq!(changes(&mut tracker, false).pause, [0, 1]);
    tracker.complete(keys[0]);
    tracker.complete(keys[1]);
    assert_eq!(changes(&mut tracker, false).resume, [0, 1]);
    assert_eq!(changes(&mut tracker, true).pause, [0, 1]);
    assert!(deliver(&mut tracker, 2, 0, ()).is_none(), "a partition of others is not worked on");
}

#[test]
fn large_records_fill_a_window_of_bytes() {
    let mut tracker = tracker(1000, 1000);
    let mut keys: Vec<Key> =
        (0..3).filter_map(|offset| deliver_bytes(&mut tracker, 0, offset, MAX_OUTSTANDING_BYTES / 3)).collect();
    assert_eq!(changes(&mut tracker, false), Changes::default());
    keys.extend(deliver_bytes(&mut tracker, 1, 0, MAX_OUTSTANDING_BYTES));
    assert_eq!(changes(&mut tracker, false).pause, [0, 1]);
    for key in keys {
        tracker.complete(key);
    }
    assert_eq!(changes(&mut tracker, false).resume, [0, 1]);
    deliver_bytes(&mut tracker, 0, 3, MAX_OUTSTANDING_BYTES);
    tracker.revoke(&[0]);
    assert_eq!(tracker.fill().partial_cmp(&0.0), Some(std::cmp::Ordering::Equal), "what is revoked weighs nothing");
}

#[derive(Clone, Debug)]
enum Step {
    Assign(i32),
    Revoke(i32),
    Deliver(i32),
    /// Any record that was ever delivered, in any assignment of its partition, done ones included.
    Complete(proptest::sample::Index),
    Pause(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0..3i32).prop_map(Step::Assign),
        1 => (0..3i32).prop_map(Step::Revoke),
        8 => (0..3i32).prop_map(Step::Deliver),
        6 => any::<proptest::sample::Index>().prop_map(Step::Complete),
        1 => any::<bool>().prop_map(Step::Pause),
    ];
    proptest::collection::vec(step, 1..300)
}

/// What a partition should look like: a set says it more plainly than a watermark does.
#[derive(Default)]
struct Model {
    generation: usize,
    next: i64,
    outstanding: BTreeSet<i64>,
    stored: i64,
}

proptest! {
    /// Whatever comes in whatever order: a stale completion does nothing, what is stored never passes an outstanding
    /// record and never goes back within an assignment, and a window that is full has its partition paused.
    #[test]
    fn no_interleaving_stores_too_much_or_lets_a_window_overflow(steps in steps()) {
        let (window, total) = (5, 9);
        let mut tracker: PartitionTracker<()> = PartitionTracker::new(ConsumerSettings { window_per_partition: window, window_total: total });
        let mut model: BTreeMap<i32, Model> = BTreeMap::new();
        let mut generations = 0;
        // The committed offset of each partition, where the next owner goes on.
        let mut committed: BTreeMap<i32, i64> = BTreeMap::new();
        let mut delivered: Vec<(Key, usize)> = Vec::new();
        let mut paused: BTreeSet<i32> = BTreeSet::new();
        for step in steps {
            let mut all_paused = false;
            match step {
                Step::Assign(partition) => {
                    tracker.assign(&[partition]);
                    generations += 1;
                    let next = committed.get(&partition).copied().unwrap_or(0);
                    model.insert(partition, Model { generation: generations, next, stored: next, ..Model::default() });
                    paused.insert(partition);
                }
                Step::Revoke(partition) => {
                    tracker.revoke(&[partition]);
                    model.remove(&partition);
                    paused.remove(&partition);
                }
                Step::Deliver(partition) if !paused.contains(&partition) => {
                    let Some(of) = model.get_mut(&partition) else {
                        prop_assert_eq!(tracker.deliver(partition, 0, 1, ()), None);
                        continue;
                    };
                    let taken = tracker.deliver(partition, of.next, 1, ()).unwrap();
                    prop_assert_eq!(taken.rewound_from, None);
                    let key = taken.key;
                    of.outstanding.insert(of.next);
                    of.next += 1;
                    delivered.push((key, of.generation));
                }
                Step::Complete(index) if !delivered.is_empty() => {
                    let (key, generation) = *index.get(&delivered);
                    let stored = tracker.complete(key);
                    let Some(of) = model.get_mut(&key.partition).filter(|of| of.generation == generation) else {
                        prop_assert_eq!(stored, None, "its assignment has ended");
                        continue;
                    };
                    let was_outstanding = of.outstanding.remove(&key.offset);
                    let watermark = of.outstanding.first().copied().unwrap_or(of.next);
                    prop_assert_eq!(stored, (was_outstanding && watermark > of.stored).then_some(watermark));
                    of.stored = of.stored.max(stored.unwrap_or(0));
                    committed.insert(key.partition, of.stored);
                }
                Step::Deliver(_) | Step::Complete(_) => {}
                Step::Pause(all) => all_paused = all,
            }
            let changes = changes(&mut tracker, all_paused);
            paused.extend(changes.pause);
            for partition in changes.resume {
                paused.remove(&partition);
            }
            let outstanding: usize = model.values().map(|of| of.outstanding.len()).sum();
            prop_assert_eq!(tracker.outstanding(), outstanding);
            prop_assert_eq!(tracker.entries().count(), outstanding);
            prop_assert_eq!(tracker.paused(), paused.len());
            for (partition, of) in &model {
                let is_full = of.outstanding.len() >= window || outstanding >= total;
                prop_assert!(!(is_full || all_paused) || paused.contains(partition));
                prop_assert!(of.outstanding.len() <= window && outstanding <= total);
                let is_idle = of.outstanding.len() <= window / 2 && outstanding <= total / 2 && !all_paused;
                prop_assert!(!is_idle || !paused.contains(partition), "it is never resumed");
            }
        }
    }
}
