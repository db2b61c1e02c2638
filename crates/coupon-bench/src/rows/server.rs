//! `coupon-bench rows-server`: issues coupons as rows of PostgreSQL, behind the listener and the token check of `issuer-api`.
//! One statement and one round trip for each request, on connections that stay open.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Args;
use coupon_core::ids::MemberId;
use issuer_api::auth::Verifier;
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::bare::{BareArgs, ISSUES, member, on_every_core};

/// Gives a free row to a member. Rows that others are about to take are passed over, and so are those below a number: an
/// index entry of a row that was taken stays until a vacuum, and all of them would be walked over again and again. A
/// member who has one violates `units_one_each`.
const TAKE: &str = "
UPDATE units SET member_id = $2, request_id = $3, issued_at = now(), expires_at = now() + interval '30 days'
WHERE campaign_id = $1 AND unit_no = (
    SELECT unit_no FROM units WHERE campaign_id = $1 AND unit_no >= $4 AND member_id IS NULL
    ORDER BY unit_no LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING unit_no";

/// Finds the request by which a member has a coupon.
const HELD: &str = "SELECT request_id FROM units WHERE campaign_id = $1 AND member_id = $2";

/// Below the highest number taken, so many rows may still be free or about to be taken. A row that stays free further below is
/// found when nothing else is left.
const UNDER_WAY: i64 = 64;

/// Arguments: those of `bare`, and the database.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    bare: BareArgs,
    /// `postgres://…` of the database with the rows.
    #[arg(long, env = "ROWS_DATABASE_URL", hide_env_values = true)]
    database: String,
    /// Connections to PostgreSQL, and so the number of requests that it works on at once.
    #[arg(long, env = "ROWS_CONNECTIONS")]
    connections: u32,
}

struct Issuer {
    verifier: Verifier,
    database: PgPool,
    campaigns: HashMap<String, Campaign>,
}

/// A campaign, with the lowest number that may be free.
struct Campaign {
    id: i32,
    from: AtomicI64,
}

/// Serves the one route until SIGTERM.
pub async fn run(arguments: ServerArgs) -> Result<()> {
    on_every_core(async move {
        let ServerArgs { bare, database, connections } = arguments;
        // A connection is not asked whether it lives before each use: that would be a second round trip.
        let pool = PgPoolOptions::new().min_connections(connections).max_connections(connections);
        let pool = pool.test_before_acquire(false).idle_timeout(None).max_lifetime(None);
        let database = pool.connect(&database).await.context("PostgreSQL does not answer")?;
        let campaigns: Vec<(String, i32)> =
            sqlx::query_as("SELECT coupon_code, campaign_id FROM unit_campaigns").fetch_all(&database).await?;
        let campaigns = campaigns.into_iter().map(|(code, id)| (code, Campaign { id, from: AtomicI64::new(0) }));
        let issuer = Issuer { verifier: bare.verifier()?, campaigns: campaigns.collect(), database };
        bare.serve(Router::new().route(ISSUES, post(issue).with_state(Arc::new(issuer)))).await
    })
    .await
}

async fn issue(
    State(issuer): State<Arc<Issuer>>,
    Path(code): Path<String>,
    headers: HeaderMap,
    _body: Body,
) -> Response {
    let Some(member) = member(&issuer.verifier, &headers) else { return StatusCode::UNAUTHORIZED.into_response() };
    let Some(campaign) = issuer.campaigns.get(&code) else { return StatusCode::NOT_FOUND.into_response() };
    match campaign.issue(&issuer.database, &member).await {
        Ok(Some((request_id, status))) => {
            let state = if status == StatusCode::OK { "issued" } else { "accepted" };
            let location = format!("/api/v1/coupons/{code}/issues/{request_id}");
            let body = format!(r#"{{"request_id":"{request_id}","coupon_code":"{code}","state":"{state}"}}"#);
            let head = [(header::LOCATION, location), (header::CONTENT_TYPE, "application/json".to_owned())];
            (status, head, body).into_response()
        }
        Ok(None) => (StatusCode::CONFLICT, r#"{"code":"SOLD_OUT"}"#).into_response(),
        Err(error) => {
            eprintln!("coupon-bench rows-server: {error}");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

impl Campaign {
    /// The request by which the member has a coupon, with the status of the answer: 202 if it is this one, 200 if it was an
    /// earlier one. None if nothing is left.
    async fn issue(&self, database: &PgPool, member: &MemberId) -> Result<Option<(Uuid, StatusCode)>, sqlx::Error> {
        let request_id = Uuid::now_v7();
        let from = self.from.load(Ordering::Relaxed);
        let mut taken = self.take(database, member, request_id, from).await;
        if matches!(taken, Ok(None)) && from > 0 {
            // A row that somebody had locked and did not take lies further below.
            taken = self.take(database, member, request_id, 0).await;
        }
        match taken {
            Ok(Some(unit_no)) => {
                self.from.fetch_max(unit_no - UNDER_WAY, Ordering::Relaxed);
                Ok(Some((request_id, StatusCode::ACCEPTED)))
            }
            Ok(None) => Ok(None),
            Err(error) if error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation) => {
                let held: Option<Uuid> =
                    sqlx::query_scalar(HELD).bind(self.id).bind(member.as_str()).fetch_optional(database).await?;
                Ok(held.map(|held| (held, StatusCode::OK)))
            }
            Err(error) => Err(error),
        }
    }

    async fn take(
        &self,
        database: &PgPool,
        member: &MemberId,
        request_id: Uuid,
        from: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        let query = sqlx::query_scalar(TAKE).bind(self.id).bind(member.as_str()).bind(request_id).bind(from);
        query.fetch_optional(database).await
    }
}

#[cfg(test)]
mod tests {
    use coupon_e2e::world::World;

    use super::{super::contender::fill, *};

    #[tokio::test]
    async fn a_member_gets_one_coupon_and_nobody_gets_one_when_all_are_gone() {
        let world = World::new().await.unwrap();
        fill(&world.db, &["ONE".to_owned()], 2).await.unwrap();
        // As if far more had been taken: what is free lies below.
        let campaign = Campaign { id: 1, from: AtomicI64::new(100) };
        let issue = async |member: &str| campaign.issue(&world.db, &member.parse().unwrap()).await.unwrap();
        let (first, status) = issue("a").await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(issue("a").await, Some((first, StatusCode::OK)));
        let (second, status) = issue("b").await.unwrap();
        assert!(status == StatusCode::ACCEPTED && second != first);
        assert_eq!(issue("c").await, None);
    }
}
