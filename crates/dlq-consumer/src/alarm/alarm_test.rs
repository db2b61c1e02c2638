//! The command `alarm-test`, and what `doctor` says of alarms: whether they arrive, and where.

use std::process::ExitCode;

use anyhow::bail;
use coupon_core::{
    clock::{Clock, SystemClock},
    runtime::{Escaped, SettingsError, doctor::Finding},
};

use super::{
    channels::{Channels, Form, Refusal},
    settings::AlarmSettings,
    view::Alarm,
};

/// Examples at the beginning of the help of `alarm-test`.
pub const TEST_EXAMPLES: &str = "Examples:\n  dlq-consumer alarm-test\n  \
                                 dlq-consumer alarm-test --set alarms.slack_webhook_url_file=/run/secrets/slack\n";

const NONE: &str = "no channel is set, so alarms are written to the log alone";
const FIX: &str = "set alarms.slack_webhook_url_file or alarms.webhook_url_file";

/// What a channel made of a test alarm.
pub struct Tested {
    /// Name of the channel.
    pub channel: &'static str,
    /// The form in which it took the alarm, or why it did not.
    pub outcome: Result<Form, Refusal>,
}

/// Returns the names of the channels that are set, the first one first.
pub fn channel_names(settings: &AlarmSettings) -> Result<Vec<&'static str>, SettingsError> {
    Ok(Channels::new(settings)?.in_order.iter().map(|channel| channel.kind.name()).collect())
}

/// Sends a test alarm in the name of `by` to each channel, also to one that is paused. Fails when there is none.
pub async fn send_test(settings: &AlarmSettings, by: &str) -> anyhow::Result<Vec<Tested>> {
    let channels = Channels::new(settings)?;
    if channels.in_order.is_empty() {
        bail!("{NONE}: {FIX}");
    }
    let test = Alarm::test(by, SystemClock.now()).signed(settings);
    let mut tested = Vec::new();
    for channel in &channels.in_order {
        let outcome = channel.send(&test, SystemClock.now()).await;
        tested.push(Tested { channel: channel.kind.name(), outcome });
    }
    Ok(tested)
}

impl std::fmt::Display for Tested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Ok(Form::Whole) => f.write_str("took the test"),
            Ok(Form::Plain) => f.write_str("took the test as plain text, and refuses its layout"),
            Err(refusal) => write!(f, "FAILED: {}", Escaped(refusal)),
        }
    }
}

/// Sends a test alarm to each channel and prints what each answers; exit code 1 when one does not take it.
pub async fn alarm_test(settings: &AlarmSettings) -> anyhow::Result<ExitCode> {
    let by = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let test = Alarm::test(&by, SystemClock.now()).signed(settings);
    let or_none = |text: &str| if text.is_empty() { "not set".to_owned() } else { Escaped(text).to_string() };
    let tested = send_test(settings, &by).await?;
    println!("installation: {}", or_none(&test.installation));
    println!("runbook:      {}", or_none(test.links.runbook.as_deref().unwrap_or_default()));
    println!("dashboard:    {}", or_none(test.links.dashboard.as_deref().unwrap_or_default()));
    println!("console:      {}", or_none(test.links.console.as_deref().unwrap_or_default()));
    for tested in &tested {
        println!("{:<8} {tested}", tested.channel);
    }
    let all_took_it = tested.iter().all(|tested| tested.outcome.is_ok());
    Ok(if all_took_it { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
