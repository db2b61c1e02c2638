//! `/problems/{code}`, the `type` of a problem (RFC 9457): what it means, whether to ask again, what to tell the member; as a
//! page for a browser and as JSON for everybody else.

use std::fmt::Write;

use axum::{
    Json,
    extract::{Path, rejection::PathRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, VARY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{Html, IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Code, Problem, code::Retry, openapi::ProblemCode};

/// Value of `Cache-Control` of what changes with a release only.
pub(super) const FOR_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// The pages carry no script, no picture and no form.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'");

/// What a code of a problem means.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProblemPage")]
pub(super) struct Page {
    // Described by its type.
    #[schemars(with = "ProblemCode")]
    code: &'static str,
    /// The problem in a few words.
    title: &'static str,
    /// The HTTP status of the answers with this code.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// Whether the same request may be answered otherwise later.
    retryable: bool,
    /// What the code means, for the developer of a client.
    meaning: &'static str,
    /// Whether and when to ask again.
    retry: &'static str,
    /// What a shop may tell the member.
    tell: &'static str,
}

impl From<Code> for Page {
    fn from(code: Code) -> Self {
        let retryable = code.retry() == Retry::Wait;
        let retry = if retryable {
            "Send the same request again after the seconds of Retry-After, with a jitter and a deadline of your own."
        } else {
            "Do not send the same request again; it would be answered the same."
        };
        Self {
            code: code.as_str(),
            title: code.title(),
            status: code.status().as_u16(),
            retryable,
            meaning: code.meaning(),
            retry,
            tell: code.tell(),
        }
    }
}

/// `GET /problems`: all codes.
pub(super) async fn list(headers: HeaderMap) -> Response {
    let pages: Vec<Page> = Code::ALL.iter().copied().map(Page::from).collect();
    if !wants_html(&headers) {
        return answer(Json(pages));
    }
    let mut rows = String::from("<h1>Problems</h1><ul>");
    for page in pages {
        let Page { code, title, status, .. } = page;
        let _ = write!(rows, "<li><a href=\"/problems/{code}\">{code}</a> ({status}): {title}</li>");
    }
    answer(html("Problems", &(rows + "</ul>")))
}

/// `GET /problems/{code}`: one code; 404 for any other word.
pub(super) async fn show(path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Result<Response, Problem> {
    let word = path.map(|Path(word)| word).unwrap_or_default();
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == word);
    let page = Page::from(code.ok_or_else(|| Problem::new(Code::NotFound, "this API has no such code"))?);
    Ok(if wants_html(&headers) { answer(html(page.code, &page.to_html())) } else { answer(Json(page)) })
}

impl Page {
    fn to_html(&self) -> String {
        let Self { code, title, status, retryable: _, meaning, retry, tell } = self;
        let meaning = meaning.replace('&', "&amp;").replace('<', "&lt;");
        format!(
            "<h1>{title}</h1><p><code>{code}</code>, status {status}</p><h2>What it means</h2><p>{meaning}</p>\
             <h2>Whether to ask again</h2><p>{retry}</p><h2>What to tell the member</h2><p>{tell}</p>\
             <p><a href=\"/problems\">All problems</a></p>"
        )
    }
}

/// Browsers name HTML, clients of an API do not.
fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn html(title: &str, body: &str) -> impl IntoResponse + use<> {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:1rem/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}}\
         h2{{font-size:1rem}}</style><main>{body}</main></html>\n"
    );
    ([(CONTENT_SECURITY_POLICY, POLICY), (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))], Html(page))
}

fn answer(of: impl IntoResponse) -> Response {
    let headers: [(HeaderName, HeaderValue); 2] =
        [(CACHE_CONTROL, FOR_MINUTES), (VARY, HeaderValue::from_static("accept"))];
    (headers, of).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_table_need_no_escape_where_they_get_none() {
        for code in Code::ALL {
            let page = Page::from(*code);
            for text in [page.code, page.title, page.tell, page.retry] {
                assert!(!text.contains(['&', '<', '>', '"']), "{text}");
            }
            assert!([page.meaning, page.tell].iter().all(|text| text.ends_with('.')), "{code:?}");
        }
    }
}
