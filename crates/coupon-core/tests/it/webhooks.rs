//! Events of campaigns and their deliveries on a real PostgreSQL.

use chrono::{TimeDelta, Utc};
use coupon_core::{
    event::CouponIssued,
    ids::CouponCode,
    repo::{
        Database,
        alarms::Notice,
        audit::{Actor, Identity},
        coupon_issues::{IssueOutcome, WHOLE_BATCH},
        coupons::CouponStatus,
        retention::{Bound, Purgeable},
        webhooks::{CampaignEventKind, DeliveryFilter, Outcome},
    },
};
use sqlx::{Connection, PgConnection};

use crate::{
    ledger::{event, issue, shared},
    servers::{OwnDatabase, campaign},
};

fn actor() -> Actor {
    Actor { by: Identity::command_line("test"), now: Utc::now() }
}

async fn told(url: &str) -> Vec<String> {
    let mut raw = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT kind FROM campaign_events ORDER BY id").fetch_all(&mut raw).await.unwrap()
}

async fn set_status(database: &Database, code: &CouponCode, from: &'static [CouponStatus], to: CouponStatus) {
    database.coupons().set_status(code.clone(), 1, from, to, actor()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_is_told_once_however_it_is_written_and_what_was_rolled_back_is_not() {
    let own = OwnDatabase::create("told").await;
    let (database, url) = own.parts();
    // As a whole batch, by parts, and what fits under the total.
    for (code, part, extra) in [("WHOLE", WHOLE_BATCH, 0), ("PARTS", 1, 0), ("FITS", WHOLE_BATCH, 1)] {
        let code: CouponCode = code.parse().unwrap();
        campaign(&database, &code, 3).await;
        set_status(&database, &code, &[CouponStatus::Opening], CouponStatus::Open).await;
        let events: Vec<_> = (0..3 + extra).map(|member| event(&code, &format!("m{member}"))).collect();
        let two = events[..2].to_vec();
        database.coupon_issues().issue(shared(&two), part, None).await.unwrap();
        assert!(!told(&url).await.contains(&"sold_out".to_owned()), "{code}: one is left");
        // Twice: the second time nothing is new.
        for _ in 0..2 {
            database.coupon_issues().issue(shared(&events), part, None).await.unwrap();
        }
        assert_eq!(told(&url).await, ["opened", "sold_out"], "{code}");
        sqlx::query("DELETE FROM campaign_events")
            .execute(&mut PgConnection::connect(&url).await.unwrap())
            .await
            .unwrap();
    }
    let code: CouponCode = "ROLLED".parse().unwrap();
    campaign(&database, &code, 1).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    sqlx::query("UPDATE coupons SET status = 'SUSPECT' WHERE coupon_code = 'ROLLED'").execute(&mut *tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(told(&url).await.is_empty());
    let of_old_epoch = CouponIssued { epoch: 7, ..event(&code, "m") };
    assert_ne!(issue(&database, &of_old_epoch).await, IssueOutcome::IssuedNow);
    assert!(told(&url).await.is_empty());
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_window_is_told_once_for_each_end_of_a_campaign_that_is_open() {
    let own = OwnDatabase::create("window").await;
    let (database, url) = own.parts();
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let now = Utc::now() - TimeDelta::minutes(1);
    for code in ["OPEN", "CLOSED", "ENDLESS"] {
        let code: CouponCode = code.parse().unwrap();
        campaign(&database, &code, 3).await;
        set_status(&database, &code, &[CouponStatus::Opening], CouponStatus::Open).await;
    }
    set_status(&database, &"CLOSED".parse().unwrap(), &[CouponStatus::Open], CouponStatus::Closed).await;
    let ends = "UPDATE coupons SET opens_at = $1::timestamptz - interval '1 day', closes_at = $1 WHERE coupon_code <> 'ENDLESS'";
    sqlx::query(ends).bind(now).execute(&mut raw).await.unwrap();
    sqlx::query("DELETE FROM campaign_events").execute(&mut raw).await.unwrap();
    let tell = |at| database.webhooks().tell_ended_windows(at);
    assert_eq!(tell(now - TimeDelta::seconds(1)).await.unwrap(), 0, "it has not ended yet");
    let (one, other) = tokio::join!(tell(now), tell(now));
    assert_eq!(one.unwrap() + other.unwrap(), 1, "of two services one tells");
    assert_eq!(tell(now + TimeDelta::days(40)).await.unwrap(), 0, "also when its event is purged");
    let select = "SELECT kind, coupon_code, data->>'to', occurred_at FROM campaign_events";
    let event: (String, String, String, chrono::DateTime<Utc>) =
        sqlx::query_as(select).fetch_one(&mut raw).await.unwrap();
    assert_eq!((event.0.as_str(), event.1.as_str(), event.2.as_str()), ("closed", "OPEN", "OVER"));
    assert!((event.3 - now).abs() < TimeDelta::milliseconds(1), "it happened when the window ended");
    sqlx::query(ends).bind(now + TimeDelta::seconds(30)).execute(&mut raw).await.unwrap();
    assert_eq!(tell(now + TimeDelta::hours(2)).await.unwrap(), 1, "a later end is told again");
    sqlx::query(ends).bind(now + TimeDelta::hours(1)).execute(&mut raw).await.unwrap();
    assert_eq!(tell(now + TimeDelta::hours(2)).await.unwrap(), 0, "a service whose clock is ahead tells nothing early");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_handed_out_once_and_a_delivery_is_claimed_by_one() {
    let own = OwnDatabase::create("handed").await;
    let (database, url) = own.parts();
    let code: CouponCode = "HANDED".parse().unwrap();
    campaign(&database, &code, 1).await;
    for _ in 0..20 {
        set_status(&database, &code, &[CouponStatus::Opening, CouponStatus::Closed], CouponStatus::Open).await;
        set_status(&database, &code, &[CouponStatus::Open], CouponStatus::Closed).await;
    }
    let webhooks = database.webhooks();
    webhooks.register("shop".to_owned(), "https://shop.example/".to_owned()).await.unwrap();
    let wanted = vec![("shop".to_owned(), CampaignEventKind::Closed), ("lab".to_owned(), CampaignEventKind::Opened)];
    let mut handed_out = 0;
    while handed_out < 40 {
        let (one, other) = tokio::join!(webhooks.hand_out(wanted.clone(), 7), webhooks.hand_out(wanted.clone(), 7));
        let more = one.unwrap() + other.unwrap();
        assert!(more > 0, "{handed_out} of 40");
        handed_out += more;
    }
    assert_eq!((handed_out, webhooks.hand_out(wanted, 7).await.unwrap()), (40, 0));
    let all = webhooks.deliveries(&DeliveryFilter::default(), 100).await.unwrap();
    assert_eq!(all.len(), 40);
    assert!(all.iter().all(|row| (row.endpoint == "shop") == (row.event == "closed")));

    let (now, lease) = (Utc::now() + TimeDelta::seconds(5), TimeDelta::seconds(30));
    let claim = || webhooks.claim("shop".to_owned(), now, lease);
    let (one, other) = tokio::join!(claim(), claim());
    let (one, other) = (one.unwrap().unwrap(), other.unwrap().unwrap());
    assert_ne!(one.id, other.id);
    // After a failure nothing is sent before the moment that the endpoint has named, and then the same under the same id.
    let later = now + TimeDelta::seconds(60);
    let refused =
        Outcome::Refused { status: Some(503), error: "answers 503".to_owned(), next_at: Ok(later), not_before: later };
    webhooks.note_outcome("shop".to_owned(), one.id, refused, now).await.unwrap();
    assert!(claim().await.unwrap().is_none());
    let endpoints = webhooks.endpoints().await.unwrap();
    assert_eq!((endpoints[0].last_error.as_deref(), endpoints[0].pending), (Some("answers 503"), 20));
    webhooks.note_outcome("shop".to_owned(), other.id, Outcome::Taken(204), now).await.unwrap();
    assert_eq!(webhooks.endpoints().await.unwrap()[0].failing_since, None, "one that takes something works");
    let mut again = Vec::new();
    while let Some(delivery) = webhooks.claim("shop".to_owned(), later, lease).await.unwrap() {
        again.push((delivery.id, delivery.webhook_id));
    }
    assert_eq!(again.len(), 19);
    assert!(again.contains(&(one.id, one.webhook_id)) && !again.iter().any(|(id, _)| *id == other.id));
    // Another address is another receiver; the same one is not.
    let mut raw = PgConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE webhook_endpoints SET off_at = now()").execute(&mut raw).await.unwrap();
    webhooks.register("shop".to_owned(), "https://shop.example/".to_owned()).await.unwrap();
    assert!(webhooks.endpoints().await.unwrap()[0].off_at.is_some());
    webhooks.register("shop".to_owned(), "https://new.example/".to_owned()).await.unwrap();
    assert!(webhooks.endpoints().await.unwrap()[0].off_at.is_none());
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_endpoint_that_is_gone_has_failed_now_and_retention_counts_from_there() {
    let own = OwnDatabase::create("gone").await;
    let (database, _) = own.parts();
    let code: CouponCode = "GONE".parse().unwrap();
    campaign(&database, &code, 1).await;
    set_status(&database, &code, &[CouponStatus::Opening], CouponStatus::Open).await;
    set_status(&database, &code, &[CouponStatus::Open], CouponStatus::Closed).await;
    let webhooks = database.webhooks();
    webhooks.register("shop".to_owned(), "https://shop.example/".to_owned()).await.unwrap();
    let wanted = [CampaignEventKind::Opened, CampaignEventKind::Closed].map(|kind| ("shop".to_owned(), kind));
    assert_eq!(webhooks.hand_out(wanted.to_vec(), 7).await.unwrap(), 2);
    let (now, lease) = (Utc::now() + TimeDelta::seconds(5), TimeDelta::seconds(30));
    let claim = async || webhooks.claim("shop".to_owned(), now, lease).await.unwrap().unwrap().id;
    let refused = Outcome::Refused {
        status: Some(503),
        error: "answers 503".to_owned(),
        next_at: Ok(now + TimeDelta::hours(24)),
        not_before: now,
    };
    webhooks.note_outcome("shop".to_owned(), claim().await, refused, now).await.unwrap();
    let notice = Notice {
        cause: "WEBHOOK shop".to_owned(),
        coupon_code: Some(code),
        message: "it is gone".to_owned(),
        command: "dlq-consumer webhook list".to_owned(),
        now,
    };
    webhooks.note_outcome("shop".to_owned(), claim().await, Outcome::Gone(notice), now).await.unwrap();
    let all = webhooks.deliveries(&DeliveryFilter::default(), 10).await.unwrap();
    for delivery in &all {
        let off = (delivery.next_at - now).abs();
        assert!(delivery.status == "FAILED" && off < TimeDelta::milliseconds(1), "{delivery:?}");
    }
    let bound = Bound { before: now + TimeDelta::seconds(1), unpublished: false };
    let purgeable = database.retention().count_purgeable(Purgeable::WebhookDeliveries, bound, None, 10).await.unwrap();
    assert_eq!((all.len(), purgeable.rows), (2, 2));
    own.drop().await;
}
