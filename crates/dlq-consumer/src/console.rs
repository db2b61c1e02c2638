//! What the service lends to the console that it serves: its alarm channels, its checks and its settings.

use std::{sync::Arc, time::Duration};

use coupon_console::{ChannelAnswer, Console, Host, Parts};
use coupon_core::{
    kafka::{BreakerState, BreakerStates},
    repo::{Database, DatabaseSettings, audit::Identity},
    runtime::{Health, Service, chain, doctor::Finding, print_effective},
    stock::Stock,
    tokens,
};
use futures_util::{FutureExt, future::BoxFuture};

use crate::{alarm, config::Config, doctor::Doctor};

/// Name of the console's connections.
const CONSOLE: &str = "dlq-consumer console";
/// How long a group of checks may take while somebody looks at the page.
const CHECK_BOUND: Duration = Duration::from_secs(2);

struct ThisService {
    config: Config,
    doctor: Doctor,
    breakers: BreakerStates,
}

impl Host for ThisService {
    fn channels(&self) -> Result<Vec<&'static str>, String> {
        alarm::channel_names(&self.config.alarms).map_err(|error| error.to_string())
    }

    fn test_alarms(&self, by: String) -> BoxFuture<'static, Result<Vec<ChannelAnswer>, String>> {
        let settings = self.config.alarm_settings();
        async move {
            let tested = alarm::send_test(&settings, &by).await;
            let tested = tested.map_err(|error| chain(error.as_ref()).to_string())?;
            let answer = |tested: &alarm::Tested| ChannelAnswer {
                channel: tested.channel,
                took_it: tested.outcome.is_ok(),
                text: tested.to_string(),
            };
            Ok(tested.iter().map(answer).collect())
        }
        .boxed()
    }

    fn doctor(&self) -> BoxFuture<'_, Vec<Finding>> {
        self.doctor.findings(CHECK_BOUND).boxed()
    }

    fn breakers(&self) -> Vec<BreakerState> {
        self.breakers.all()
    }

    fn settings(&self) -> String {
        print_effective(&self.config)
    }
}

/// Serves the console, if it has an address, beside the engine: with a pool of its own, and whatever the engine waits for.
pub fn serve(
    config: &Config,
    name: &str,
    stock: &Stock,
    breakers: &BreakerStates,
    service: &Service,
) -> anyhow::Result<()> {
    let Some(address) = config.console.address()? else { return Ok(()) };
    let timeout = config.console.statement_timeout_ms;
    let database = DatabaseSettings {
        max_connections: config.console.max_connections,
        acquire_timeout_ms: timeout,
        statement_timeout_ms: timeout,
        lock_timeout_ms: timeout,
        ..config.database.clone()
    };
    let database = Database::new(&database, CONSOLE)?;
    let assertions = config.console.assertion.verifier()?.map(Arc::new);
    if let Some(verifier) = &assertions {
        // A health of its own: records are consumed, whoever can log in.
        let health = Health::new(service.shutdown.clone());
        let watching = tokens::watch(verifier.clone(), health, service.reload.subscribe());
        service.tasks.spawn_until_stop("console keys", watching);
    }
    let doctor = Doctor::new(config, database.clone(), stock.clone(), CONSOLE)?;
    let console = Console::new(Parts {
        operations: config.operations(database, stock.clone(), CONSOLE, Identity::service(name))?,
        settings: config.console.clone(),
        installation: config.alarms.installation.clone(),
        assertions,
        health: service.health.clone(),
        host: Arc::new(ThisService { config: config.clone(), doctor, breakers: breakers.clone() }),
    });
    service.tasks.spawn("console", console.serve(address, service.shutdown.clone()));
    Ok(())
}
