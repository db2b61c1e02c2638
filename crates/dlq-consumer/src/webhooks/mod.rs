//! Webhooks: campaign events are sent to the endpoints of the settings, signed as Standard Webhooks 1.0 says.
//!
//! ```text
//! campaign_events ─ hand out ─► webhook_deliveries ─ claim ─► sender (one an endpoint) ─► POST, signed
//!  with the change               one an endpoint                 ▲                          │
//!                                                                └── note: DELIVERED, later, FAILED
//! ```
//!
//! Arrows go one way: `sender → address | signature | settings`. Alarms use the signature too.

mod address;
mod gauges;
mod sender;
mod settings;
mod signature;

use std::{sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    repo::{Database, RepoError, webhooks::CampaignEventKind},
    runtime::{SettingsError, Tasks, Throttle, chain, doctor::Finding},
};

use sender::Sender;

pub use settings::WebhookSettings;
pub use signature::Secrets;

/// Time between two passes that make deliveries of new events.
const HAND_OUT_PERIOD: Duration = Duration::from_secs(1);
/// Events handed out by one statement.
const HAND_OUT_BATCH: i64 = 500;

/// Sends campaign events to the endpoints of the settings.
pub struct Webhooks {
    senders: Vec<Sender>,
    /// An endpoint and a kind of event that it wants, in each place.
    subscriptions: Vec<(String, CampaignEventKind)>,
    clock: Arc<dyn Clock>,
}

impl Webhooks {
    /// Prepares the endpoints, with the secrets from their files.
    pub fn new(settings: &WebhookSettings, database: &Database, clock: &Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let timeout = Duration::from_millis(settings.timeout_ms);
        let (mut senders, mut subscriptions) = (Vec::new(), Vec::new());
        for endpoint in settings.endpoints()? {
            subscriptions.extend(endpoint.events.iter().map(|kind| (endpoint.name.clone(), *kind)));
            senders.push(Sender::new(endpoint, timeout, database.clone(), clock.clone())?);
        }
        Ok(Self { senders, subscriptions, clock: clock.clone() })
    }

    /// Starts a loop that hands events out, and one for each endpoint. The stop may drop a sender while it sends: the delivery
    /// is sent again.
    pub fn start(self, database: Database, tasks: &Tasks) {
        let Self { senders, subscriptions, clock } = self;
        let names: Vec<String> = senders.iter().map(|sender| sender.name().to_owned()).collect();
        gauges::start(database.clone(), clock.clone(), names, tasks);
        // Without an endpoint too: one that is added later is not told of the past.
        tasks.every("webhook events", HAND_OUT_PERIOD, move || {
            let (database, subscriptions, now) = (database.clone(), subscriptions.clone(), clock.now());
            async move {
                // What is told of windows is one kind of event: the others do not wait for it.
                report("ends of windows", database.webhooks().tell_ended_windows(now).await.map(drop));
                report("events of campaigns", hand_out(&database, &subscriptions).await);
            }
        });
        for sender in senders {
            tasks.spawn_until_stop("webhooks", sender.run());
        }
    }
}

fn report(what: &'static str, outcome: Result<(), RepoError>) {
    static FAILED: Throttle = Throttle::new();
    if let Err(error) = outcome
        && let Some(count) = FAILED.admit(what)
    {
        let error = chain(&error);
        tracing::warn!(count, %error, "{what} wait to be handed out to webhooks and go on as soon as they can ({count} times)");
    }
}

/// Makes the deliveries of all new events.
async fn hand_out(database: &Database, subscriptions: &[(String, CampaignEventKind)]) -> Result<(), RepoError> {
    while database.webhooks().hand_out(subscriptions.to_vec(), HAND_OUT_BATCH).await? == HAND_OUT_BATCH {}
    Ok(())
}

/// Returns for `doctor` which endpoints are set, without calling them.
pub fn finding(settings: &WebhookSettings) -> Finding {
    let (name, fix) = ("webhooks", "put the setting right; each secret file holds whsec_ and 24 to 64 bytes in Base64");
    let endpoints = match settings.endpoints() {
        Ok(endpoints) => endpoints,
        Err(error) => return Finding::fail(name, error.to_string(), fix),
    };
    for endpoint in &endpoints {
        if let Err(error) = endpoint.secrets() {
            return Finding::fail(name, error.to_string(), fix);
        }
    }
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    Finding::ok(name, if names.is_empty() { "none is set".to_owned() } else { format!("sent to {}", names.join(", ")) })
}
