//! The operators: they open, resize, reschedule, close, replay, reconcile and rebuild, by the real commands.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use chrono::{TimeDelta, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;

use super::Run;
use crate::wait::pause;

/// Between two new campaigns.
const BETWEEN_CAMPAIGNS: Duration = Duration::from_secs(25);
/// Between two commands.
const BREATH: Duration = Duration::from_secs(2);
/// Coupons of a campaign, at least and at most.
const COUPONS: std::ops::Range<u64> = 300..2_500;
/// How many commands that did not help are followed by a harder one.
const PATIENCE: usize = 3;

/// The operators of a run, who work one after the other.
pub(super) struct Operator {
    run: Arc<Run>,
    chance: StdRng,
    opened: usize,
    last_opened: Instant,
    /// Rebuilds in a row that did not succeed, by campaign.
    in_vain: BTreeMap<String, usize>,
}

impl Operator {
    pub(super) fn new(run: Arc<Run>) -> Self {
        let chance = StdRng::seed_from_u64(run.seed.wrapping_add(1));
        Self { run, chance, opened: 0, last_opened: Instant::now(), in_vain: BTreeMap::new() }
    }

    /// Opens the campaigns of the first minute.
    pub(super) async fn open_first(&mut self) -> Result<()> {
        for _ in 0..3 {
            let code = self.open_another().await?;
            let of_it = self.run.crowd.campaigns();
            of_it.iter().find(|campaign| campaign.code == code).context("the first campaigns can be opened")?;
        }
        Ok(())
    }

    /// Does what is due, then one thing by chance.
    pub(super) async fn work(&mut self) -> Result<()> {
        self.repair().await?;
        if self.last_opened.elapsed() >= BETWEEN_CAMPAIGNS {
            self.open_another().await?;
        } else {
            self.something().await?;
        }
        pause(BREATH).await;
        Ok(())
    }

    /// Creates and opens a campaign; members learn of it when that has succeeded.
    async fn open_another(&mut self) -> Result<String> {
        let (code, total) = (format!("SOAK-{}", self.opened), self.chance.random_range(COUPONS).to_string());
        self.opened += 1;
        self.last_opened = Instant::now();
        let create = crate::campaign::create(&code, &total);
        let soon = (Utc::now() + TimeDelta::seconds(5)).to_rfc3339();
        let begins_later = self.opened > 3 && self.chance.random_bool(0.2);
        let opens_at: &[&str] = if begins_later { &["--opens-at", soon.as_str()] } else { &[] };
        let words = [&create[..], opens_at].concat();
        let made = self.command("issuer-api", &words).await?;
        // An opening that broke off is finished by the next repair.
        let opened = made && self.command("issuer-api", &["coupon", "open", &code]).await?;
        if made && (opened || self.opened > 3) {
            self.run.crowd.learns_of(&code);
        }
        Ok(code)
    }

    /// Does one thing to a campaign, by chance.
    async fn something(&mut self) -> Result<()> {
        let campaigns = self.run.crowd.campaigns();
        let code = campaigns.choose(&mut self.chance).context("a campaign")?.code.clone();
        let code = code.as_str();
        let total = self.chance.random_range(COUPONS).to_string();
        let soon = (Utc::now() + TimeDelta::seconds(15)).to_rfc3339();
        let replay = ["replay", "--coupon", code, "--reason", "soak", "--yes", "--by", "olga"];
        let ending = ["coupon", "set-window", code, "--closes-at", soon.as_str()];
        match self.chance.random_range(0..10) {
            0 | 1 => self.command("issuer-api", &["coupon", "set-total", code, &total]).await?,
            2 => self.command("issuer-api", &["coupon", "close", code]).await?,
            3 => self.command("issuer-api", &["coupon", "open", code]).await?,
            4 => self.command("issuer-api", &ending).await?,
            5 => self.command("issuer-api", &["coupon", "set-window", code, "--no-closes-at"]).await?,
            6 => self.command("dlq-consumer", &replay).await?,
            7 => self.command("dlq-consumer", &[&replay[..], &["--dead-letters"]].concat()).await?,
            8 => {
                let words = ["reconcile", code, "--wait", "20", "--by", "olga", "--apply"];
                let end = words.len() - usize::from(self.chance.random_bool(0.5));
                self.command("dlq-consumer", &words[..end]).await?
            }
            _ => self.rebuild(code).await?,
        };
        Ok(())
    }

    /// Does what the runbook says of campaigns that are SUSPECT, that are being opened, or whose data Redis has lost;
    /// returns how many there were.
    pub(super) async fn repair(&mut self) -> Result<usize> {
        // Where it cannot be seen: looked at again when the servers are well.
        let Ok(sick) = self.sick().await else { return Ok(0) };
        for (code, is_opening) in &sick {
            // A rebuild that broke off is OPENING too, and continued by another rebuild.
            if *is_opening && self.command("issuer-api", &["coupon", "open", code]).await? {
                continue;
            }
            if self.rebuild(code).await? {
                self.in_vain.remove(code);
                continue;
            }
            let in_vain = self.in_vain.entry(code.clone()).or_default();
            *in_vain += 1;
            let is_hopeless = *in_vain >= PATIENCE;
            let letters = ["--coupon", code, "--reason", "soak", "--yes", "--by", "olga"];
            self.command("dlq-consumer", &[&["replay", "--dead-letters"], &letters[..]].concat()).await?;
            if is_hopeless {
                let all = ["compensate", "--up-to", "D9999999"];
                self.command("dlq-consumer", &[&all[..], &letters[..]].concat()).await?;
            }
        }
        Ok(sick.len())
    }

    async fn rebuild(&self, code: &str) -> Result<bool> {
        self.command("dlq-consumer", &["rebuild", code, "--wait", "20", "--yes", "--by", "olga"]).await
    }

    /// Campaigns that take a repair, and whether each is OPENING.
    async fn sick(&self) -> Result<Vec<(String, bool)>> {
        let rows = "SELECT coupon_code, status FROM coupons WHERE status <> 'DRAFT'";
        let rows: Vec<(String, String)> = sqlx::query_as(rows).fetch_all(&self.run.fleet.world.db).await?;
        let stock = self.run.fleet.stock().await?;
        let mut sick = Vec::new();
        for (code, status) in rows {
            let is_lost: bool = {
                let meta = crate::stock::key(&code, "meta");
                let there: u64 = redis::cmd("EXISTS").arg(meta).query_async(&mut stock.redis()).await?;
                there == 0
            };
            if is_lost || ["SUSPECT", "OPENING"].contains(&status.as_str()) {
                sick.push((code, status == "OPENING"));
            }
        }
        Ok(sick)
    }

    /// Compares all campaigns and puts right what differs, as a reconciliation at rest does.
    pub(super) async fn reconcile_all(&self) -> Result<bool> {
        self.command("dlq-consumer", &["reconcile", "--apply", "--wait", "30", "--by", "olga"]).await
    }

    /// Runs a command and keeps what came out; whether it succeeded.
    async fn command(&self, binary: &str, words: &[&str]) -> Result<bool> {
        let (began, at) = (Instant::now(), Utc::now());
        let output = self.run.fleet.world.run(binary, words).await;
        let (code, said) = match &output {
            Ok(output) => (output.code, format!("{}{}", output.stdout, output.stderr)),
            Err(error) => (None, format!("{error:#}")),
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let said: String = said.chars().take(2_000).collect();
        let line = json!({"at": at, "took_ms": took_ms, "command": format!("{binary} {}", words.join(" ")),
            "code": code, "said": said});
        self.run.kept.line("commands.jsonl", &line)?;
        Ok(code == Some(0))
    }
}
