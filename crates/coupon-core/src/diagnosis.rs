//! What `doctor` finds out about the dependencies: what is wrong, and how to put it right.

use crate::{
    kafka::Broker,
    repo::{Database, schema::Schema},
    runtime::{chain, doctor::Finding},
    stock::{ServerFinding, Stock},
};

/// Looks at a topic; `fed_by` is the topic whose records must fit into this one with their headers.
pub async fn topic(broker: &Broker, topic: &str, setting: &str, fed_by: Option<&str>) -> Vec<Finding> {
    let name = format!("kafka topic {topic}");
    let partitions = match broker.partitions(topic).await {
        Err(error) => {
            return vec![Finding::fail(
                name,
                chain(&error).to_string(),
                "check kafka.brokers and that the brokers run",
            )];
        }
        Ok(None) => {
            return vec![Finding::fail(
                name,
                "does not exist",
                format!("create it, or set {setting} to one that does"),
            )];
        }
        Ok(Some(partitions)) => partitions,
    };
    let mut findings = vec![Finding::ok(name.clone(), format!("{partitions} partitions"))];
    match broker.findings(topic, fed_by).await {
        Ok(broken) => {
            findings.extend(broken.into_iter().map(|broken| Finding::warn(name.clone(), broken.what, broken.fix)));
        }
        Err(error) => {
            findings.push(Finding::warn(name, chain(&error).to_string(), "allow this client to describe the topic"));
        }
    }
    findings
}

/// Looks at PostgreSQL: whether it answers, whether the schema fits, whether it can be written to.
pub async fn database(database: &Database) -> Vec<Finding> {
    let name = "postgresql";
    let schema = match database.schema().await {
        Err(error) => {
            return vec![Finding::fail(name, chain(&error).to_string(), "check database.url and that the server runs")];
        }
        Ok(schema) => schema,
    };
    if !matches!(schema, Schema::Fits { .. }) {
        return vec![Finding::fail(
            name,
            schema.to_string(),
            "run `issue-consumer migrate`, or deploy a build that fits",
        )];
    }
    match database.probe().await {
        Ok(()) => vec![Finding::ok(name, format!("{schema}, writes commit"))],
        Err(error) => vec![Finding::fail(
            name,
            chain(&error).to_string(),
            "use a primary with free disk, and a role that may write",
        )],
    }
}

/// Looks at Redis: whether it answers, and whether it keeps what it is given.
pub async fn redis(stock: &Stock) -> Vec<Finding> {
    let name = "redis";
    let found = match stock.server_findings().await {
        Err(error) => {
            return vec![Finding::fail(name, chain(&error).to_string(), "check redis.url and that the server runs")];
        }
        Ok(found) => found,
    };
    if let Err(error) = stock.probe().await {
        let fix = "use a primary with free memory, and a user that may run the scripts' commands";
        return vec![Finding::fail(name, chain(&error).to_string(), fix)];
    }
    if found.is_empty() {
        return vec![Finding::ok(name, "takes writes, evicts nothing, keeps an append-only file")];
    }
    let finding = |found| match found {
        ServerFinding::Evicts(policy) => {
            Finding::fail(name, format!("maxmemory-policy is {policy}"), "set maxmemory-policy noeviction")
        }
        ServerFinding::NotAppendOnly => Finding::warn(name, "the append-only file is off", "set appendonly yes"),
    };
    found.into_iter().map(finding).collect()
}
