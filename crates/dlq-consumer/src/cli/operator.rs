//! `operator add`, `link`, `list`, `revoke`: who may use the console. `console roles`: what they may do there.

use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use coupon_console::{Role, VERBS, Verb};
use coupon_core::{repo::operators::OperatorRow, runtime::Usage};
use coupon_operations::{
    Operations,
    operators::LINK_MINUTES,
    terminal::{
        ByArgs,
        output::{self, Column, Output},
    },
};

use crate::config::Config;

const OPERATOR_COLUMNS: &[Column<OperatorRow>] = &[
    ("name", |row| row.name.clone()),
    ("role", |row| row.role.clone()),
    ("created_by", |row| row.created_by.clone()),
    ("created_at", |row| output::time(row.created_at)),
    ("expires_at", |row| output::time(row.expires_at)),
    ("revoked_at", |row| output::optional(row.revoked_at.map(output::time))),
];

const VERB_COLUMNS: &[Column<Verb>] = &[
    ("verb", |verb| verb.name.to_owned()),
    ("method", |verb| verb.method.to_owned()),
    ("path", |verb| verb.path.to_owned()),
    ("role", |verb| verb.role.to_string()),
];

/// What to do with operators.
#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    #[command(subcommand)]
    command: OperatorCommand,
}

#[derive(Debug, Subcommand)]
enum OperatorCommand {
    /// Add an operator. The token is printed once, to standard output, and kept nowhere.
    #[command(
        before_help = "Examples:\n  dlq-consumer operator add alice --role operator --expires 30d --by bob\n  dlq-consumer operator add night-shift --role viewer --expires 2027-01-01T00:00:00Z"
    )]
    Add(AddArgs),
    /// Print a link by which an operator logs in once, within ten minutes.
    #[command(
        before_help = "Examples:\n  dlq-consumer operator link alice\n  dlq-consumer operator link alice --by bob"
    )]
    Link(NameArgs),
    /// List all operators, also those whose token is worth nothing any more.
    #[command(before_help = "Examples:\n  dlq-consumer operator list\n  dlq-consumer operator list --output json")]
    List(ListArgs),
    /// End an operator's token and sessions. The name is not given out again.
    #[command(
        before_help = "Examples:\n  dlq-consumer operator revoke alice\n  dlq-consumer operator revoke alice --by bob"
    )]
    Revoke(NameArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Name for the audit: 1 to 100 of A-Z a-z 0-9 . _ @ -
    name: String,
    /// What the operator may do: viewer, support, operator or admin; `dlq-consumer console roles` tells more.
    #[arg(long)]
    role: Role,
    /// How long the token works, such as 12h or 30d, or until when, in RFC 3339; at most a year.
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Expiry,
    #[command(flatten)]
    operator: ByArgs,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// Name of the operator.
    name: String,
    #[command(flatten)]
    operator: ByArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What to ask about the console.
#[derive(Debug, Args)]
pub(super) struct ConsoleArgs {
    #[command(subcommand)]
    command: ConsoleCommand,
}

#[derive(Debug, Subcommand)]
enum ConsoleCommand {
    /// Print what the console can do: verb, method, path, and the least role that may.
    #[command(before_help = "Examples:\n  dlq-consumer console roles\n  dlq-consumer console roles --output json")]
    Roles(ListArgs),
}

/// The end of a token as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// This moment.
    At(DateTime<Utc>),
    /// This time after now.
    After(TimeDelta),
}

/// `operator …`.
pub(super) async fn operator(config: &Config, args: OperatorArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        OperatorCommand::Add(AddArgs { name, role, expires, operator }) => {
            let operations = super::operations_of(config, &operator.name()?).await?;
            let expires_at = match expires {
                Expiry::At(at) => Some(at),
                Expiry::After(span) => operations.clock.now().checked_add_signed(span),
            };
            let expires_at = expires_at.ok_or_else(|| Usage("--expires is later than any time".to_owned()))?;
            let token = operations.add_operator(&name, role.as_str(), expires_at).await?;
            output::put(&token)?;
            eprintln!(
                "{name} may log in as {role} with this token until {}; it is shown only now",
                output::time(expires_at)
            );
            if let Some(link) = link(config, &operations, &name).await? {
                eprintln!("within {LINK_MINUTES} minutes this link logs in without it, once: {link}");
            }
        }
        OperatorCommand::Link(NameArgs { name, operator }) => {
            let operations = super::operations_of(config, &operator.name()?).await?;
            let link = link(config, &operations, &name).await?;
            let unserved = || Usage("the console is not served: set console.listen".to_owned());
            output::put(&link.ok_or_else(unserved)?)?;
        }
        OperatorCommand::List(ListArgs { output }) => {
            let operators = super::operations(config).await?.operators().await?;
            output::rows(output, &operators, OPERATOR_COLUMNS, OPERATOR_COLUMNS)?;
        }
        OperatorCommand::Revoke(NameArgs { name, operator }) => {
            super::operations_of(config, &operator.name()?).await?.revoke_operator(&name).await?;
            eprintln!("the token and the sessions of {name} are worth nothing any more");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `console roles`.
pub(super) fn console(args: &ConsoleArgs) -> anyhow::Result<ExitCode> {
    let ConsoleCommand::Roles(ListArgs { output }) = &args.command;
    output::rows(*output, VERBS, VERB_COLUMNS, VERB_COLUMNS)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns a new login link; `None`: the console is not served.
async fn link(config: &Config, operations: &Operations, name: &str) -> anyhow::Result<Option<String>> {
    if config.console.address()?.is_none() {
        return Ok(None);
    }
    Ok(config.console.login_link(&operations.login_code(name).await?))
}

/// Parses `12h`, `30d` or a time in RFC 3339.
fn expiry(text: &str) -> Result<Expiry, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Expiry::At(at.to_utc()));
    }
    let wrong = || format!("{text:?} is neither a span such as 12h or 30d, nor a time such as 2027-01-01T00:00:00Z");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let count: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let span = match unit {
        'h' => TimeDelta::hours(count.into()),
        'd' => TimeDelta::days(count.into()),
        _ => return Err(wrong()),
    };
    Ok(Expiry::After(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_after_a_span_or_at_a_time() {
        assert_eq!(expiry("12h"), Ok(Expiry::After(TimeDelta::hours(12))));
        assert_eq!(expiry("30d"), Ok(Expiry::After(TimeDelta::days(30))));
        let at = "2027-01-01T00:00:00Z";
        assert_eq!(expiry(at), Ok(Expiry::At(at.parse().unwrap())));
        for wrong in ["", "30", "-1d", "1y", "30日", "tomorrow"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
