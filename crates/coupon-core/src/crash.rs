//! Failpoints: places where a debug build ends itself if it is told to, one before and one after every effect on Redis, Kafka and
//! PostgreSQL. The crash sweep goes through all of them. A release build has none.
//!
//! `COUPON_CRASH_AT=reserve:after` aborts the process where the reservation has been made and not yet answered;
//! `reserve:after#3` lets it pass twice before. `COUPON_PANIC_AT` does the same with a panic, at each pass from then on.

/// The side of an effect on which a failpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// It has happened, and nothing has been done about it yet.
    After,
}

/// Passes a failpoint: goes on, unless this process was told to end here.
#[inline]
pub fn pass(effect: &'static str, moment: Moment) {
    #[cfg(debug_assertions)]
    armed::pass(effect, moment);
    #[cfg(not(debug_assertions))]
    let _ = (effect, moment);
}

/// Runs an effect between its two failpoints.
pub async fn around<T>(effect: &'static str, future: impl Future<Output = T>) -> T {
    pass(effect, Moment::Before);
    let done = future.await;
    pass(effect, Moment::After);
    done
}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        env,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::Moment;

    static ABORT: LazyLock<Option<Failpoint>> = LazyLock::new(|| Failpoint::read(&env::var("COUPON_CRASH_AT").ok()?));
    static PANIC: LazyLock<Option<Failpoint>> = LazyLock::new(|| Failpoint::read(&env::var("COUPON_PANIC_AT").ok()?));

    #[derive(Debug)]
    pub(super) struct Failpoint {
        effect: String,
        moment: Moment,
        /// Passes until the failpoint fires, the next one included; at 0 it fires at every pass.
        left: AtomicU64,
    }

    pub(super) fn pass(effect: &str, moment: Moment) {
        if ABORT.as_ref().is_some_and(|failpoint| failpoint.fires(effect, moment)) {
            eprintln!("crash point {effect}:{moment:?}: this process aborts");
            std::process::abort();
        }
        assert!(
            !PANIC.as_ref().is_some_and(|failpoint| failpoint.fires(effect, moment)),
            "crash point {effect}:{moment:?}"
        );
    }

    impl Failpoint {
        pub(super) fn read(text: &str) -> Option<Self> {
            let (point, nth) = text.split_once('#').map_or((text, Some(0)), |(point, nth)| (point, nth.parse().ok()));
            let (effect, moment) = point.rsplit_once(':')?;
            let moment = match moment {
                "before" => Moment::Before,
                "after" => Moment::After,
                _ => return None,
            };
            Some(Self { effect: effect.to_owned(), moment, left: AtomicU64::new(nth?) })
        }

        pub(super) fn fires(&self, effect: &str, moment: Moment) -> bool {
            if self.effect != effect || self.moment != moment {
                return false;
            }
            let count_down = |left: u64| left.checked_sub(1).filter(|_| left > 0);
            match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down) {
                Ok(before) => before == 1,
                Err(_) => true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, armed::Failpoint};

    #[test]
    fn a_failpoint_fires_at_its_place_and_nowhere_else() {
        let failpoint = Failpoint::read("issue a batch:after").unwrap();
        assert!(!failpoint.fires("issue a batch", Moment::Before) && !failpoint.fires("reserve", Moment::After));
        assert!(failpoint.fires("issue a batch", Moment::After) && failpoint.fires("issue a batch", Moment::After));
        let third = Failpoint::read("reserve:before#3").unwrap();
        let passes: Vec<bool> = (0..4).map(|_| third.fires("reserve", Moment::Before)).collect();
        assert_eq!(passes, [false, false, true, true]);
        for wrong in ["", "reserve", "reserve:within", "reserve:after#x"] {
            assert!(Failpoint::read(wrong).is_none(), "{wrong}");
        }
    }
}
