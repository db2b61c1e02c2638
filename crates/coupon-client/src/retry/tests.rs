use std::collections::VecDeque;

use super::*;
use crate::{Meaning, error::problem};

/// A clock that stands still until somebody sleeps.
struct PausedTime(Mutex<Instant>);

impl Time for PausedTime {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, at: Instant) {
        let mut now = self.0.lock().unwrap();
        *now = at.max(*now);
    }
}

/// Calls with these answers, one after the other, the last one for ever; gives the outcome, the moments of the tries in ms, and
/// the moment of the end.
async fn call(rules: &Rules, answers: Vec<Result<(), Failure>>) -> (Result<Got<()>, Error>, Vec<u128>, u128) {
    let start = Instant::now();
    let time = PausedTime(Mutex::new(start));
    let pace = Mutex::new(Pace::new(start));
    let (tries, answers) = (Mutex::new(Vec::new()), Mutex::new(VecDeque::from(answers)));
    let ms = |now: Instant| now.duration_since(start).as_millis();
    let call = Call { rules, pace: &pace, time: &time, end: start + rules.deadline };
    let got = call
        .run(|_| {
            tries.lock().unwrap().push(ms(time.now()));
            let next = answers.lock().unwrap().pop_front();
            std::future::ready(next.unwrap_or_else(|| away(None)))
        })
        .await;
    let end = ms(time.now());
    (got, tries.into_inner().unwrap(), end)
}

/// 503, as while Redis is away.
fn away(retry_after: Option<u64>) -> Result<(), Failure> {
    let retry_after = retry_after.map(Duration::from_secs);
    Err(Failure::Problem(crate::Problem { retry_after, ..problem(503, "STOCK_UNAVAILABLE") }))
}

fn refused(status: u16, code: &str) -> Result<(), Failure> {
    Err(Failure::Problem(problem(status, code)))
}

#[tokio::test]
async fn what_passes_is_asked_again_and_the_outcome_was_unknown_meanwhile() {
    let rules = Rules::default();
    let (got, tries, _) = call(&rules, vec![away(None), refused(500, "INTERNAL"), refused(429, ""), Ok(())]).await;
    assert_eq!(tries.len(), 4);
    assert!(got.unwrap().was_unknown);
    let (got, tries, _) = call(&rules, vec![refused(429, "TOO_MANY_REQUESTS"), Ok(())]).await;
    assert_eq!((tries.len(), got.unwrap().was_unknown), (2, false), "a 429 was not carried out");
}

#[tokio::test]
async fn a_refusal_is_final_at_the_first_try() {
    for (status, code) in [(409, "SOLD_OUT"), (401, "UNAUTHENTICATED"), (422, "CODE_OF_TOMORROW"), (408, "")] {
        let (got, tries, end) = call(&Rules::default(), vec![refused(status, code), Ok(())]).await;
        assert!(matches!(&got, Err(Error::Request(problem)) if problem.status == status), "{got:?}");
        assert_eq!((tries, end), (vec![0], 0));
    }
}

#[tokio::test]
async fn the_time_that_the_server_names_is_waited_and_jitter_comes_on_top() {
    let rules = Rules::default();
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (got, tries, _) = call(&rules, vec![away(Some(7)), Ok(())]).await;
        assert!(got.is_ok());
        let first = rules.first_backoff.as_millis();
        assert!((7000..=7000 + first).contains(&tries[1]), "{tries:?}");
        waits.insert(tries[1]);
    }
    assert!(waits.len() > 10, "clients that were sent away together return together: {waits:?}");
}

#[tokio::test]
async fn a_call_ends_by_its_deadline_and_says_that_the_outcome_is_unknown() {
    let rules = Rules::default();
    let (got, tries, end) = call(&rules, Vec::new()).await;
    let Err(Error::Unknown { tries: told, source: Failure::Problem(last) }) = got else { panic!("{got:?}") };
    assert_eq!((told as usize, last.meaning()), (tries.len(), Meaning::Passing));
    assert!(end <= rules.deadline.as_millis(), "{end} ms");
    assert!((4..=40).contains(&tries.len()), "{tries:?}");
    let (got, tries, end) = call(&rules, vec![away(Some(3600))]).await;
    assert!(matches!(got, Err(Error::Unknown { tries: 1, .. })), "{got:?}");
    assert_eq!((tries.len(), end), (1, 0), "a wait beyond the deadline is not begun");
}
