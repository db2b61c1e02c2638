//! `/requests/{request_id}`: what became of a request, as a picture and as a list.

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_operations::lookups::{AskedRedis, Outcome, RequestTimeline, Step};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::links;
use crate::{
    Console,
    access::{Caller, Role, Verb},
    answer::{Failure, Frame, View},
    params, show,
    tile::Tile,
};

/// Height of a step in the picture.
const STEP_HEIGHT: usize = 52;
/// What `?redis=yes` does; it is no route of its own.
const ASK_REDIS: Verb =
    Verb { name: "requests.ask-redis", method: "GET", path: "/requests/{request_id}", role: Role::Support };

/// What is asked of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Asked {
    /// `yes`: ask Redis too.
    redis: Option<String>,
}

/// The page.
#[derive(Debug, Serialize)]
struct RequestView {
    #[serde(flatten)]
    request: RequestTimeline,
    /// What Redis says; `null`: it was not asked.
    redis: Option<Tile<AskedRedis>>,
}

/// A step of the picture: where it stands, and the time since the one before.
struct Station<'a> {
    step: &'a Step,
    y: usize,
    gap: Option<String>,
    class: &'static str,
}

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage<'a> {
    frame: &'a Frame,
    page: &'a RequestView,
    stations: Vec<Station<'a>>,
    height: usize,
}

impl View for RequestView {
    fn title(&self) -> String {
        format!("Request {}", self.request.request_id)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let stations = stations(&self.request.steps);
        let height = stations.len() * STEP_HEIGHT;
        RequestPage { frame, page: self, stations, height }.render()
    }
}

fn stations(steps: &[Step]) -> Vec<Station<'_>> {
    let mut before: Option<DateTime<Utc>> = None;
    let mut stations = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let gap = step.at.zip(before).map(|(at, before)| gap(at - before));
        before = step.at.or(before);
        let class = match step.outcome {
            Outcome::Done => "good",
            Outcome::Failed => "bad",
            Outcome::Waits => "warn",
        };
        stations.push(Station { step, y: index * STEP_HEIGHT, gap, class });
    }
    stations
}

/// A span of time, to the millisecond where it is short.
fn gap(span: TimeDelta) -> String {
    let ms = span.num_milliseconds();
    match ms {
        -999..=999 => format!("{ms} ms"),
        1_000..=119_999 => format!("{:.1} s", span.as_seconds_f64()),
        ..=-1_000 => "the clocks differ".to_owned(),
        _ => show::span(span),
    }
}

/// `GET /requests/{request_id}`.
pub(super) async fn show(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let view = view(&console, &caller, &id, query.as_deref()).await;
    console.answer(&caller, view.map(|view| console.show(&caller, &view)))
}

async fn view(console: &Console, caller: &Caller, id: &str, query: Option<&str>) -> Result<RequestView, Failure> {
    let asked: Asked = params::query(query)?;
    let id =
        Uuid::try_parse(id).map_err(|_| Failure::bad_input("a request id is a UUID, as logs and answers name it"))?;
    let asks_redis = match asked.redis.as_deref() {
        None | Some("no") => false,
        Some("yes") => true,
        Some(_) => return Err(Failure::bad_input("redis is yes or no")),
    };
    if asks_redis && !caller.may(ASK_REDIS.role) {
        console.deny_role(caller, &ASK_REDIS, &format!("/requests/{id}")).await;
        return Err(Failure::forbidden(&ASK_REDIS, caller));
    }
    let mut request = console.operations.request_timeline(id).await?.ok_or_else(|| {
        let detail = format!(
            "nothing is known of the request {id}: it was refused, or was never made, or is accepted and not written yet; \
             what a member holds in Redis is shown on the member's page"
        );
        Failure::not_found(detail)
    })?;
    let redis = if asks_redis { Some(Tile::of("Redis", console.operations.ask_redis(&request)).await) } else { None };
    request.member_id = request.member_id.map(|member| caller.member(&member));
    Ok(RequestView { request, redis })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_in_the_unit_that_it_has() {
        let told = [12, 1_500, 180_000, -3, -5_000].map(|ms| gap(TimeDelta::milliseconds(ms)));
        assert_eq!(told, ["12 ms", "1.5 s", "3 min", "-3 ms", "the clocks differ"]);
    }
}
