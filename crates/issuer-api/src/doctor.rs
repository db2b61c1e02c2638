//! `doctor`: every dependency looked at, with what to do about it.

use std::process::ExitCode;

use coupon_core::{
    contract::{Contract, rights},
    kafka::{Broker, Right},
    repo::Database,
    runtime::doctor::{Finding, print},
    stock::Stock,
    tokens::{ReadClaims, Verifier},
};

use crate::{auth::Key, config::ApiSettings};

/// Looks at everything and prints it; exit code 1 when something does not work.
pub async fn doctor(settings: &ApiSettings) -> anyhow::Result<ExitCode> {
    let name = "issuer-api doctor";
    let contract = Contract {
        broker: Broker::new(&settings.kafka.client(), name)?,
        topics: vec![settings.kafka.wanted()],
        stock: Some(Stock::new(&settings.redis)?),
        database: Database::new(&settings.database, name)?,
        needs: &[],
    };
    let servers = contract.findings().await.into_iter().map(Into::into);
    let wanted = [Right::Publish { topic: settings.kafka.topic.clone() }];
    let rights = rights(&contract.broker, &wanted).await;
    let admission = admission(settings).await;
    Ok(print(
        auth(settings)
            .await
            .into_iter()
            .chain(admission)
            .chain([settings.events.finding()])
            .chain(servers)
            .chain(rights),
    ))
}

async fn auth(settings: &ApiSettings) -> Vec<Finding> {
    let fix = "correct the [auth] section; without it `serve` refuses to start";
    match settings.auth.verifier() {
        Err(error) => vec![Finding::fail("auth", error.to_string(), fix)],
        Ok(verifier) => keys("auth", &verifier).await,
    }
}

async fn admission(settings: &ApiSettings) -> Vec<Finding> {
    let fix = "correct the [admission] section; without it `serve` refuses to start";
    match settings.admission.verifier() {
        Err(error) => vec![Finding::fail("admission", error.to_string(), fix)],
        Ok(None) => Vec::new(),
        Ok(Some(verifier)) => keys("admission", &verifier).await,
    }
}

async fn keys<C: ReadClaims>(section: &'static str, verifier: &Verifier<C>) -> Vec<Finding> {
    let asked = verifier.ask_issuer().await;
    let finding = |key: &Key| {
        let algorithms: Vec<String> = key.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        Finding::ok(section, format!("the key {} verifies {}", key.name(), algorithms.join(", ")))
    };
    let keys = verifier.keys();
    let mut findings: Vec<Finding> = keys.iter().map(finding).collect();
    match asked {
        Ok(()) => {}
        Err(reason) if keys.is_empty() => {
            findings.push(Finding::fail(section, reason, "without a key `serve` waits and is not ready"));
        }
        Err(reason) => findings.push(Finding::warn(section, reason, "`serve` goes on with the other keys")),
    }
    findings
}
