//! What `deploy/monitoring` asks for is what the binaries export: not only the names, also the labels and their values,
//! because a rule that selects nothing is never broken and never fires.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{wait::eventually, webhook::Webhook, world::World};

use crate::{SOON, webhooks::telling_shop};

/// A line of `/metrics` without its value, with the label `job` that the scrape adds.
#[derive(Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

/// A metric as a rule or a query selects it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Selector {
    name: String,
    /// Label, and the values of which it has to have one. What only a dashboard fills in is left out.
    matchers: Vec<(String, Vec<String>)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_selector_of_the_rules_and_dashboards_finds_what_the_binaries_export() -> Result<()> {
    let selectors = selectors_of_deploy()?;
    ensure!(selectors.len() > 40, "only {} selectors were found", selectors.len());
    let world = World::new().await?.publishing_decisions();
    // Nobody asks for anything: what is counted has to be there before its first event.
    world.open_campaign("OPEN", 10).await?;
    let shop = Webhook::start().await?;
    let (api, issue_consumer) = (world.start_api().await?, world.start_issue_consumer().await?);
    let dlq_consumer = telling_shop(&world, &shop)?.await?;
    let processes = [("issuer-api", &api), ("issue-consumer", &issue_consumer), ("dlq-consumer", &dlq_consumer)];
    eventually("every selector finds something", SOON, async || -> Result<bool> {
        let mut exported = Vec::new();
        for (job, process) in processes {
            exported.extend(process.metrics().await?.lines().filter_map(|line| series(line, job)));
        }
        let in_vain: Vec<_> = selectors.iter().filter(|selector| !finds(selector, &exported)).collect();
        ensure!(in_vain.is_empty(), "these select nothing: {in_vain:#?}");
        Ok(true)
    })
    .await
}

#[test]
fn a_selector_with_a_wrong_name_label_or_value_finds_nothing() {
    let page = "# TYPE coupon_a_total counter\ncoupon_a_total{outcome=\"OK\",kind=\"x\"} 0\ncoupon_b 1";
    let exported: Vec<_> = page.lines().filter_map(|line| series(line, "issuer-api")).collect();
    let found = |text: &str| selectors(text).iter().all(|selector| finds(selector, &exported));
    for right in [
        r#"rate(coupon_a_total{outcome="OK"}[5m]) + coupon_b"#,
        r#"coupon_a_total{job="issuer-api", kind=~"x", outcome!="BAD", instance=~"$instance"}"#,
    ] {
        assert!(found(right), "{right}");
    }
    for wrong in [
        "coupon_a",
        "coupon_b_total",
        r#"coupon_a_total{outcome="BAD"}"#,
        r#"coupon_a_total{outcome=~"OK|BAD"}"#,
        r#"coupon_a_total{outcame="OK"}"#,
        r#"coupon_b{job="dlq-consumer"}"#,
    ] {
        assert_eq!(selectors(wrong).len(), 1, "{wrong}");
        assert!(!found(wrong), "{wrong}");
    }
}

/// All selectors of the rules and of the dashboards, each once.
fn selectors_of_deploy() -> Result<Vec<Selector>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/monitoring");
    let mut all = Vec::new();
    for kind in ["rules", "dashboards"] {
        let folder = folder.join(kind);
        for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            // In JSON the quotes of a query are escaped.
            all.extend(selectors(&fs::read_to_string(entry?.path())?.replace("\\\"", "\"")));
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// Returns every metric of the pipeline that a text names.
fn selectors(text: &str) -> Vec<Selector> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = text.match_indices("coupon_").map(|(at, _)| at);
    let starts = starts.filter(|at| !text[..*at].ends_with(is_of_name));
    starts
        .map(|at| {
            let rest = &text[at..];
            let (name, rest) = rest.split_at(rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()));
            let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let matchers =
                matchers.map_or_else(Vec::new, |(inside, _)| inside.split(',').filter_map(matcher).collect());
            Selector { name: name.to_owned(), matchers }
        })
        .collect()
}

/// `label="value"` or `label=~"one|other"`; others only narrow down what these choose.
fn matcher(text: &str) -> Option<(String, Vec<String>)> {
    let (label, value) = text.trim().split_once('=')?;
    let (is_pattern, value) = value.strip_prefix('~').map_or((false, value), |value| (true, value));
    let value = value.trim_matches('"');
    if label.ends_with('!') || value.starts_with('$') {
        return None;
    }
    let values = if is_pattern { value.split('|').collect() } else { vec![value] };
    Some((label.to_owned(), values.into_iter().map(str::to_owned).collect()))
}

fn series(line: &str, job: &str) -> Option<Series> {
    let (series, _value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
    let mut labels: BTreeMap<_, _> =
        labels.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect();
    labels.insert("job".to_owned(), job.to_owned());
    Some(Series { name: name.to_owned(), labels })
}

/// Whether it selects something, with each of the values that it names; of a bound (`le`) with one of them, because it may
/// be written in two ways.
fn finds(selector: &Selector, exported: &[Series]) -> bool {
    let is_one_of = |series: &Series, (label, values): &(String, Vec<String>)| {
        series.labels.get(label).is_some_and(|value| values.contains(value))
    };
    let of_name = exported.iter().filter(|series| series.name == selector.name);
    let chosen: Vec<_> =
        of_name.filter(|series| selector.matchers.iter().all(|matcher| is_one_of(series, matcher))).collect();
    let has = |label: &String, value: &String| chosen.iter().any(|series| series.labels.get(label) == Some(value));
    let mut all_of = selector.matchers.iter().filter(|(label, _)| label != "le");
    !chosen.is_empty() && all_of.all(|(label, values)| values.iter().all(|value| has(label, value)))
}
