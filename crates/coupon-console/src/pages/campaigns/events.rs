//! `/campaigns/{code}/events` and `/events/campaigns`: the figures once a second, as server-sent events.

use std::time::Duration;

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{Asked, Code, list, looks::look};
use crate::{Console, access::Caller, answer::Failure, params, streams::StreamPlace};

/// Time between two events.
const PERIOD: Duration = Duration::from_secs(1);
/// Events of one answer. The browser then asks again, and the guard looks again whether the operator may: a session that has
/// ended is told for so many seconds longer.
const MAX_EVENTS: u32 = 30;

/// An event while there are no figures.
#[derive(Serialize)]
struct NoFigures {
    away: String,
}

/// The figures of a campaign.
pub(in crate::pages) async fn of_campaign(State(console): State<Console>, caller: Caller, code: Code) -> Response {
    let found = async {
        let code = code.known()?;
        look(&console, &code).await?.ok_or_else(|| super::unknown(&code))?;
        Ok((code, place(&console, &caller)?))
    };
    match found.await {
        Err(failure) => console.answer(&caller, Err(failure)),
        Ok((code, place)) => answer(events(place, move || {
            let (console, caller, code) = (console.clone(), caller.clone(), code.clone());
            async move { Ok::<_, Failure>(look(&console, &code).await?.map(|look| look.seen_by(&caller))) }
        })),
    }
}

/// The figures of the page of campaigns, from PostgreSQL alone.
pub(in crate::pages) async fn of_list(
    State(console): State<Console>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = params::query::<Asked>(query.as_deref()).and_then(|asked| Ok((asked, place(&console, &caller)?)));
    match asked {
        Err(failure) => console.answer(&caller, Err(failure)),
        Ok((asked, place)) => answer(events(place, move || {
            let (console, asked) = (console.clone(), asked.clone());
            async move { list(&console, &asked).await }
        })),
    }
}

fn answer(events: impl Stream<Item = Result<Event, axum::Error>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new()).into_response()
}

/// Returns a place for one more stream of this operator.
fn place(console: &Console, caller: &Caller) -> Result<StreamPlace, Failure> {
    let detail = "too many event streams are open: close some, or ask for the page again and again instead";
    let refused = || Failure::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_STREAMS", detail);
    console.streams.open(&caller.name).ok_or_else(refused)
}

/// Returns an event a second with what `figures` gives. The stream keeps its place to its end.
fn events<T, F>(
    place: StreamPlace,
    figures: impl Fn() -> F + Send + 'static,
) -> impl Stream<Item = Result<Event, axum::Error>> + Send
where
    T: Serialize,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let mut ticks = interval_at(Instant::now(), PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((ticks, figures, place, 0_u32), |(mut ticks, figures, place, sent)| async move {
        if sent == MAX_EVENTS {
            return None;
        }
        ticks.tick().await;
        // The first one says how soon to ask again.
        let event = if sent == 0 { Event::default().retry(PERIOD) } else { Event::default() };
        let event = match figures().await {
            Ok(figures) => event.json_data(figures),
            Err(failure) => event.json_data(NoFigures { away: failure.detail().to_owned() }),
        };
        Some((event, (ticks, figures, place, sent + 1)))
    })
}
