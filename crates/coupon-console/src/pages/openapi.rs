//! `/openapi`: the `OpenAPI` 3.1 document of the admin API, from the table of verbs, the types that handlers read, and the names
//! of what they answer.

mod described;
mod description;
mod fields;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    Console,
    access::{VERBS, Verb},
};

use described::DESCRIBED;
use description::{Answer, Described};

pub(super) async fn show(State(console): State<Console>) -> Response {
    Json(document(console.base_path())).into_response()
}

/// Returns the document: each verb of the table with its route, its parameters, its role and its answers.
fn document(base: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for verb in VERBS {
        let described = DESCRIBED.iter().find(|described| described.verb == verb.name);
        let item = paths.entry(verb.path).or_insert_with(|| json!({}));
        item[verb.method.to_ascii_lowercase()] = operation(verb, described);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "coupon pipeline: admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
            "description": "Every page is an operation: the same path with `.json`, or with `Accept: application/json`. \
                            Times are RFC 3339. A part of a page whose server is away is `{\"away\": why}`, else \
                            `{\"known\": …}`.",
        },
        "servers": [{ "url": if base.is_empty() { "/" } else { base } }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Tile": {
                    "description": "A part that fails alone.",
                    "oneOf": [
                        { "type": "object", "required": ["known"], "properties": { "known": {} } },
                        { "type": "object", "required": ["away"], "properties": { "away": { "type": "string" } } },
                    ],
                },
                "Problem": {
                    "type": "object",
                    "required": ["type", "title", "status", "code", "detail"],
                    "properties": {
                        "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                        "code": { "type": "string" }, "detail": { "type": "string" },
                    },
                },
            },
            "responses": {
                "Problem": {
                    "description": "Why not, in a sentence (RFC 9457).",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
        },
    })
}

fn operation(verb: &Verb, described: Option<&Described>) -> Value {
    let input = described.map(|described| (described.input)()).unwrap_or_default();
    let mut parameters: Vec<Value> = path_parameters(verb.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let mut operation = json!({
        "operationId": verb.name,
        "summary": described.map_or(verb.name, |described| described.summary),
        "description": format!("Needs the role {} or a higher one.", verb.role),
        "responses": {
            "200": answer(described.map(|described| &described.answer)),
            "401": { "$ref": "#/components/responses/Problem" },
            "403": { "$ref": "#/components/responses/Problem" },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    if verb.method == "GET" {
        parameters.extend(input.iter().map(
            |field| json!({ "name": field.name, "in": "query", "required": field.is_required, "schema": field.schema }),
        ));
    } else if !input.is_empty() {
        let required: Vec<&str> = input.iter().filter(|field| field.is_required).map(|field| field.name).collect();
        let properties: Map<String, Value> =
            input.iter().map(|field| (field.name.to_owned(), field.schema.clone())).collect();
        let schema = json!({ "type": "object", "required": required, "properties": properties });
        let content = json!({ "application/json": { "schema": schema }, "application/x-www-form-urlencoded": { "schema": schema } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation["parameters"] = parameters.into();
    operation
}

/// Returns the names between braces of a route.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn answer(answer: Option<&Answer>) -> Value {
    match answer {
        Some(Answer::Stream(kind)) => json!({ "description": "A stream.", "content": { *kind: {} } }),
        Some(Answer::Fields(fields)) => {
            let property = |(name, kind): &(&str, &str)| {
                let schema = match *kind {
                    "tile" => json!({ "$ref": "#/components/schemas/Tile" }),
                    "any" => json!({}),
                    kind => match kind.strip_suffix('?') {
                        Some(kind) => json!({ "type": [kind, "null"] }),
                        None => json!({ "type": kind }),
                    },
                };
                ((*name).to_owned(), schema)
            };
            let properties: Map<String, Value> = fields.iter().map(property).collect();
            let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let schema = json!({ "type": "object", "required": required, "properties": properties });
            json!({ "description": "As the page shows it.", "content": { "application/json": { "schema": schema } } })
        }
        None => json!({ "description": "As the page shows it." }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_is_described_once_with_its_parameters_and_an_answer() {
        for described in DESCRIBED {
            assert!(VERBS.iter().any(|verb| verb.name == described.verb), "{} is no verb", described.verb);
        }
        let document = document("/console");
        for verb in VERBS {
            let described = DESCRIBED.iter().filter(|described| described.verb == verb.name).count();
            assert_eq!(described, 1, "{} is described {described} times", verb.name);
            let operation = &document["paths"][verb.path][verb.method.to_ascii_lowercase()];
            assert_eq!(operation["operationId"], verb.name);
            let parameters = operation["parameters"].as_array().unwrap();
            for name in path_parameters(verb.path) {
                assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{} {name}", verb.name);
            }
            assert!(operation["responses"]["200"]["content"].is_object(), "{}", verb.name);
        }
        let add = &document["paths"]["/operators/add"]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(add["required"], json!(["name", "role", "days", "reason"]));
        assert_eq!(document["servers"][0]["url"], "/console");
    }
}
