//! What waits to be done for each campaign, one batch of a campaign at a time: a batch is as large as the load makes it, and a
//! campaign whose server is slow keeps no other one waiting.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use coupon_core::{ids::CouponCode, runtime::panics};

/// Items by campaign. A campaign is busy from when a batch of it is taken until there is none left to take.
#[derive(Debug)]
pub struct Batches<T> {
    most: usize,
    /// The items of each campaign that is busy, or about to be; of a busy one there may be none.
    waiting: HashMap<CouponCode, Vec<T>>,
    /// The campaigns that are about to be busy.
    idle: Vec<CouponCode>,
}

impl<T> Batches<T> {
    /// Nothing waits; a batch has at most `most` items.
    pub fn new(most: usize) -> Self {
        Self { most, waiting: HashMap::new(), idle: Vec::new() }
    }

    /// Adds an item.
    pub fn add(&mut self, code: &CouponCode, item: T) {
        if let Some(waiting) = self.waiting.get_mut(code) {
            waiting.push(item);
        } else {
            self.idle.push(code.clone());
            self.waiting.insert(code.clone(), vec![item]);
        }
    }

    /// Takes the first batch of a campaign that was not busy.
    pub fn next_idle(&mut self) -> Option<(CouponCode, Vec<T>)> {
        let code = self.idle.pop()?;
        let batch = self.next_of(&code)?;
        Some((code, batch))
    }

    /// Takes the next batch of a campaign whose last one is done; `None`: there is none, and the campaign is not busy any more.
    pub fn next_of(&mut self, code: &CouponCode) -> Option<Vec<T>> {
        let waiting = self.waiting.get_mut(code)?;
        if waiting.is_empty() {
            self.waiting.remove(code);
            return None;
        }
        let rest = waiting.split_off(self.most.min(waiting.len()));
        Some(std::mem::replace(waiting, rest))
    }
}

/// Works on a batch, and then on those of its campaign that have come meanwhile, until there is none. A batch whose work panics is
/// dropped, and the next one goes on.
pub async fn work_off<T, F>(
    waiting: &Mutex<Batches<T>>,
    code: &CouponCode,
    mut batch: Vec<T>,
    work: impl Fn(Vec<T>) -> F,
) where
    F: Future<Output = ()>,
{
    loop {
        let _ = panics::caught(work(batch)).await;
        match waiting.lock().unwrap_or_else(PoisonError::into_inner).next_of(code) {
            Some(next) => batch = next,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> CouponCode {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_of_a_campaign_goes_at_once_and_those_that_come_meanwhile_go_together() {
        let mut batches = Batches::new(10);
        batches.add(&code("A"), 1);
        assert_eq!(batches.next_idle(), Some((code("A"), vec![1])));
        for item in 2..=4 {
            batches.add(&code("A"), item);
        }
        assert_eq!(batches.next_idle(), None, "one batch of a campaign at a time");
        assert_eq!(batches.next_of(&code("A")), Some(vec![2, 3, 4]));
        assert_eq!(batches.next_of(&code("A")), None);
        assert!(batches.waiting.is_empty(), "a campaign that is over is not kept");
        batches.add(&code("A"), 5);
        assert_eq!(batches.next_idle(), Some((code("A"), vec![5])));
    }

    #[test]
    fn a_campaign_whose_batch_is_not_done_keeps_no_other_one_waiting() {
        let mut batches = Batches::new(10);
        batches.add(&code("SLOW"), 1);
        assert_eq!(batches.next_idle(), Some((code("SLOW"), vec![1])));
        batches.add(&code("SLOW"), 2);
        batches.add(&code("QUICK"), 3);
        assert_eq!((batches.next_idle(), batches.next_idle()), (Some((code("QUICK"), vec![3])), None));
    }

    #[test]
    fn a_batch_has_no_more_items_than_allowed_and_the_oldest_first() {
        let mut batches = Batches::new(2);
        for item in 1..=5 {
            batches.add(&code("A"), item);
        }
        assert_eq!(batches.next_idle(), Some((code("A"), vec![1, 2])));
        let rest = [Some(vec![3, 4]), Some(vec![5]), None];
        assert_eq!([(); 3].map(|()| batches.next_of(&code("A"))), rest);
    }

    #[tokio::test]
    async fn a_batch_that_panics_keeps_those_behind_it_from_nothing() {
        let waiting = Mutex::new(Batches::new(10));
        waiting.lock().unwrap().add(&code("A"), 1);
        let (_, first) = waiting.lock().unwrap().next_idle().unwrap();
        let (done, code) = (&Mutex::new(Vec::new()), code("A"));
        let (waiting, code) = (&waiting, &code);
        let work = |batch| async move {
            if batch == [1] {
                waiting.lock().unwrap().add(code, 2);
                panic!("on purpose");
            }
            done.lock().unwrap().extend(batch);
        };
        work_off(waiting, code, first, work).await;
        assert_eq!(*done.lock().unwrap(), [2]);
        assert!(waiting.lock().unwrap().waiting.is_empty(), "the campaign is not busy any more");
    }
}
