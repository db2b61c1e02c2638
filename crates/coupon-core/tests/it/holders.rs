//! What members hold of many campaigns at a time.

use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    stock::{GateOutcome, Held, Holder},
};
use uuid::Uuid;

use crate::{
    servers::{fill_of, forget, stock},
    stock_model::{CAP, key, name, new_id, raw},
};

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

#[tokio::test]
async fn a_holder_entry_that_cannot_be_read_is_an_error_of_its_member_and_of_nobody_else() {
    let stock = stock();
    let code: CouponCode = format!("TORN-{}", Uuid::now_v7().simple()).parse().unwrap();
    stock.begin_fill(&code, &fill_of(5)).await.unwrap();
    stock.open(&code, 1, 5, 0).await.unwrap();
    let _: i64 = raw(redis::cmd("HSET").arg(key(&code, "issued")).arg(name(1).as_str()).arg("no id")).await;
    let members = [name(0), name(1), name(2)];
    let requests: Vec<_> = members.iter().map(|member| (new_id(), member)).collect();
    let answers = stock.reserve_all(&code, &requests, CAP as u64).await.unwrap();
    let held =
        |at: usize| matches!(&answers[at], Ok(Ok(held)) if held.request_id == requests[at].0 && held.pending.is_some());
    assert!(held(0) && answers[1].is_err() && held(2), "{answers:?}");
    assert_eq!(stock.seen.of(&code), (1, 2), "what was seen of the others counts");
    forget(&code).await;
}
