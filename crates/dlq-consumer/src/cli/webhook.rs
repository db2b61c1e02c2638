//! `webhook …`: what was sent to webhooks, how their endpoints fare, and sending again.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use coupon_core::repo::webhooks::{DeliveryFilter, DeliveryRow, DeliveryStatus, EndpointRow};
use coupon_operations::terminal::{
    ByArgs,
    output::{self, Column, Output, optional, time},
};

use super::{operations, operations_of};
use crate::config::Config;

const DELIVERIES: &[Column<DeliveryRow>] = &[
    ("id", |row| row.id.to_string()),
    ("endpoint", |row| row.endpoint.clone()),
    ("event", |row| row.event.clone()),
    ("coupon", |row| row.coupon_code.clone()),
    ("status", |row| row.status.clone()),
    ("attempts", |row| row.attempts.to_string()),
    ("next_at", |row| if row.status == DeliveryStatus::Pending.as_str() { time(row.next_at) } else { String::new() }),
    ("delivered_at", |row| optional(row.delivered_at.map(time))),
    ("last_error", |row| optional(row.last_error.clone())),
    ("webhook_id", |row| row.webhook_id.to_string()),
    ("created_at", |row| time(row.created_at)),
];

const ENDPOINTS: &[Column<EndpointRow>] = &[
    ("endpoint", |row| row.endpoint.clone()),
    ("pending", |row| row.pending.to_string()),
    ("failed", |row| row.failed.to_string()),
    ("off_at", |row| optional(row.off_at.map(time))),
    ("failing_since", |row| optional(row.failing_since.map(time))),
    ("not_before", |row| optional(row.not_before.map(time))),
    ("last_error", |row| optional(row.last_error.clone())),
];

/// What to do with webhooks.
#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    #[command(subcommand)]
    command: WebhookCommand,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// List deliveries, newest first.
    #[command(
        before_help = "Examples:\n  dlq-consumer webhook list --endpoint shop --status FAILED\n  dlq-consumer webhook list --before 120 --output json"
    )]
    List(ListArgs),
    /// List the endpoints that a service has ever named, and how they fare.
    #[command(
        before_help = "Examples:\n  dlq-consumer webhook endpoints\n  dlq-consumer webhook endpoints --output json"
    )]
    Endpoints {
        /// How to print.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Send a delivery again, also one that was taken: at once, with its first webhook-id. An endpoint that is switched off
    /// is on again.
    #[command(before_help = "Examples:\n  dlq-consumer webhook resend 17\n  dlq-consumer webhook resend 17 --by alice")]
    Resend {
        /// Number of the delivery.
        id: i64,
        #[command(flatten)]
        operator: ByArgs,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those to this endpoint.
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Only those of this status: PENDING, DELIVERED or FAILED.
    #[arg(long)]
    status: Option<DeliveryStatus>,
    /// Only lower numbers: the next page.
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1000))]
    limit: i64,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// `webhook …`.
pub(super) async fn webhook(config: &Config, args: WebhookArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        WebhookCommand::List(ListArgs { endpoint, status, before, limit, output }) => {
            let filter = DeliveryFilter { endpoint, status, before };
            let deliveries = operations(config).await?.webhook_deliveries(&filter, limit).await?;
            output::rows(output, &deliveries, DELIVERIES, DELIVERIES)?;
        }
        WebhookCommand::Endpoints { output } => {
            let endpoints = operations(config).await?.webhook_endpoints().await?;
            output::rows(output, &endpoints, ENDPOINTS, ENDPOINTS)?;
        }
        WebhookCommand::Resend { id, operator } => {
            let endpoint = operations_of(config, &operator.name()?).await?.resend_webhook(id).await?;
            eprintln!(
                "the service sends delivery {id} to {endpoint} again; `dlq-consumer webhook list` shows how it ends"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
