//! `/campaigns/{code}/issues/export`: the decisions of a campaign as a file, streamed page by page.

use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use coupon_core::repo::coupon_issues::DecisionFilter;
use coupon_operations::export::{Export, ExportFormat, Exported, Piece, latest_bound};
use futures_util::stream;
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{Code, find, issues::decision};
use crate::{
    Console,
    access::{Caller, urlencode},
    answer::Failure,
    params,
};

/// Name of the trailer with the digest (RFC 9530); clients that ask for trailers (`TE: trailers`) get it.
const DIGEST: &str = "repr-digest";

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Asked {
    /// csv or jsonl.
    format: Option<String>,
    /// Only this decision.
    decision: Option<String>,
    /// Only what was decided before this time: with the same bound the same bytes.
    decided_before: Option<DateTime<Utc>>,
}

/// `GET /campaigns/{code}/issues/export`. Without a bound it leads to the same with one, so that the address is the whole state.
pub(in crate::pages) async fn export(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    RawQuery(query): RawQuery,
) -> Response {
    let answer = begin(&console, &caller, &code, query.as_deref()).await;
    console.answer(&caller, answer)
}

async fn begin(console: &Console, caller: &Caller, code: &Code, query: Option<&str>) -> Result<Response, Failure> {
    let asked: Asked = params::query(query)?;
    let format = match asked.format.as_deref() {
        None | Some("csv") => ExportFormat::Csv,
        Some("jsonl") => ExportFormat::Jsonl,
        Some(other) => {
            return Err(Failure::bad_input(format!("the address: {other:?} is no format; csv and jsonl are")));
        }
    };
    let decision = decision(asked.decision.as_deref())?;
    let code = find(console, code).await?.code;
    let latest = latest_bound(console.operations.clock.now());
    let Some(decided_before) = asked.decided_before else {
        let decision = decision.map(|decision| format!("&decision={decision}")).unwrap_or_default();
        let bound = urlencode(&latest.to_rfc3339_opts(SecondsFormat::Secs, true));
        let format = format.as_str();
        let path = format!("/campaigns/{code}/issues/export?format={format}{decision}&decided_before={bound}");
        return Ok(Redirect::to(&format!("{}{path}", console.base_path())).into_response());
    };
    if decided_before > latest {
        let detail = format!(
            "decided_before may be {} at the latest: what is decided later may still be on its way into PostgreSQL",
            latest.to_rfc3339_opts(SecondsFormat::Secs, true)
        );
        return Err(Failure::bad_input(detail));
    }
    let filter = DecisionFilter { decision, decided_before: Some(decided_before) };
    let name = format!("{code}-{}.{}", decided_before.format("%Y%m%dT%H%M%SZ"), format.as_str());
    let operations = console.operations.in_the_name_of(caller.identity(""));
    Ok(file(operations.begin_export(code, format, filter).await?, format, &name))
}

/// Returns the file. Its digest is known at its end: it is in the audit, on the page, and in the trailer.
fn file(export: Export, format: ExportFormat, name: &str) -> Response {
    let (ended, end) = oneshot::channel();
    let pieces = stream::try_unfold((export, ended), |(mut export, ended)| async move {
        match export.next().await {
            Ok(Piece::Text(text)) => Ok(Some((text, (export, ended)))),
            Ok(Piece::End(exported)) => {
                // Nobody reads it when the client is gone.
                let _ = ended.send(exported);
                Ok(None)
            }
            Err(error) => {
                // The connection is broken off, so that no client takes a part for the whole.
                tracing::warn!("an export of the console was broken off: {error:#}");
                Err(std::io::Error::other(error))
            }
        }
    });
    let trailers = async move { end.await.ok().map(|exported| Ok(digest(&exported))) };
    let content_type = match format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Jsonl => "application/jsonl; charset=utf-8",
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::TRAILER, HeaderValue::from_static(DIGEST)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).expect("a code and a time are ASCII")),
    ];
    (headers, Body::new(Body::from_stream(pieces).with_trailers(trailers))).into_response()
}

fn digest(Exported { sha256, .. }: &Exported) -> HeaderMap {
    let bytes = (0..sha256.len()).step_by(2).filter_map(|at| u8::from_str_radix(sha256.get(at..at + 2)?, 16).ok());
    let value = format!("sha-256=:{}:", STANDARD.encode(bytes.collect::<Vec<u8>>()));
    let mut trailers = HeaderMap::new();
    trailers.insert(DIGEST, HeaderValue::from_str(&value).expect("base64 is ASCII"));
    trailers
}
