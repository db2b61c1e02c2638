//! What `sold_out.lua` says, and that whoever gets a mark moves the sequence on.

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    stock::{Fill, GateOutcome, Held, RepairOutcome, SetTotal, SoldOut},
};
use uuid::Uuid;

use crate::servers::{fill_of, forget, stock};

#[tokio::test]
async fn a_coupon_is_sold_out_while_it_is_open_and_every_unit_is_held_and_a_new_holder_moves_its_sequence() {
    let (stock, code) = (stock(), format!("GONE-{}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap());
    let new_id = || RequestId::from(Uuid::now_v7());
    let member = |name: &str| name.parse::<MemberId>().unwrap();
    let sold_out = async || stock.sold_out(&code).await.unwrap();
    assert_eq!(sold_out().await, None, "nothing is known of it");

    let fill = Fill { epoch: 3, seq: 7, ..fill_of(2) };
    stock.begin_fill(&code, &fill).await.unwrap();
    assert_eq!(stock.open(&code, 3, 2, 0).await.unwrap(), GateOutcome::Done);
    let first = new_id();
    assert!(matches!(stock.reserve(&code, &member("a"), first, 9).await.unwrap(), Ok(Held { is_repeat: false, .. })));
    assert_eq!(sold_out().await, None, "a unit is left");
    assert!(matches!(
        stock.reserve(&code, &member("b"), new_id(), 9).await.unwrap(),
        Ok(Held { is_repeat: false, .. })
    ));
    assert_eq!(sold_out().await, Some(SoldOut { epoch: 3, seq: 9, holders: 2 }));

    // A repair brings a mark back: nobody has reserved, and there is a holder more.
    let restored = new_id();
    for _ in 0..2 {
        assert_eq!(stock.restore_holder(&code, 3, &member("c"), restored).await.unwrap(), RepairOutcome::Done);
        assert_eq!(sold_out().await, Some(SoldOut { epoch: 3, seq: 10, holders: 3 }), "and once only");
    }
    assert_eq!(stock.restore_holder(&code, 3, &member("c"), first).await.unwrap(), RepairOutcome::Moved);
    assert_eq!(sold_out().await.map(|of| of.seq), Some(10), "a mark that stays as it was moves nothing");

    assert_eq!(stock.set_total(&code, 4, 1).await.unwrap(), SetTotal::Set);
    assert_eq!(sold_out().await, None, "there are more units");
    assert_eq!(stock.set_total(&code, 3, 2).await.unwrap(), SetTotal::Set);
    assert!(sold_out().await.is_some());
    assert_eq!(stock.close(&code, 3).await.unwrap(), GateOutcome::Done);
    assert_eq!(sold_out().await, None, "it is closed, which is another answer");
    forget(&code).await;
}
