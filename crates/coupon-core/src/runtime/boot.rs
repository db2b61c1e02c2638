//! The outer frame of a binary: one runtime, one error line, one exit code; and what every service
//! starts before its own work.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use super::{
    AdminSettings, BindError, Health, LogSettings, Reload, SettingsError, Shutdown, TaskEnded, Tasks,
    TelemetrySettings, admin, chain, scrape, telemetry, traces::Exporter,
};

/// How long tasks that nobody waits for may go on after the end.
const LEFTOVERS: Duration = Duration::from_secs(2);

/// Wrong usage that only shows when the words are put together: exit code 2, as for all other wrong usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs a binary's future to its end and gives the exit code: its own, or after an error 2 when a
/// setting or the usage was wrong ([`SettingsError`] or [`Usage`] anywhere in the chain), else 1. The error is printed once,
/// with all its causes, to standard error.
///
/// `E` is `anyhow::Error` or `Box<dyn Error + Send + Sync>`. The bound is `AsRef` and not `Into`,
/// because an `anyhow::Error` turned into a box no longer shows the type of its outermost error.
pub fn block_on<F, E>(future: F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, E>>,
    E: AsRef<dyn Error + Send + Sync + 'static>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime cannot be started: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(future).unwrap_or_else(|error| {
        let error: &(dyn Error + 'static) = error.as_ref();
        eprintln!("error: {}", chain(error));
        ExitCode::from(exit_code(error))
    });
    runtime.shutdown_timeout(LEFTOVERS);
    code
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    let mut next = Some(error);
    while let Some(link) = next {
        if link.is::<SettingsError>() || link.is::<Usage>() {
            return 2;
        }
        next = link.source();
    }
    1
}

/// A started service: logging, signals, readiness and the admin listener are there.
#[derive(Debug)]
pub struct Service {
    /// Begins with the first signal.
    pub shutdown: Shutdown,
    /// Tells of SIGHUP.
    pub reload: Reload,
    /// What runs beside the main work.
    pub tasks: Tasks,
    /// What `/readyz` answers from. Not ready until the first condition is registered and met.
    pub health: Health,
    /// Where the admin listener listens.
    pub admin_address: SocketAddr,
    /// What ends after everything else, with the stop of its own.
    last: Tasks,
    last_stop: Shutdown,
}

impl Service {
    /// Turns logging on, listens for signals and opens the admin listener, in this order. Fails
    /// when the admin address cannot be listened on.
    pub async fn start(name: &'static str, log: &LogSettings, admin: &AdminSettings) -> Result<Service, BindError> {
        telemetry::init(log, name);
        let shutdown = Shutdown::new();
        let reload = Reload::default();
        let (signals, reloads) = (shutdown.signals(), reload.signals());
        let service = Service { reload, ..Service::listen(shutdown, admin).await? };
        scrape::build_info(name);
        // To the very end, so nobody begins its stop: the second signal has to be heard while everything else stops.
        let until_exit = service.tasks.stopped_by(Shutdown::new());
        if let Some(signals) = signals {
            until_exit.spawn_until_stop("signal watch", signals);
        }
        if let Some(reloads) = reloads {
            until_exit.spawn_until_stop("reload watch", reloads);
        }
        Ok(service)
    }

    /// Exports spans from now on, if the settings say where to. `ratio` is the share of the traces begun by this service that
    /// are sampled; whether others are says their trace context. Fails when the endpoint cannot be used.
    pub fn export_traces(
        &self,
        settings: &TelemetrySettings,
        name: &'static str,
        ratio: f64,
    ) -> Result<(), SettingsError> {
        if let Some(exporter) = Exporter::begin(settings, name, ratio)? {
            self.last.spawn("trace export", exporter.run(self.last_stop.clone()));
        }
        Ok(())
    }

    async fn listen(shutdown: Shutdown, admin: &AdminSettings) -> Result<Service, BindError> {
        let health = Health::new(shutdown.clone());
        let (listener, admin_address) = admin::bind(admin.listen).await?;
        tracing::info!(address = %admin_address, "the admin listener is at {admin_address}");
        let last_stop = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let last = tasks.stopped_by(last_stop.clone());
        last.spawn("admin listener", admin::serve(listener, health.clone(), last_stop.clone()));
        Ok(Service { shutdown, reload: Reload::default(), tasks, health, admin_address, last, last_stop })
    }

    /// Stops the admin listener and the export of spans, after everything else has ended. Gives the background task that
    /// ended unasked, if one did: the process must then exit non-zero.
    pub async fn finish(self) -> Result<(), TaskEnded> {
        self.shutdown.begin("the work has ended");
        if !self.tasks.finished(LEFTOVERS).await {
            tracing::warn!("some background tasks do not end and are left");
        }
        self.last_stop.begin("the admin listener is the last");
        self.last.finished(LEFTOVERS).await;
        tracing::info!("stopped");
        self.tasks.failure().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("while starting")]
    struct Context(#[source] Box<dyn Error + Send + Sync>);

    #[test]
    fn a_wrong_setting_anywhere_in_the_chain_exits_with_2_and_all_else_with_1() {
        let wrong = || SettingsError::invalid("http.listen", "x", "an address");
        assert_eq!(exit_code(&wrong()), 2);
        assert_eq!(exit_code(&Context(Box::new(wrong()))), 2);
        assert_eq!(exit_code(&io::Error::other("disk full")), 1);
    }

    #[test]
    fn block_on_returns_the_code_of_the_future_or_of_its_error() {
        let run = |result: Result<ExitCode, Box<dyn Error + Send + Sync>>| format!("{:?}", block_on(async { result }));
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(run(Ok(ExitCode::from(7))), code(7));
        assert_eq!(run(Err(Box::new(SettingsError::invalid("a.b", 1, "2")))), code(2));
        assert_eq!(run(Err("no broker answers".into())), code(1));
    }

    #[tokio::test]
    async fn the_admin_listener_answers_while_the_service_stops_and_ends_last() {
        let admin = AdminSettings { listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let service = Service::listen(Shutdown::new(), &admin).await.expect("a free port");
        let address = service.admin_address;
        service.health.condition("work").ready();
        assert!(ask(address).await.contains("200 OK"));
        service.shutdown.begin("a test");
        assert!(ask(address).await.contains("503 Service Unavailable"));
        assert_eq!(service.finish().await, Ok(()));
        assert!(TcpStream::connect(address).await.is_err());
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }
}
