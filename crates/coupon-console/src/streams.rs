//! A bound on the open event streams, so that no operator takes the connections of all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Most streams of one operator at once: a browser keeps six connections to the console, so these are two browsers.
const MAX_OF_ONE: usize = 12;
/// Most streams of all operators at once: half of the connections, so that pages and changes have the others.
const MAX_OF_ALL: usize = crate::LIMITS.max_connections / 2;

/// The open event streams, by operator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// The place of one open stream; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct StreamPlace {
    streams: Streams,
    operator: String,
}

impl Streams {
    /// Returns a place for a stream of this operator; `None`: the operator, or all together, have too many.
    pub(crate) fn open(&self, operator: &str) -> Option<StreamPlace> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = open.get(operator).copied().unwrap_or(0);
        if of_one >= MAX_OF_ONE || open.values().sum::<usize>() >= MAX_OF_ALL {
            return None;
        }
        open.insert(operator.to_owned(), of_one + 1);
        Some(StreamPlace { streams: self.clone(), operator: operator.to_owned() })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.operator) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.operator);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operator_has_twelve_streams_and_all_have_half_of_the_connections() {
        let streams = Streams::default();
        let of = |operator: &str| std::iter::from_fn(|| streams.open(operator)).collect::<Vec<_>>();
        let mut first = of("vera");
        assert_eq!(first.len(), 12);
        first.pop();
        assert_eq!(of("vera").len(), 1, "one that has ended makes place for another");
        let others: Vec<_> = (0..20).flat_map(|number| of(&format!("viewer-{number}"))).collect();
        assert_eq!(first.len() + others.len(), 128);
        drop((first, others));
        assert!(streams.0.lock().unwrap().is_empty(), "nobody who has none is remembered");
    }
}
