//! What members hold of many campaigns at a time.

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    stock::{GateOutcome, Held, Holder},
};
use uuid::Uuid;

use crate::servers::{fill_of, forget, stock};

#[tokio::test]
async fn what_a_member_holds_of_many_campaigns_comes_in_their_order() {
    let (stock, member) = (stock(), "somebody".parse::<MemberId>().unwrap());
    let code = |n| format!("MANY-{}-{n}", Uuid::now_v7().simple()).parse::<CouponCode>().unwrap();
    let codes: Vec<CouponCode> = (0..120).map(code).collect();
    let mut expected = vec![Holder::Missing; codes.len()];
    for place in [0, 49, 50, 119] {
        let (code, request_id) = (&codes[place], RequestId::from(Uuid::now_v7()));
        let fill = fill_of(2);
        stock.begin_fill(code, &fill).await.unwrap();
        assert_eq!(stock.open(code, 1, 2, 0).await.unwrap(), GateOutcome::Done);
        let reserved = stock.reserve(code, &member, request_id, 9).await.unwrap();
        assert!(matches!(reserved, Ok(Held { is_repeat: false, .. })));
        expected[place] = Holder::Holds { request_id, pending: true };
    }
    assert_eq!(stock.holders(&codes, &member).await.unwrap(), expected);
    for place in [0, 49, 50, 119] {
        forget(&codes[place]).await;
    }
}
