//! The comparison with the contract while a service runs: departures are a gauge, one log line when they change, and,
//! where something can be lost, a service that is not ready.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::{Breach, Contract, ContractSettings, Departure, State};
use crate::runtime::{Condition, Tasks};

/// Longest time between two comparisons while the contract is broken, so that a service goes on soon after the repair.
const BROKEN_INTERVAL: Duration = Duration::from_secs(5);

/// Compares the servers with the contract of a service at intervals.
pub struct Watch {
    contract: Contract,
    condition: Condition,
    every: Duration,
    /// Called after each comparison with whether the contract is broken.
    broken: Box<dyn Fn(bool) + Send + Sync>,
    last: Mutex<Last>,
}

/// The result of the last comparisons.
#[derive(Default)]
struct Last {
    at: Option<Instant>,
    /// By server and name of the check; what was checked may be away now.
    departures: Departures,
}

type Departures = BTreeMap<(&'static str, String), Vec<Departure>>;

impl Watch {
    /// Begins as if the contract held. The start of a service asks the same questions of the servers it cannot begin
    /// without; the others may be away, so they hold nothing up, and the comparison that follows at once asks them first.
    pub fn begin(
        contract: Contract,
        settings: &ContractSettings,
        condition: Condition,
        tasks: &Tasks,
        broken: impl Fn(bool) + Send + Sync + 'static,
    ) {
        let every = Duration::from_millis(settings.every_ms);
        let watch = Self { contract, condition, every, broken: Box::new(broken), last: Mutex::default() };
        watch.condition.ready();
        watch.measure(&Last::default());
        let watch = Arc::new(watch);
        tasks.every("contract", every.min(BROKEN_INTERVAL), move || {
            let watch = Arc::clone(&watch);
            async move { watch.compare().await }
        });
    }

    /// Compares, unless the last comparison is too recent.
    async fn compare(&self) {
        let mut last = self.last.lock().await;
        let is_due = last.at.is_none_or(|at| at.elapsed() >= self.every);
        if !is_due && self.broken_lines(&last).is_empty() {
            return;
        }
        last.at = Some(Instant::now());
        let before = lines(&last.departures, |_, _| true);
        let mut seen: BTreeMap<(&'static str, String), Option<Vec<Departure>>> = BTreeMap::new();
        for finding in self.contract.findings().await {
            let departures = seen.entry((finding.server, finding.name)).or_insert_with(|| Some(Vec::new()));
            match finding.state {
                State::Fine(_) => {}
                State::Departs(departure) => departures.iter_mut().for_each(|all| all.push(departure.clone())),
                // Nothing is known of what is away; the last departures stand.
                State::Away(_) => *departures = None,
            }
        }
        last.departures.extend(seen.into_iter().filter_map(|(name, departures)| Some((name, departures?))));
        let now = lines(&last.departures, |_, _| true);
        if now != before && now.is_empty() {
            tracing::info!("the servers keep the contract again");
        } else if now != before {
            tracing::warn!("the servers do not keep the contract: {}", now.join("; and "));
        }
        self.measure(&last);
        let broken = self.broken_lines(&last);
        if broken.is_empty() {
            self.condition.ready();
        } else {
            self.condition.unready(broken.join("; and "));
        }
        (self.broken)(!broken.is_empty());
    }

    fn measure(&self, last: &Last) {
        for server in self.contract.servers() {
            for (breaks, severity) in [(false, "weakens"), (true, "breaks")] {
                let of_server = last.departures.iter().filter(|((name, _), _)| *name == server);
                let departures = of_server.flat_map(|(_, departures)| departures);
                let count = departures.filter(|departure| (departure.breach >= Breach::Breaks) == breaks).count();
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                metrics::gauge!("coupon_contract_findings", "server" => server, "severity" => severity)
                    .set(f64::from(count));
            }
        }
    }

    /// The departures that break the contract with a server that this service needs.
    fn broken_lines(&self, last: &Last) -> Vec<String> {
        let needs = self.contract.needs;
        lines(&last.departures, |server, departure| needs.contains(&server) && departure.breach >= Breach::Breaks)
    }
}

/// One line for each departure that `keep` admits.
fn lines(departures: &Departures, keep: impl Fn(&str, &Departure) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for ((server, name), found) in departures {
        let kept = found.iter().filter(|departure| keep(server, departure));
        lines.extend(kept.map(|departure| format!("{name}: {}; {}", departure.what, departure.fix)));
    }
    lines
}
