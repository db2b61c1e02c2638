//! The requests of one member among those of many.

use coupon_core::{ids::MemberId, repo::Database};
use sqlx::{Connection, PgConnection};

use crate::servers::OwnDatabase;

/// Members with one row each, and one with a row in each of ten campaigns.
const ROWS: &str = "
INSERT INTO coupons (coupon_code, status, total_quantity, opens_at)
SELECT 'C' || number, 'OPEN', 100000, now() FROM generate_series(1, 10) AS number;
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT number % 10 + 1, gen_random_uuid(), CASE WHEN number <= 10 THEN 'many' ELSE 'member-' || number END,
       'ISSUED', 1, number, now(), now()
FROM generate_series(1, 20000) AS number;
ANALYZE coupon_issues";

async fn page(database: &Database, before: Option<uuid::Uuid>) -> Vec<uuid::Uuid> {
    let member: MemberId = "many".parse().unwrap();
    let found = database.coupon_issues().list_of_member(&member, before.map(Into::into), 4).await.unwrap();
    found.iter().map(|one| one.decided.request_id.as_uuid()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_member_come_newest_first_without_reading_those_of_others() {
    let own = OwnDatabase::create("requests_of_a_member").await;
    let (database, url) = own.parts();
    let mut sql = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(ROWS).execute(&mut sql).await.unwrap();

    let all: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT request_id FROM coupon_issues WHERE member_id = 'many' ORDER BY request_id DESC")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    let first = page(&database, None).await;
    let second = page(&database, first.last().copied()).await;
    let third = page(&database, second.last().copied()).await;
    assert_eq!([first, second, third].concat(), all);

    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT request_id FROM coupon_issues WHERE member_id = 'many' AND request_id < gen_random_uuid()
         ORDER BY request_id DESC LIMIT 4",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("coupon_issues_of_member") && !plan.contains("Seq Scan"), "{plan}");
    sql.close().await.unwrap();
    own.drop().await;
}
