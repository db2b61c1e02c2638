//! The command `alarm-test`, and what `doctor` says of alarms: whether they arrive, and where.

use std::process::ExitCode;

use anyhow::bail;
use coupon_core::{
    clock::{Clock, SystemClock},
    runtime::{Escaped, doctor::Finding},
};

use super::{
    channels::{Channels, Form},
    settings::AlarmSettings,
    view::Alarm,
};

/// Examples at the beginning of the help of `alarm-test`.
pub const TEST_EXAMPLES: &str = "Examples:\n  dlq-consumer alarm-test\n  \
                                 dlq-consumer alarm-test --set alarms.slack_webhook_url_file=/run/secrets/slack\n";

const NONE: &str = "no channel is set, so alarms are written to the log alone";
const FIX: &str = "set alarms.slack_webhook_url_file or alarms.webhook_url_file";

/// Sends a test alarm to each channel, also to one that is paused; exit code 1 when one does not take it.
pub async fn alarm_test(settings: &AlarmSettings) -> anyhow::Result<ExitCode> {
    let channels = Channels::new(settings)?;
    if channels.in_order.is_empty() {
        bail!("{NONE}: {FIX}");
    }
    let by = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let test = Alarm::test(&by, SystemClock.now()).signed(settings);
    let or_none = |text: &str| if text.is_empty() { "not set".to_owned() } else { Escaped(text).to_string() };
    println!("installation: {}", or_none(&test.installation));
    println!("runbook:      {}", or_none(test.links.runbook.as_deref().unwrap_or_default()));
    println!("dashboard:    {}", or_none(test.links.dashboard.as_deref().unwrap_or_default()));
    let mut code = ExitCode::SUCCESS;
    for channel in &channels.in_order {
        let name = channel.kind.name();
        match channel.send(&test, SystemClock.now()).await {
            Ok(Form::Whole) => println!("{name:<8} took the test"),
            Ok(Form::Plain) => println!("{name:<8} took the test as plain text, and refuses its layout"),
            Err(refusal) => {
                println!("{name:<8} FAILED: {}", Escaped(refusal));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Returns for `doctor` which channels are set, without calling them.
pub fn finding(settings: &AlarmSettings) -> Finding {
    let name = "alarms";
    let channels = match Channels::new(settings) {
        Ok(channels) => channels,
        Err(error) => return Finding::fail(name, error.to_string(), FIX),
    };
    let names: Vec<_> = channels.in_order.iter().map(|channel| channel.kind.name()).collect();
    let unnamed = if settings.installation.is_empty() {
        "; alarms.installation is not set, so alarms of several installations look alike"
    } else {
        ""
    };
    match names.as_slice() {
        [] => Finding::warn(name, NONE, FIX),
        [only] => Finding::ok(name, format!("sent to {only}; try it with `dlq-consumer alarm-test`{unnamed}")),
        [first, others @ ..] => {
            let after = channels.takeover_after.num_seconds();
            let others = others.join(", ");
            Finding::ok(
                name,
                format!(
                    "sent to {first}, and to {others} when it is down for {after} s; try it with `dlq-consumer alarm-test`{unnamed}"
                ),
            )
        }
    }
}
