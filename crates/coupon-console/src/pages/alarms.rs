//! `/alarms`: open causes, what is undelivered, how the channels fare, and a test of them.

use askama::Template;
use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    RepoError,
    alarms::{ChannelState, OpenAlarm, ShownNotice, UnsentCause},
    audit::Actor,
};
use serde::{Deserialize, Serialize};

use crate::{
    Console,
    access::Caller,
    answer::{Failure, Frame, View},
    host::ChannelAnswer,
    params::{Form, reason},
    tile::Tile,
};

/// The page.
#[derive(Debug, Serialize)]
struct Alarms {
    now: DateTime<Utc>,
    /// Causes of which an alarm was sent, and no all-clear.
    open: Tile<Vec<OpenAlarm>>,
    /// Causes with dead letters whose alarm is unsent.
    unsent: Tile<Vec<UnsentCause>>,
    /// The newest notices.
    notices: Tile<Vec<ShownNotice>>,
    /// The channels that are set, and those that have ever failed.
    channels: Tile<Vec<Channel>>,
    /// Why there are no channels, or what is wrong with their settings.
    without_channels: Option<String>,
}

/// A channel and how it fares.
#[derive(Debug, Serialize)]
struct Channel {
    #[serde(flatten)]
    state: ChannelState,
    /// Whether the settings name it.
    is_set: bool,
}

/// The answers of the channels to a test.
#[derive(Debug, Serialize)]
struct Tested {
    channels: Vec<ChannelAnswer>,
}

/// The form of a test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    /// Why.
    reason: String,
}

#[derive(Template)]
#[template(path = "alarms.html")]
struct AlarmsPage<'a> {
    frame: &'a Frame,
    page: &'a Alarms,
}

#[derive(Template)]
#[template(path = "alarms_tested.html")]
struct TestedPage<'a> {
    frame: &'a Frame,
    tested: &'a Tested,
}

impl View for Alarms {
    fn title(&self) -> String {
        "Alarms".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        AlarmsPage { frame, page: self }.render()
    }
}

impl View for Tested {
    fn title(&self) -> String {
        "Test of the alarms".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        TestedPage { frame, tested: self }.render()
    }
}

pub(super) async fn list(State(console): State<Console>, caller: Caller) -> Response {
    let alarms = console.operations.database.alarms();
    let (named, without_channels) = match console.host.channels() {
        Ok(named) if named.is_empty() => {
            let why = "no channel is set, so alarms are written to the log alone: set alarms.slack_webhook_url_file or \
                       alarms.webhook_url_file";
            (named, Some(why.to_owned()))
        }
        Ok(named) => (named, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let server = "PostgreSQL";
    let (open, unsent, notices, channels) = tokio::join!(
        Tile::of(server, alarms.open()),
        Tile::of(server, alarms.unsent()),
        Tile::of(server, alarms.notices()),
        Tile::of(server, async { Ok::<_, RepoError>(with_states(&named, alarms.channels().await?)) }),
    );
    let now = console.operations.clock.now();
    console.show(&caller, &Alarms { now, open, unsent, notices, channels, without_channels })
}

/// Returns the channels that are set, in their order, then those that were and have failed.
fn with_states(named: &[&str], mut states: Vec<ChannelState>) -> Vec<Channel> {
    let mut channels = Vec::new();
    for name in named {
        let known = states.iter().position(|state| state.channel == *name).map(|index| states.swap_remove(index));
        let state = known.unwrap_or_else(|| ChannelState { channel: (*name).to_owned(), ..ChannelState::default() });
        channels.push(Channel { state, is_set: true });
    }
    let others = states.into_iter().filter(|state| state.down_since.is_some());
    channels.extend(others.map(|state| Channel { state, is_set: false }));
    channels
}

pub(super) async fn test(State(console): State<Console>, caller: Caller, Form(form): Form<Test>) -> Response {
    let answer = async {
        let identity = caller.identity(&reason(&form?.reason)?);
        let sent = console.host.test_alarms(caller.name.clone()).await;
        let channels = sent.map_err(Failure::conflict)?;
        let actor = Actor::at(&identity, console.operations.clock.as_ref());
        let outcome = serde_json::json!({ "channels": channels });
        console
            .operations
            .database
            .audit()
            .append(actor, "alarms.test".to_owned(), "alarms".to_owned(), outcome)
            .await?;
        Ok::<_, Failure>(console.show(&caller, &Tested { channels }))
    };
    console.answer(&caller, answer.await)
}
