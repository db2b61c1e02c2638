//! Random batches against a model: what each event is told, what is counted, and how many statements that takes.

use coupon_core::{event::CouponIssued, failure::Failure, ids::CouponCode, repo::coupon_issues::IssueOutcome};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use sqlx::{Connection, PgConnection};

use super::{compensate, costs::Counted, written};
use crate::{
    ledger::{event, issue},
    servers::{OwnDatabase, campaign},
};

/// What there is about an event of a batch, and so what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    New,
    IssuedBefore,
    CompensatedBefore,
    /// The member has another request issued.
    HoldsOne,
    RefusedBefore,
    RefusedAfter,
    PassedOver,
    /// Somebody holds its decision.
    Held,
}

impl Kind {
    /// Mostly new ones, as in life, and in some batches hardly any.
    fn random(random: &mut StdRng, is_strange: u32) -> Self {
        if random.random_range(0..100) >= is_strange {
            return Self::New;
        }
        let kinds = [
            Self::IssuedBefore,
            Self::CompensatedBefore,
            Self::HoldsOne,
            Self::RefusedBefore,
            Self::RefusedAfter,
            Self::PassedOver,
        ];
        kinds[random.random_range(0..kinds.len())]
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::RefusedBefore => "-bad",
            Self::RefusedAfter => "-late",
            Self::PassedOver => "-passed-over",
            _ => "",
        }
    }

    /// Whether an event was told what becomes of its kind.
    fn fits(self, told: &Result<IssueOutcome, Failure>, is_full: bool) -> bool {
        let refused = told.as_ref().err().map(|failure| failure.code.as_str());
        match self {
            // What comes after the last coupon is not even tried.
            Self::New | Self::RefusedBefore | Self::RefusedAfter | Self::PassedOver
                if is_full && matches!(told, Ok(IssueOutcome::CapReached)) =>
            {
                true
            }
            // What fits into a full coupon is looked up after it was written.
            Self::New if is_full => matches!(told, Ok(IssueOutcome::IssuedNow | IssueOutcome::IssuedBefore)),
            Self::New => matches!(told, Ok(IssueOutcome::IssuedNow)),
            Self::IssuedBefore => matches!(told, Ok(IssueOutcome::IssuedBefore)),
            Self::CompensatedBefore => matches!(told, Ok(IssueOutcome::CompensatedBefore)),
            Self::HoldsOne => matches!(told, Ok(IssueOutcome::MemberHoldsOne(_))),
            Self::RefusedBefore => refused == Some("23514"),
            Self::RefusedAfter => refused == Some("P0001"),
            Self::PassedOver => matches!(told, Ok(IssueOutcome::Undecided)),
            Self::Held => refused == Some("55P03"),
        }
    }
}

#[tokio::test]
async fn random_batches_are_told_counted_and_bounded_as_the_model_says() {
    let own = OwnDatabase::with_lock_timeout("model", 300).await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let code: CouponCode = format!("MODEL-{seed}").parse().unwrap();
        let events = random.random_range(1..300);
        let is_strange = [0, 1, 5, 30, 90, 100][random.random_range(0..6)];
        let mut kinds: Vec<Kind> = (0..events).map(|_| Kind::random(&mut random, is_strange)).collect();
        let is_full = random.random_range(0..4) == 0;
        if !is_full && random.random_range(0..4) == 0 {
            kinds[random.random_range(0..events)] = Kind::Held;
        }
        let count = |kinds: &[Kind], kind| i64::try_from(kinds.iter().filter(|one| **one == kind).count()).unwrap();
        let before = count(&kinds, Kind::IssuedBefore) + count(&kinds, Kind::HoldsOne);
        let new = count(&kinds, Kind::New);
        let room = if is_full { new / 2 } else { new };
        campaign(&database, &code, (before + room).max(1)).await;
        let mut batch: Vec<(CouponIssued, bool)> = Vec::new();
        let mut hold = holder.begin().await.unwrap();
        for (place, kind) in kinds.iter().enumerate() {
            let seq = 10 + i64::try_from(place).unwrap();
            let event = CouponIssued { seq, ..event(&code, &format!("m-{place:03}{}", kind.suffix())) };
            match kind {
                Kind::IssuedBefore => assert_eq!(issue(&database, &event).await, IssueOutcome::IssuedNow),
                Kind::HoldsOne => {
                    let other = crate::ledger::event(&code, event.member_id.as_str());
                    assert_eq!(issue(&database, &other).await, IssueOutcome::IssuedNow);
                }
                Kind::CompensatedBefore => compensate(&mut raw, &event).await,
                Kind::Held => compensate(&mut hold, &event).await,
                _ => {}
            }
            batch.push((event, random.random_range(0..10) == 0));
        }
        let mut order: Vec<usize> = (0..events).collect();
        order.shuffle(&mut random);
        let shuffled: Vec<_> = order.iter().map(|place| batch[*place].clone()).collect();
        let begun = counted.statements().await;
        let outcomes = written(&database, &shuffled).await;
        let begun = counted.statements().await - begun;
        hold.rollback().await.unwrap();

        let issued = outcomes.iter().filter(|told| matches!(told, Ok(IssueOutcome::IssuedNow))).count();
        for (place, told) in order.iter().zip(&outcomes) {
            assert!(kinds[*place].fits(told, is_full), "seed {seed}: {:?} was told {told:?}", kinds[*place]);
        }
        let (counter, rows, high): (i64, i64, i64) = sqlx::query_as(
            "SELECT issued_quantity, (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id AND decision = 'ISSUED'),
                    (SELECT coalesce(max(seq), 0) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id AND decision = 'ISSUED')
                    - high_seq FROM coupons c WHERE coupon_code = $1",
        )
        .bind(code.as_str())
        .fetch_one(&mut raw)
        .await
        .unwrap();
        assert_eq!((counter, rows, high), (before + room, before + room, 0), "seed {seed}");
        assert!(is_full || i64::try_from(issued).unwrap() == new, "seed {seed}: {issued} of {new}");
        // Each refused row stands alone after nine halvings of three hundred, and a few parts lie between two of them.
        let refused = outcomes.iter().filter(|told| told.is_err()).count();
        let most = if is_full { 40 * (events + 1) } else { 20 + 14 * refused };
        assert!(
            begun <= i64::try_from(most).unwrap(),
            "seed {seed}: {begun} statements, {refused} of {events} refused"
        );
    }
    own.drop().await;
}
