//! How many requests of a campaign are compensated for one cause, and what becomes of the rest.

use coupon_core::{
    budget::Budget,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::coupon_issues::CompensationOutcome,
};

use super::{compensation, decisions, event};
use crate::servers::{OwnDatabase, campaign};

#[tokio::test]
async fn a_budget_lets_so_many_go_at_once_and_holds_the_rest_undecided() {
    let own = OwnDatabase::create("budget").await;
    let (database, _) = own.parts();
    let code: CouponCode = "BUDGET".parse().unwrap();
    campaign(&database, &code, 9).await;
    let budget = Budget { burst: 2.0, per_second: 1.0 };
    let is_held = async |n: i64, seconds: i64| {
        let event = event(&code, &format!("m{n}"));
        let mut compensation = compensation(&event, n, budget);
        compensation.now += chrono::TimeDelta::seconds(seconds);
        // Words that name the record, as a trigger may say them, do not give each record a budget of its own.
        let name =
            ["anna", "bert", "carl", "dora", "emil", "fritz", "greta", "hans", "ida"][usize::try_from(n).unwrap()];
        compensation.failure = Failure::new(Class::Unknown, "P0001", &format!("no coupon for {name}"));
        let held = database.coupon_issues().compensate(compensation).await.unwrap() == CompensationOutcome::Held;
        assert_eq!(decisions(&database, &event).await.is_empty(), held, "what is held is undecided");
        held
    };
    assert_eq!([is_held(1, 0).await, is_held(2, 0).await, is_held(3, 0).await], [false, false, true]);
    assert_eq!([is_held(4, 1).await, is_held(5, 1).await], [false, true], "one more a second later");
    assert_eq!(
        [is_held(6, 60).await, is_held(7, 60).await, is_held(8, 60).await],
        [false, false, true],
        "never above the burst"
    );
    own.drop().await;
}
