//! The answers of an operation: those that are no problem, the problems by status, and what any route may say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    super::{Code, code::Retry},
    operations::{ANY_ROUTE, Answer, EVERYWHERE, Operation},
    reference,
};

/// `components.headers`.
pub(super) fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "Location": header("Where the request is shown: the path of showIssue.", json!({ "type": "string", "format": "uri-reference" })),
        "Retry-After": header("Seconds after which to ask again.", json!({ "type": "integer", "minimum": 1 })),
        "WWW-Authenticate": header("`Bearer`; with `error=\"invalid_token\"` if a token came and does not count.", text()),
        "Cache-Control": header("`no-store` of what is one member's; else for how long the answer may be reused.", text()),
        "ETag": header("Names the answer, for If-None-Match.", text()),
        "X-Request-Id": header("The name of the request: as it came, or else made here. It stands in the log.", text()),
    })
}

/// The responses of an operation by status.
pub(super) fn of(operation: &Operation) -> Map<String, Value> {
    let mut responses = Map::new();
    for answer in operation.answers {
        responses.insert(answer.status.to_string(), answered(operation, answer));
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in operation.codes.iter().chain(EVERYWHERE) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        responses.insert(status.to_string(), problems(&codes));
    }
    responses.insert("default".to_owned(), reference("responses", "Problem"));
    responses
}

/// The response `default`.
pub(super) fn any_route() -> Value {
    let mut response = problems(ANY_ROUTE);
    let says = response["description"].as_str().unwrap_or_default();
    response["description"] = format!("Any other problem. What is no request of this API is one of:\n\n{says}").into();
    response
}

fn answered(operation: &Operation, answer: &Answer) -> Value {
    let headers = answer.headers.iter().map(|name| ((*name).to_owned(), reference("headers", name)));
    let mut response = json!({ "description": answer.description, "headers": headers.collect::<Map<_, _>>() });
    if answer.schema.is_empty() {
        return response;
    }
    let mut content = json!({ "schema": reference("schemas", answer.schema) });
    if !answer.examples.is_empty() {
        content["examples"] = examples(answer.examples.iter().copied());
    }
    response["content"] = json!({ "application/json": content });
    if answer.schema.starts_with("ProblemPage") {
        response["content"]["text/html"] = json!({ "schema": { "type": "string" } });
    }
    if answer.headers.contains(&"Location") {
        let parameters = json!({ "code": "$request.path.code", "request_id": "$response.body#/request_id" });
        let description = format!("The request that {} made or found.", operation.id);
        response["links"] = json!({
            "showIssue": { "operationId": "showIssue", "description": description, "parameters": parameters },
        });
    }
    response
}

/// Problems of one response.
fn problems(codes: &[Code]) -> Value {
    let lines: Vec<String> = codes.iter().map(|code| format!("- `{}`: {}", code.as_str(), code.meaning())).collect();
    let mut headers = Map::new();
    let mut header = |name: &str, is_there: bool| {
        if is_there {
            headers.insert(name.to_owned(), reference("headers", name));
        }
    };
    header("Cache-Control", true);
    header("Retry-After", codes.iter().any(|code| code.retry() == Retry::Wait));
    header("WWW-Authenticate", codes.contains(&Code::Unauthenticated));
    header("X-Request-Id", codes.iter().any(|code| code.status().is_server_error()));
    json!({
        "description": lines.join("\n"),
        "headers": headers,
        "content": {
            "application/problem+json": {
                "schema": reference("schemas", "Problem"),
                "examples": examples(codes.iter().map(|code| code.as_str())),
            },
        },
    })
}

fn examples<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    names.map(|name| (name.to_owned(), reference("examples", name))).collect::<Map<_, _>>().into()
}
