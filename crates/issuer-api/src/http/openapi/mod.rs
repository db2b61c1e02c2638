//! The description of the API for machines, from the handlers' own types, the table of codes and that of operations; in two
//! renderings: `OpenAPI` 3.1, and 3.0 for generators that read only that.

mod examples;
mod operations;
mod responses;
mod words;

use std::sync::LazyLock;

use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::IntoResponse,
};
use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{coupon, problem, problem_page, status};
use operations::{OPERATIONS, Operation};
pub(super) use words::{CouponStatus, IssueState, ProblemCode};

/// What a coupon code is.
pub(super) const CODE_PATTERN: &str = "^[A-Za-z0-9_-]{1,50}$";

const DESCRIPTION: &str = "First come, first served.\n\n\
    The member is the subject of the verified token, and never part of a path or a body. An acceptance is a unit set aside, not \
    a coupon yet: it ends as a coupon (`issued`), or, after a failure that nobody could mend, is `compensated`. Neither happens \
    in silence: showIssue tells.\n\n\
    Errors are `application/problem+json` (RFC 9457) with a stable `code`. `type` leads to a page that says what the code means, \
    whether to ask again, and what to tell the member. Codes and members of objects are added: whoever does not know a code acts \
    by the status. `state` and `status` are closed.\n\n\
    Every 408, 429, 500, 503 and 409 NOT_OPEN says in Retry-After when to ask again, and `retryable` is true. After a 500 or 503 \
    the outcome is unknown or negative, and asking again is safe: (campaign, member) is the key of a request, so no \
    Idempotency-Key is needed, and one that is sent is ignored.\n\n\
    An X-Request-Id that is short and plain comes back with the answer; an answer of 5xx has one in any case. A `traceparent` is \
    taken up.";

/// The two renderings, made once.
static DOCUMENTS: LazyLock<[String; 2]> = LazyLock::new(|| [document(), as_3_0(document())].map(|of| print(&of)));

fn print(document: &Value) -> String {
    format!("{document:#}\n")
}

/// `GET /openapi.json`.
pub(super) async fn show_3_1() -> impl IntoResponse {
    answer(&DOCUMENTS[0])
}

/// `GET /openapi-3.0.json`.
pub(super) async fn show_3_0() -> impl IntoResponse {
    answer(&DOCUMENTS[1])
}

fn answer(document: &'static str) -> impl IntoResponse {
    let json = HeaderValue::from_static("application/json");
    let headers: [(HeaderName, HeaderValue); 2] = [(CONTENT_TYPE, json), (CACHE_CONTROL, problem_page::FOR_MINUTES)];
    (headers, document)
}

/// The document as `OpenAPI` 3.1.
fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        item[operation.method] = describe(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Coupon issuing",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
            "description": DESCRIPTION,
        },
        "servers": [{ "url": "/", "description": "The API that serves this document." }],
        "tags": [
            { "name": "issuing", "description": "Campaigns, and the requests of the member." },
            { "name": "documents", "description": "What the answers mean." },
        ],
        "security": [{ "member": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "member": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A token that names the member, signed by an issuer that the operator has set.",
                },
            },
            "schemas": schemas(),
            "parameters": parameters(),
            "headers": responses::headers(),
            "examples": examples::all(),
            "responses": { "Problem": responses::any_route() },
        },
    })
}

/// The schemas of all answers.
fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    generator.subschema_for::<status::Answer>();
    generator.subschema_for::<status::PageAnswer>();
    generator.subschema_for::<coupon::Answer>();
    generator.subschema_for::<problem::Members<'static>>();
    generator.subschema_for::<problem_page::Page>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert(
        "ProblemPages".to_owned(),
        json!({
            "description": "What each code of a problem means.",
            "type": "array", "items": { "$ref": "#/components/schemas/ProblemPage" },
        }),
    );
    schemas.insert(
        "Document".to_owned(),
        json!({ "description": "A document for machines: OpenAPI or AsyncAPI.", "type": "object", "additionalProperties": true }),
    );
    schemas
}

fn parameters() -> Value {
    let parameter = |name: &str, place: &str, description: &str, schema: Value| json!({ "name": name, "in": place, "required": place == "path", "description": description, "schema": schema });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": status::MAX_PAGE_REQUESTS, "default": status::PAGE_REQUESTS });
    json!({
        "Code": parameter("code", "path", "The public name of the campaign.", json!({ "type": "string", "pattern": CODE_PATTERN })),
        "RequestId": parameter("request_id", "path", "The request, as the answer to the POST named it.", uuid()),
        "ProblemCode": parameter("problem_code", "path", "The `code` of a problem.", json!({ "type": "string" })),
        "Limit": parameter("limit", "query", "Requests on a page.", limit),
        "Before": parameter("before", "query", "The `next` of the page before.", uuid()),
        "IdempotencyKey": parameter(
            "Idempotency-Key",
            "header",
            "Accepted and ignored. The key of a request is (campaign, member): however often a member asks, with whatever key, \
             there is one request and one coupon.",
            json!({ "type": "string" }),
        ),
        "Admission": parameter(
            "Coupon-Admission",
            "header",
            "The token of the campaign's waiting room: a JWT with the claims sub (the member), campaign, exp, iss and aud. Only of a \
             campaign that requires admission is it read.",
            json!({ "type": "string" }),
        ),
        "IfNoneMatch": parameter(
            "If-None-Match", "header", "The ETag of an answer that is known already.", json!({ "type": "string" })
        ),
    })
}

fn describe(operation: &Operation) -> Value {
    let parameters: Vec<Value> = operation.parameters.iter().map(|name| reference("parameters", name)).collect();
    let mut described = json!({
        "operationId": operation.id,
        "tags": [if operation.path.starts_with("/api/") { "issuing" } else { "documents" }],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": parameters,
        "responses": responses::of(operation),
    });
    if !operation.needs_token {
        described["security"] = json!([]);
    }
    if operation.takes_body {
        described["requestBody"] = json!({
            "required": false,
            "description": "Empty, an empty object, or null, which many generated clients send for no body.",
            "content": { "application/json": { "schema": { "type": ["object", "null"], "additionalProperties": false } } },
        });
    }
    described
}

/// A reference to a component.
fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// The document as `OpenAPI` 3.0: the same, but for what its schemas cannot say.
fn as_3_0(mut document: Value) -> Value {
    document["openapi"] = "3.0.3".into();
    let mut transforms = SchemaSettings::openapi3().transforms;
    each_schema(&mut document, &mut |schema| {
        for transform in &mut transforms {
            transform.transform(schema);
        }
    });
    document
}

/// Hands on every schema of a document.
fn each_schema(of: &mut Value, change: &mut impl FnMut(&mut Schema)) {
    match of {
        Value::Object(members) => {
            for (name, value) in members {
                match name.as_str() {
                    "schema" => schema(value, change),
                    "schemas" => value
                        .as_object_mut()
                        .into_iter()
                        .flat_map(Map::values_mut)
                        .for_each(|value| schema(value, change)),
                    // What stands there is data, whatever it looks like.
                    "examples" => {}
                    _ => each_schema(value, change),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_schema(value, change)),
        _ => {}
    }
}

fn schema(value: &mut Value, change: &mut impl FnMut(&mut Schema)) {
    if let Ok(schema) = value.try_into() {
        change(schema);
    }
}

#[cfg(test)]
mod tests;
