//! Operators who open one page after the other.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use coupon_e2e::console::{self, Console};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use reqwest::{StatusCode, header};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::site::Site;
use crate::figures::{Figure, Unit};

/// Longest time of a page that the histogram distinguishes, in µs; the client waits no longer.
const LONGEST_US: u64 = 20_000_000;

/// Who opens which pages, and how often.
pub struct Operators {
    console: Console,
    /// The session of an admin, who may see everything.
    cookie: String,
    paths: Vec<(&'static str, String)>,
    count: u32,
    every: Duration,
    slowest: Mutex<BTreeMap<&'static str, Vec<f64>>>,
}

/// How long the pages of one run took.
pub struct Pages {
    /// Of all pages, in µs.
    pub all: Histogram<u64>,
    each: BTreeMap<&'static str, f64>,
    took: Duration,
}

impl Operators {
    /// Logs in, and opens each page once.
    pub async fn new(site: &Site, count: u32, every: f64) -> Result<Self> {
        let console = site.console.clone();
        let cookie = console.session(&console::operator(&site.world, "bench", "admin").await?).await?;
        let (slowest, every) = (Mutex::default(), Duration::from_secs_f64(every));
        let operators = Self { console, cookie, paths: site.pages().await?, count, every, slowest };
        for place in 0..operators.paths.len() {
            operators.open(place).await?;
        }
        Ok(operators)
    }

    /// Asks for a path, logged in.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.console.get(path).header(header::COOKIE, &self.cookie)
    }

    /// Opens pages until `work` is done, and returns what both have shown.
    pub async fn while_they_browse<T>(&self, work: impl Future<Output = T>) -> (T, Result<Pages>) {
        let (began, taken) = (Instant::now(), Mutex::new(Vec::new()));
        let browsing = try_join_all((0..self.count).map(|operator| self.browse(operator, &taken)));
        tokio::pin!(work);
        let (done, failed) = tokio::select! {
            done = &mut work => (done, None),
            Err(failed) = browsing => (work.await, Some(failed)),
        };
        let taken = taken.into_inner().unwrap_or_default();
        (done, failed.map_or_else(|| Pages::of(&taken, began.elapsed()), Err))
    }

    async fn browse(&self, operator: u32, taken: &Mutex<Vec<(&'static str, Duration)>>) -> Result<()> {
        // They neither begin at one moment nor with one page.
        sleep(self.every * operator / self.count).await;
        let mut turn = interval(self.every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for place in (0..self.paths.len()).cycle().skip(operator as usize * self.paths.len() / self.count as usize) {
            turn.tick().await;
            let opened = self.open(place).await?;
            taken.lock().map_err(|_| anyhow::anyhow!("a panic"))?.push((self.paths[place].0, opened));
        }
        Ok(())
    }

    async fn open(&self, place: usize) -> Result<Duration> {
        let (name, path) = &self.paths[place];
        let began = Instant::now();
        let mut answer = self.get(path).send().await.with_context(|| (*name).to_owned())?;
        // A list leads to the same list with a bound.
        if answer.status() == StatusCode::SEE_OTHER {
            let to = answer.headers().get(header::LOCATION).context("no location")?.to_str()?.to_owned();
            answer = self.get(&to).send().await?;
        }
        let (status, body) = (answer.status(), answer.bytes().await?);
        ensure!(status.is_success(), "{path}: {status}");
        ensure!(body.len() <= 100_000, "{path} has {} bytes, more than 100 kB", body.len());
        Ok(began.elapsed())
    }

    /// Keeps the slowest of each page for the figures.
    pub fn keep(&self, pages: Pages) {
        let mut slowest = self.slowest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, ms) in pages.each {
            slowest.entry(name).or_default().push(ms);
        }
    }

    /// The slowest of each page.
    pub fn figures(&self) -> Vec<Figure> {
        let slowest = self.slowest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let figure = |(name, rounds): (&&str, &Vec<f64>)| {
            let id = format!("browse.slowest_{}", name.replace(' ', "_"));
            Figure::new(&id, &format!("slowest opening: {name}"), Unit::Ms, rounds.iter().copied())
        };
        slowest.iter().map(figure).collect()
    }
}

impl Pages {
    fn of(taken: &[(&'static str, Duration)], took: Duration) -> Result<Self> {
        let mut pages = Self { all: Histogram::new_with_bounds(1, LONGEST_US, 3)?, each: BTreeMap::new(), took };
        for (name, time) in taken {
            pages.all.saturating_record(u64::try_from(time.as_micros())?);
            let slowest = pages.each.entry(name).or_default();
            *slowest = slowest.max(time.as_secs_f64() * 1000.0);
        }
        ensure!(!taken.is_empty(), "no page was opened; make the run longer");
        Ok(pages)
    }

    /// Pages opened a second.
    #[expect(clippy::cast_precision_loss, reason = "counts of pages are far below 2^53")]
    pub fn per_second(&self) -> f64 {
        self.all.len() as f64 / self.took.as_secs_f64()
    }
}
