//! The gate of a campaign in Redis: how its data is filled and opened, and how data that has gone back in time or lost a part
//! is told from what is whole.

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    stock::{DeleteOutcome, Fill, FillOutcome, GateOutcome, Held, Refused, RepairOutcome, SetTotal, SetWindow},
};
use uuid::Uuid;

use crate::{
    servers::{fill_of, forget, redis_url, stock},
    stock_model::{holders, key, name, new_id, raw, reserve},
};

#[tokio::test]
async fn a_sequence_behind_the_highest_seen_makes_the_coupon_suspect() {
    let (stock, code) = (stock(), "SEQ-BACK".parse::<CouponCode>().unwrap());
    let mut raw = redis::Client::open(redis_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    forget(&code).await;
    let fill = fill_of(9);
    stock.begin_fill(&code, &fill).await.unwrap();
    stock.open(&code, 1, 9, 0).await.unwrap();
    assert!(matches!(reserve(&stock, &code, 0, new_id()).await, Ok(Held { is_repeat: false, .. })));
    let set = |seq: i64| {
        let mut command = redis::cmd("HSET");
        command.arg(format!("coupon:{{{code}}}:meta")).arg("seq").arg(seq);
        command
    };
    // As a replica would be that had not yet seen the reservation when it was promoted.
    let _: i64 = set(0).query_async(&mut raw).await.unwrap();
    assert_eq!(reserve(&stock, &code, 1, new_id()).await, Err(Refused::Suspect));
    let _: i64 = set(100).query_async(&mut raw).await.unwrap();
    assert_eq!(reserve(&stock, &code, 1, new_id()).await, Err(Refused::Suspect), "it does not heal by itself");
    assert_eq!(stock.open(&code, 1, 9, 0).await.unwrap(), GateOutcome::Suspect, "nor by opening it");
    forget(&code).await;
}

#[tokio::test]
async fn sequences_are_compared_within_an_epoch_and_an_older_epoch_is_suspect() {
    let (stock, code) = (stock(), format!("EPOCHS-{}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap());
    let filled = async |epoch, seq| {
        forget(&code).await;
        let fill = Fill { epoch, seq, ..fill_of(9) };
        stock.begin_fill(&code, &fill).await.unwrap();
        stock.open(&code, epoch, 9, 0).await.unwrap();
    };
    filled(2, 10).await;
    assert!(matches!(reserve(&stock, &code, 0, new_id()).await, Ok(Held { is_repeat: false, .. })));
    filled(3, 0).await;
    assert!(
        matches!(reserve(&stock, &code, 1, new_id()).await, Ok(Held { is_repeat: false, .. })),
        "a rebuild may begin below a sequence that was seen before it"
    );
    filled(2, 100).await;
    assert_eq!(
        reserve(&stock, &code, 2, new_id()).await,
        Err(Refused::Suspect),
        "data from before a rebuild, however far it had got"
    );
    forget(&code).await;
}

#[tokio::test]
async fn a_gate_moves_only_where_its_epoch_is_and_an_opening_takes_a_newer_total_over() {
    let (stock, code) = (stock(), format!("GATE-{}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap());
    assert_eq!(stock.open(&code, 1, 9, 0).await.unwrap(), GateOutcome::Missing);
    assert_eq!(stock.close(&code, 1).await.unwrap(), GateOutcome::Missing);
    assert_eq!(stock.suspect(&code, 1).await.unwrap(), GateOutcome::Missing);
    assert_eq!(stock.set_total(&code, 9, 1).await.unwrap(), SetTotal::Missing);
    assert_eq!(stock.view(&code).await.unwrap(), None, "nothing was made of nothing");

    let fill = Fill { epoch: 2, total_version: 3, ..fill_of(9) };
    stock.begin_fill(&code, &fill).await.unwrap();
    assert_eq!(stock.open(&code, 1, 9, 3).await.unwrap(), GateOutcome::OtherEpoch(2));
    assert_eq!(stock.open(&code, 2, 7, 4).await.unwrap(), GateOutcome::Done);
    let seen = async || stock.view(&code).await.unwrap().map(|view| (view.status, view.total)).unwrap();
    assert_eq!(seen().await, ("OPEN".to_owned(), 7));
    assert_eq!(stock.open(&code, 2, 5, 4).await.unwrap(), GateOutcome::Done);
    assert_eq!(seen().await, ("OPEN".to_owned(), 7), "a total of the same version is the same total");
    assert_eq!(stock.close(&code, 1).await.unwrap(), GateOutcome::OtherEpoch(2));
    assert_eq!(stock.suspect(&code, 3).await.unwrap(), GateOutcome::OtherEpoch(2));
    assert_eq!(seen().await.0, "OPEN");
    forget(&code).await;
}

#[tokio::test]
async fn a_window_that_comes_late_or_twice_never_undoes_a_newer_one() {
    let (stock, code): (_, CouponCode) = (stock(), format!("WINDOW-{}", Uuid::now_v7().simple()).parse().unwrap());
    assert_eq!(stock.set_window(&code, 1, None, 1).await.unwrap(), SetWindow::Missing);
    assert_eq!(stock.view(&code).await.unwrap(), None, "nothing was made of nothing");
    let fill = Fill { window_version: 2, opens_at_ms: 5, closes_at_ms: Some(50), ..fill_of(9) };
    stock.begin_fill(&code, &fill).await.unwrap();
    let seen = async || stock.view(&code).await.unwrap().map(|view| (view.opens_at_ms, view.closes_at_ms)).unwrap();
    assert_eq!(stock.set_window(&code, 1, None, 1).await.unwrap(), SetWindow::Newer, "a filling brings its version");
    assert_eq!(seen().await, (5, Some(50)));
    for _ in 0..2 {
        assert_eq!(stock.set_window(&code, 7, Some(70), 3).await.unwrap(), SetWindow::Set);
        assert_eq!(seen().await, (7, Some(70)));
    }
    assert_eq!(stock.set_window(&code, 6, None, 2).await.unwrap(), SetWindow::Newer);
    assert_eq!(seen().await, (7, Some(70)));
    assert_eq!(stock.set_window(&code, 8, None, 4).await.unwrap(), SetWindow::Set);
    assert_eq!(seen().await, (8, None));
    forget(&code).await;
}

#[tokio::test]
async fn a_fill_finds_a_fresh_coupon_its_own_work_or_what_was_left_over_and_tells_them_apart() {
    let (stock, code): (_, CouponCode) = (stock(), format!("FILL-{}", Uuid::now_v7().simple()).parse().unwrap());
    let fill = |epoch| Fill { epoch, ..fill_of(9) };
    stock.copy_holders(&code, &[(name(1), new_id())]).await.unwrap();
    assert_eq!(
        stock.begin_fill(&code, &fill(1)).await.unwrap(),
        FillOutcome::Leftover,
        "marks without meta are lost data"
    );
    forget(&code).await;
    let code: CouponCode = format!("FILL-{}", Uuid::now_v7().simple()).parse().unwrap();
    assert_eq!(stock.begin_fill(&code, &fill(2)).await.unwrap(), FillOutcome::Filling);
    assert_eq!(stock.begin_fill(&code, &fill(2)).await.unwrap(), FillOutcome::Filling, "a fill that broke off goes on");
    stock.copy_holders(&code, &[(name(1), new_id())]).await.unwrap();
    assert_eq!(stock.open(&code, 2, 9, 0).await.unwrap(), GateOutcome::Done);
    assert_eq!(stock.begin_fill(&code, &fill(2)).await.unwrap(), FillOutcome::Filled);
    assert_eq!(stock.begin_fill(&code, &fill(3)).await.unwrap(), FillOutcome::OtherEpoch(2));
    assert!(stock.coupons().await.unwrap().contains(&code), "the relays know it");
    forget(&code).await;
}

/// Each key of a campaign deleted by itself, with one of two units held.
#[tokio::test]
async fn a_redis_that_lost_any_one_key_of_a_campaign_gives_out_no_unit_twice() {
    for part in ["meta", "issued", "outbox"] {
        let (stock, code) = (stock(), format!("LOST-{}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap());
        let fill = fill_of(2);
        stock.begin_fill(&code, &fill).await.unwrap();
        stock.copy_holders(&code, &[(name(0), new_id())]).await.unwrap();
        stock.open(&code, 1, 2, 0).await.unwrap();
        assert!(matches!(reserve(&stock, &code, 1, new_id()).await, Ok(Held { is_repeat: false, .. })));
        let _: i64 = raw(redis::cmd("DEL").arg(key(&code, part))).await;
        let refused = match part {
            "meta" => Refused::Missing,
            "issued" => Refused::Suspect,
            // Nobody can tell it from one that was emptied, and nobody gets a unit by it.
            _ => Refused::SoldOut,
        };
        assert_eq!(reserve(&stock, &code, 2, new_id()).await, Err(refused), "without {part}");
        if part == "issued" {
            assert_eq!(stock.restore_holder(&code, 1, &name(0), new_id()).await.unwrap(), RepairOutcome::Moved);
            assert_eq!(stock.open(&code, 1, 2, 0).await.unwrap(), GateOutcome::Suspect);
            assert_eq!(stock.set_total(&code, 1, 1).await.unwrap(), SetTotal::Missing);
        }
        forget(&code).await;
    }
}

#[tokio::test]
async fn a_map_that_vanishes_while_it_is_filled_is_neither_filled_on_nor_opened() {
    let (stock, code) = (stock(), format!("GONE-{}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap());
    let fill = fill_of(9);
    stock.begin_fill(&code, &fill).await.unwrap();
    let marks: Vec<(MemberId, RequestId)> = (0..250).map(|member| (name(member), new_id())).collect();
    stock.copy_holders(&code, &marks).await.unwrap();
    let _: i64 = raw(redis::cmd("DEL").arg(key(&code, "issued"))).await;
    assert!(stock.copy_holders(&code, &[(name(500), new_id())]).await.is_err());
    assert_eq!(stock.begin_fill(&code, &fill).await.unwrap(), FillOutcome::Filling, "it begins anew");
    stock.copy_holders(&code, &marks).await.unwrap();
    assert_eq!(holders(&code).await, Some(250));
    let _: i64 = raw(redis::cmd("DEL").arg(key(&code, "issued"))).await;
    assert_eq!(stock.open(&code, 1, 9, 0).await.unwrap(), GateOutcome::Suspect);
    forget(&code).await;
}

#[tokio::test]
async fn what_is_refused_is_added_up_and_goes_with_the_campaign() {
    let (stock, code) = (stock(), format!("REFUSED-{}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap());
    stock.count_refused(&code, &[("SOLD_OUT", 1)]).await.unwrap();
    assert!(stock.refused(&code).await.unwrap().is_empty(), "there is no such campaign");
    stock.begin_fill(&code, &fill_of(9)).await.unwrap();
    stock.open(&code, 1, 9, 0).await.unwrap();
    stock.count_refused(&code, &[("SOLD_OUT", 2), ("NOT_OPEN", 1)]).await.unwrap();
    stock.count_refused(&code, &[("SOLD_OUT", 40)]).await.unwrap();
    let refused = stock.refused(&code).await.unwrap();
    assert_eq!((refused["SOLD_OUT"], refused["NOT_OPEN"]), (42, 1));
    stock.close(&code, 1).await.unwrap();
    assert_eq!(stock.delete_coupon(&code).await.unwrap(), DeleteOutcome::Done);
    // A process that has not heard of the end tells what it refused.
    stock.count_refused(&code, &[("CLOSED", 1)]).await.unwrap();
    assert!(stock.refused(&code).await.unwrap().is_empty());
}
