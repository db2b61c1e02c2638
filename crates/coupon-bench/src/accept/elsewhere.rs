//! `coupon-bench accept --url`: the open-loop load alone, against a system that speaks the same API somewhere else. Only
//! what a client can see is checked.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use coupon_e2e::member::token::Signer;
use url::Url;
use uuid::Uuid;

use crate::{
    load::{Load, Outcome, Requests, Schedule, quantile_ms, request_id},
    progress,
};

/// Another system; each argument can be a variable of the environment.
#[derive(Debug, Args)]
#[command(next_help_heading = "Another system, asked at a fixed rate, without limits and without an oracle")]
pub struct Elsewhere {
    /// Ask this system, `http://host:port`, and start nothing.
    #[arg(long, value_name = "URL", env = "COUPON_URL", requires_all = ["coupon", "secret_file", "issuer", "audience"])]
    url: Option<Url>,
    /// Code of an open campaign there.
    #[arg(long, value_name = "CODE", env = "COUPON_CODE")]
    coupon: Option<String>,
    /// File with the secret by which it believes tokens of HS256.
    #[arg(long, value_name = "FILE", env = "COUPON_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// The claim `iss` that it wants.
    #[arg(long, value_name = "ISS", env = "COUPON_ISSUER")]
    issuer: Option<String>,
    /// The claim `aud` that it wants.
    #[arg(long, value_name = "AUD", env = "COUPON_AUDIENCE")]
    audience: Option<String>,
    /// Requests a second, each of another member.
    #[arg(long, value_name = "R", env = "COUPON_RATE", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: u32,
    /// Number of the first member: members that have asked before get the coupon they have.
    #[arg(long, value_name = "N", env = "COUPON_FIRST_MEMBER", default_value_t = 0)]
    first_member: usize,
    /// Coupons of the campaign, to see that no more are held.
    #[arg(long, value_name = "N", env = "COUPON_TOTAL")]
    total: Option<usize>,
}

impl Elsewhere {
    /// Whether another system is meant.
    pub fn is_meant(&self) -> bool {
        self.url.is_some()
    }

    /// Asks for so many seconds, prints what was seen and fails if it contradicts itself.
    pub async fn run(&self, seconds: f64) -> Result<()> {
        let url = self.url.as_ref().context("--url is not given")?;
        ensure!(url.scheme() == "http", "--url begins with {}:// and not with http://", url.scheme());
        let host = url.host_str().context("--url has no host")?;
        let port = url.port_or_known_default().context("--url has no port")?;
        let address = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?.next();
        let address = address.with_context(|| format!("{host} has no address"))?;
        let code = self.coupon.as_deref().context("--coupon is not given")?;

        let schedule = Schedule::steady(f64::from(self.rate), seconds);
        let named = format!("{host}:{port}");
        let requests = Requests::make(&self.signer()?, &named, code, self.first_member, schedule.len())?;
        let running = progress::step(&format!("{} requests a second to {named}", self.rate));
        let outcome = Load::planned(address, requests, schedule).run().await?;
        running.finish_and_clear();
        show(&outcome)?;

        let held = outcome.records.iter().filter(|record| matches!(record.status, 200 | 202));
        let held = held.map(|record| (outcome.requests.member(record.index), request_id(outcome.body(record))));
        let wrong = wrong(held, self.total);
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        println!(
            "checked from outside: no reservation was told to two members{}",
            match self.total {
                Some(total) => format!(", and no more than {total} hold one"),
                None => String::new(),
            }
        );
        println!("not measured here: limits; not checked: whether each reservation has its row (no oracle)");
        Ok(())
    }

    fn signer(&self) -> Result<Signer> {
        let file = self.secret_file.as_deref().context("--secret-file is not given")?;
        let secret = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let (issuer, audience) = (self.issuer.as_deref(), self.audience.as_deref());
        Ok(Signer::new(
            secret.trim_end(),
            issuer.context("--issuer is not given")?,
            audience.context("--audience is not given")?,
        ))
    }
}

fn show(outcome: &Outcome) -> Result<()> {
    let latencies = outcome.latencies()?;
    println!("answers by status: {}", outcome.statuses());
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|quantile| quantile_ms(&latencies, quantile));
    println!(
        "latency from the planned moment: p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, longest {most:.1} ms"
    );
    if outcome.unanswered() > 0 {
        println!("requests without an answer count with the longest latency");
    }
    let (own, busy) = (Duration::from_millis(outcome.cpu_ms), outcome.busy() * 100.0);
    println!("CPU time of the load generator: {:.2} s, {busy:.0} % of one core", own.as_secs_f64());
    if busy > 90.0 {
        println!("that is its limit: a part of the latency is its own");
    }
    Ok(())
}

/// Returns what contradicts the promises in the members and the reservations that the answers gave them.
fn wrong<'a>(held: impl Iterator<Item = (&'a str, Option<Uuid>)>, total: Option<usize>) -> Vec<String> {
    let (mut holders, mut wrong, mut count) = (HashMap::new(), Vec::new(), 0);
    for (member, id) in held {
        count += 1;
        match id {
            None => wrong.push(format!("{member} holds a coupon, and the answer names no reservation")),
            Some(id) => {
                if let Some(other) = holders.insert(id, member) {
                    wrong.push(format!("{id} was told to {other} and to {member}"));
                }
            }
        }
    }
    if let Some(total) = total.filter(|total| count > *total) {
        wrong.push(format!("{count} members hold a coupon of {total}"));
    }
    let more = wrong.len().saturating_sub(10);
    wrong.truncate(10);
    if more > 0 {
        wrong.push(format!("and {more} more like these"));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sees_reservations_told_twice_and_too_many_holders() {
        let [one, two] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let seen = |held: &[(&'static str, Option<Uuid>)], total| wrong(held.iter().copied(), total);
        assert!(seen(&[("a", Some(one)), ("b", Some(two))], Some(2)).is_empty());
        assert_eq!(seen(&[("a", Some(one)), ("b", Some(two))], Some(1)), ["2 members hold a coupon of 1"]);
        let twice = format!("{one} was told to a and to b");
        assert_eq!(seen(&[("a", Some(one)), ("b", Some(one))], None), [twice]);
        assert_eq!(seen(&[("a", None)], None).len(), 1);
        let many: Vec<_> = (0..30).map(|_| ("a", None)).collect();
        assert_eq!(seen(&many, None).last().unwrap(), "and 20 more like these");
    }
}
