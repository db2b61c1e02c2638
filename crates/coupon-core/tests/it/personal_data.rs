//! Personal data: no column of the schema that can hold a member's id is forgotten.

use std::collections::BTreeSet;

use coupon_core::repo::personal_data::PLACES;
use sqlx::{Connection, PgConnection};

use crate::servers::OwnDatabase;

/// Columns of text, documents or bytes that hold no member's id, by the reason.
const WITHOUT: &[(&str, &[&str])] = &[
    ("erased campaign by campaign, by its index", &["coupon_issues.member_id"]),
    (
        "a code of a campaign",
        &[
            "alarm_notices.coupon_code",
            "campaign_events.coupon_code",
            "coupons.coupon_code",
            "dlq_events.coupon_code",
            "failed_coupon_issues.coupon_code",
            "rebuilds.coupon_code",
            "reconciliations.coupon_code",
            "replays.coupon_code",
        ],
    ),
    (
        "a word of ours",
        &[
            "campaign_events.data",
            "campaign_events.kind",
            "campaign_events.once",
            "coupon_decision_batches.decision",
            "coupon_issues.decision",
            "coupons.status",
            "dlq_events.dlq_topic",
            "dlq_events.error_class",
            "dlq_events.original_event_type",
            "dlq_events.status",
            "failed_coupon_issues.error_class",
            "failed_coupon_issues.status",
            "jobs.kind",
            "jobs.status",
            "member_erasures.counts",
            "member_erasures.key_id",
            "member_erasures.pseudonym",
            "member_erasures.status",
            "operator_audit.verb",
            "operators.role",
            "plans.verb",
            "rebuilds.reopen_as",
            "rebuilds.step",
            "replay_jobs.kind",
            "replay_jobs.status",
            "replays.outcome",
            "row_notes.subject",
            "webhook_deliveries.endpoint",
            "webhook_deliveries.status",
            "webhook_endpoints.endpoint",
        ],
    ),
    (
        "the name of an operator or a process, or how it is known",
        &[
            "alarm_causes.claimed_by",
            "alarm_channels.channel",
            "coupon_decision_marks.owner",
            "failed_coupon_issues.claimed_by",
            "failed_coupon_issues.resolved_by",
            "job_workers.worker",
            "jobs.worker",
            "member_erasures.started_by",
            "operator_audit.actor",
            "operator_audit.provenance",
            "operator_sessions.operator_name",
            "operator_sessions.source",
            "operators.created_by",
            "operators.name",
            "plans.confirmed_by",
            "plans.created_by",
            "plans.first_by",
            "rebuilds.started_by",
            "reconciliations.started_by",
            "replay_jobs.created_by",
            "replay_jobs.worker",
            "row_notes.written_by",
            "saved_filters.operator_name",
        ],
    ),
    ("the context of a trace", &["coupon_decision_traces.traceparent"]),
    (
        "a digest",
        &[
            "operator_sessions.session_hash",
            "operators.login_code_hash",
            "operators.token_hash",
            "webhook_endpoints.address_hash",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_can_hold_a_member_is_erased_or_has_a_reason() {
    let own = OwnDatabase::create("personal_data").await;
    let (database, url) = own.parts();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let columns: BTreeSet<String> = sqlx::query_scalar(
        "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
         JOIN information_schema.tables t USING (table_schema, table_name)
         WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> '_sqlx_migrations'
           AND c.data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea', 'ARRAY', 'xml', 'character', 'name')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap()
    .into_iter()
    .filter(|column: &String| !column.ends_with(".request_ids"))
    .collect();
    let erased = PLACES
        .iter()
        .flat_map(|place| place.member.iter().chain(place.columns).map(|column| format!("{}.{column}", place.table)));
    let mut known: Vec<String> = erased.collect();
    known.extend(WITHOUT.iter().flat_map(|(_, columns)| columns.iter().map(|column| (*column).to_owned())));
    let once: BTreeSet<String> = known.iter().cloned().collect();
    assert_eq!(once.len(), known.len(), "a column is named twice: {known:?}");
    let forgotten: Vec<&String> = columns.difference(&once).collect();
    assert!(forgotten.is_empty(), "can {forgotten:?} hold a member's id? Then add them to PLACES, else to WITHOUT");
    let gone: Vec<&String> = once.difference(&columns).collect();
    assert!(gone.is_empty(), "there is no column {gone:?}");

    // Every page can be read, whatever the key of its table.
    for place in PLACES {
        assert!(database.personal_data().page(place, None).await.unwrap().is_empty(), "{}", place.table);
    }
    connection.close().await.unwrap();
    own.drop().await;
}
