//! Plans: what a change of many rows would hit, shown before it is made. A confirmed plan becomes a job.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::repo::{
    RepoError,
    plans::{Confirmation, NewPlan, PlanRow},
};
use serde::{Deserialize, Serialize};

use crate::{
    Operations, OperationsError,
    jobs::{JobRef, tell_of_job},
};

mod change;
mod count;
mod judge;
mod words;

pub use change::Change;
pub(crate) use judge::new_job;

/// How long a plan can be confirmed, and after the first of two confirmations the second.
const EXPIRES_AFTER: TimeDelta = TimeDelta::minutes(10);

/// What the installation asks of a confirmation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanRules {
    /// Rows above which a second person has to confirm; `None`: never.
    pub second_person_above: Option<i64>,
}

/// A row of a plan, as an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRow {
    /// Number with its kind, such as `E17`.
    pub number: String,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// Member, unmasked.
    pub member_id: Option<String>,
    /// Cause of its failure.
    pub cause: String,
}

/// What a change would hit.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Number.
    pub plan_id: i64,
    /// Change.
    pub change: Change,
    /// What it hits, in words.
    pub predicate: String,
    /// No row with a higher number; `None`: it is about no rows.
    pub up_to_id: Option<i64>,
    /// Rows that would change; `None`: it is about no rows.
    pub eligible: Option<i64>,
    /// Rows that would not, by reason.
    pub refused: BTreeMap<String, i64>,
    /// Whether the counts are a part only: there are very many rows, and nobody is kept waiting for their number.
    pub at_least: bool,
    /// Up to ten of the rows that would change.
    pub sample: Vec<SampleRow>,
    /// Word that has to be typed to confirm it.
    pub typed: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it can be confirmed no more.
    pub expires_at: DateTime<Utc>,
    /// Whether two persons have to confirm it.
    pub needs_second: bool,
    /// Who confirmed it first, where two have to.
    pub first_by: Option<String>,
    /// Why, in the words of who confirmed it; empty before.
    pub reason: String,
    /// Who confirmed it last.
    pub confirmed_by: Option<String>,
    /// When it was confirmed.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Job it has become.
    pub job: Option<JobRef>,
    /// Time that the job is expected to take, in seconds.
    pub seconds: Option<i64>,
    /// The same as a command line.
    pub command: String,
}

/// The outcome of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmed {
    /// The plan has become this job.
    Job(JobRef),
    /// The confirmation is kept; somebody else has to confirm it too.
    AwaitsSecond,
}

/// Why a plan was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum PlanRefused {
    /// There is no such plan.
    #[error("there is no such plan")]
    Unknown,
    /// It is too old: what it showed may be past.
    #[error("the plan has expired; make it anew to see what it would hit now")]
    Expired,
    /// The campaign has changed since the plan was made.
    #[error("the campaign has changed since: it would be about {0} now; make the plan anew")]
    Changed(String),
    /// Somebody has confirmed it before.
    #[error("{by} confirmed it before, at {at}")]
    ConfirmedBefore {
        /// Who.
        by: String,
        /// When.
        at: DateTime<Utc>,
        /// Job it has become.
        job: Option<JobRef>,
    },
    /// The word that was typed is not the one asked for.
    #[error("type {expected} to confirm it")]
    Typed {
        /// Word asked for.
        expected: String,
    },
    /// A second person has to confirm it, and this is the first one.
    #[error("you confirmed it first; somebody else has to confirm it too")]
    SamePerson,
    /// Both who confirm it may be one person.
    #[error(
        "{first} confirmed it first, and {by} has seen your token or theirs by adding an operator in the console: you count as one \
         person. Somebody whose token came from somebody else, or from the command line, has to confirm it too"
    )]
    OnePerson {
        /// Who confirmed it first.
        first: String,
        /// Who knows how to log in as both.
        by: String,
    },
    /// A server failed, or the change is not possible.
    #[error(transparent)]
    Operations(#[from] OperationsError),
}

impl From<RepoError> for PlanRefused {
    fn from(error: RepoError) -> Self {
        Self::Operations(error.into())
    }
}

impl Operations {
    /// Finds out what a change would hit, and keeps it for ten minutes as a plan. Changes nothing else.
    pub async fn make_plan(&self, change: Change, rules: &PlanRules) -> Result<Plan, OperationsError> {
        let judged = self.judge(change, true).await?;
        let (eligible, at_least) = (judged.eligible.unwrap_or(0), judged.at_least);
        let me = self.me();
        let new = NewPlan {
            verb: judged.change.verb().to_owned(),
            parameters: serde_json::to_value(&judged.change).unwrap_or_default(),
            predicate: judged.predicate,
            up_to_id: judged.up_to,
            eligible: judged.eligible,
            refused: judged.refused,
            at_least,
            sample: serde_json::to_value(&judged.sample).unwrap_or_default(),
            typed: (at_least || judged.change.has_to_be_typed(eligible)).then(|| judged.change.name()),
            needs_second: rules.second_person_above.is_some_and(|above| at_least || eligible > above),
            expires_at: me.now + EXPIRES_AFTER,
        };
        let plan_id = self.database.plans().create(new, me).await?;
        // Unreadable only if it was deleted in this moment.
        self.plan(plan_id).await?.ok_or(OperationsError::PlanGone(plan_id))
    }

    /// Returns a plan. One of a newer build, which this one cannot read, counts as absent.
    pub async fn plan(&self, id: i64) -> Result<Option<Plan>, RepoError> {
        Ok(self.database.plans().find(id).await?.and_then(Plan::of))
    }

    /// Confirms a plan in the name of these operations, once: it becomes a job, with its audit in the same transaction.
    /// `typed` is the word that the operator typed.
    pub async fn confirm_plan(&self, id: i64, typed: Option<&str>, reason: &str) -> Result<Confirmed, PlanRefused> {
        let plan = self.plan(id).await?.ok_or(PlanRefused::Unknown)?;
        if let (Some(by), Some(at)) = (&plan.confirmed_by, plan.confirmed_at) {
            return Err(PlanRefused::ConfirmedBefore { by: by.clone(), at, job: plan.job });
        }
        if plan.expires_at <= self.clock.now() {
            return Err(PlanRefused::Expired);
        }
        if let Some(expected) = plan.typed.clone().filter(|word| typed.map(str::trim) != Some(word.as_str())) {
            return Err(PlanRefused::Typed { expected });
        }
        let now = self.describe(&plan.change).await?;
        if now != plan.predicate {
            return Err(PlanRefused::Changed(now));
        }
        let mut me = self.me();
        me.by.plan_id = Some(id);
        reason.clone_into(&mut me.by.reason);
        let job = new_job(&plan.change, reason, &plan.facts(), None);
        let renewed = me.now + EXPIRES_AFTER;
        match self.database.plans().confirm(id, job, renewed, me).await? {
            Confirmation::Job(job) => {
                tell_of_job();
                Ok(Confirmed::Job(plan.change.job(job)))
            }
            Confirmation::AwaitsSecond => Ok(Confirmed::AwaitsSecond),
            Confirmation::Unknown => Err(PlanRefused::Unknown),
            Confirmation::Expired => Err(PlanRefused::Expired),
            Confirmation::Before(by, at, job) => {
                Err(PlanRefused::ConfirmedBefore { by, at, job: job.map(|job| plan.change.job(job)) })
            }
            Confirmation::SamePerson => Err(PlanRefused::SamePerson),
            Confirmation::OnePerson { first, by } => Err(PlanRefused::OnePerson { first, by }),
        }
    }
}

impl Plan {
    fn of(row: PlanRow) -> Option<Self> {
        let change: Change = serde_json::from_value(row.parameters)
            .inspect_err(|error| tracing::warn!(plan = row.plan_id, "a plan cannot be read: {error}"))
            .ok()?;
        Some(Self {
            plan_id: row.plan_id,
            predicate: row.predicate,
            up_to_id: row.up_to_id,
            eligible: row.eligible,
            refused: row.refused.0,
            at_least: row.at_least,
            sample: serde_json::from_value(row.sample).unwrap_or_default(),
            typed: row.typed,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            needs_second: row.needs_second,
            first_by: row.first_by,
            reason: row.reason,
            confirmed_by: row.confirmed_by,
            confirmed_at: row.confirmed_at,
            job: row.job_id.map(|job| change.job(job)),
            seconds: change.seconds(row.eligible),
            command: change.command(),
            change,
        })
    }

    fn facts(&self) -> coupon_core::repo::replays::Plan {
        let (eligible, up_to) = (self.eligible.unwrap_or(0), self.up_to_id.unwrap_or(0));
        coupon_core::repo::replays::Plan { eligible, refused: self.refused.clone(), up_to, at_least: self.at_least }
    }
}
