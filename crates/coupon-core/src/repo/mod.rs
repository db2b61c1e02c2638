//! The only SQL, and the only module that uses the `sqlx` crate.
//!
//! Absent is `Ok(None)`; a change of state is guarded in its `WHERE` and checked by the affected rows; time and ids
//! are parameters. Database work runs in tasks that nobody cancels (see [`Database`]).

use std::ops::Deref;

pub mod alarms;
pub mod audit;
pub mod coupon_decision_batches;
pub mod coupon_issues;
pub mod coupons;
pub mod dlq_events;
mod error;
pub mod failed_coupon_issues;
pub mod jobs;
pub mod locks;
pub mod operators;
pub mod overview;
pub mod personal_data;
pub mod plans;
mod pool;
mod probe;
pub mod rebuilds;
pub mod reconciliations;
pub mod replay_jobs;
pub mod replays;
pub mod retention;
pub mod schema;
mod server;
pub mod webhooks;
pub mod work_list;

pub use error::{RepoError, may_be_the_records_doing};
pub use pool::{Database, DatabaseSettings};
pub use probe::Rehearsal;

/// Each repository borrows the [`Database`], so that a call names its entity: `database.coupons().find(…)`.
macro_rules! repositories {
    ($($(#[doc = $doc:literal])+ $accessor:ident: $repository:ident,)+) => {
        $($(#[doc = $doc])+
        #[derive(Clone, Copy)]
        pub struct $repository<'a>(&'a Database);

        /// Statements run by the rules of the [`Database`].
        impl Deref for $repository<'_> {
            type Target = Database;

            fn deref(&self) -> &Database {
                self.0
            }
        })+

        impl Database {
            $($(#[doc = $doc])+
            pub fn $accessor(&self) -> $repository<'_> {
                $repository(self)
            })+
        }
    };
}

repositories! {
    /// `coupons`: campaigns with their status, total and window.
    coupons: CouponRepository,
    /// `coupon_issues`: the decision on each request, and the give-backs of compensated ones.
    coupon_issues: CouponIssueRepository,
    /// `coupon_decision_batches` and `coupon_decision_marks`: the decisions by their numbers, and how far they are published.
    coupon_decision_batches: CouponDecisionBatchRepository,
    /// `failed_coupon_issues`: the work list of compensated requests.
    failed_coupon_issues: FailedCouponIssueRepository,
    /// `dlq_events`: the dead letters that dlq-consumer has read.
    dlq_events: DlqEventRepository,
    /// `failed_coupon_issues` and `dlq_events` together: figures, and rows settled by an operator.
    work_list: WorkListRepository,
    /// `replays`: the new request of each replayed row, and its outcome.
    replays: ReplayRepository,
    /// `replay_jobs`: the progress of each replay command.
    replay_jobs: ReplayJobRepository,
    /// `alarm_causes`, `alarm_notices` and `alarm_channels`: alarms that are due, and their sending.
    alarms: AlarmRepository,
    /// `operator_audit`: every change that an operator made.
    audit: AuditRepository,
    /// `reconciliations`: their history, and the rows that Redis is compared with.
    reconciliations: ReconciliationRepository,
    /// `rebuilds`: the progress of the rebuild of a campaign.
    rebuilds: RebuildRepository,
    /// `plans`: changes of many rows, as they were shown.
    plans: PlanRepository,
    /// `jobs` and `job_workers`: what services do for operators.
    jobs: JobRepository,
    /// `operators` and `operator_sessions`: who may use the console.
    operators: OperatorRepository,
    /// What the console's overview shows, over several tables.
    overview: OverviewRepository,
    /// Rows in which a member's id stands, over all tables, and `member_erasures`.
    personal_data: PersonalDataRepository,
    /// Rows that are old enough to be deleted.
    retention: RetentionRepository,
    /// `campaign_events`, `webhook_endpoints` and `webhook_deliveries`: what other systems are told about campaigns.
    webhooks: WebhookRepository,
}
