//! What a path has around its route: the base path before it, and `.json` behind it for the same page as JSON.

use axum::{extract::Request, http::Uri};

/// Marks a request whose path ended in `.json`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonSuffix;

/// Takes the base path and `.json` off the path, before it is routed, and marks a request with the suffix. The home page is
/// `/index.json`. A last segment that ends so itself is written with `%2Ejson`.
pub(crate) fn take_off(mut request: Request, base: &str) -> Request {
    let whole = request.uri().path();
    let path = whole.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(whole);
    let json = path.strip_suffix(".json").filter(|_| !path.starts_with("/assets/"));
    let bare = json.map_or(path, |bare| bare.strip_suffix("/index").unwrap_or(bare));
    let bare = if bare.is_empty() { "/" } else { bare };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{bare}{query}").parse::<Uri>() {
        if json.is_some() {
            request.extensions_mut().insert(JsonSuffix);
        }
        *request.uri_mut() = uri;
    }
    request
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn taken_off(uri: &str) -> (String, bool) {
        let request = take_off(Request::get(uri).body(Body::empty()).unwrap(), "/console");
        (request.uri().to_string(), request.extensions().get::<JsonSuffix>().is_some())
    }

    #[test]
    fn the_suffix_is_no_part_of_the_route() {
        assert_eq!(taken_off("/work.json?status=PENDING"), ("/work?status=PENDING".to_owned(), true));
        assert_eq!(taken_off("/index.json"), ("/".to_owned(), true));
        assert_eq!(taken_off("/console/index.json"), ("/".to_owned(), true));
        assert_eq!(taken_off("/console"), ("/".to_owned(), false));
        assert_eq!(taken_off("/console/work?a=b"), ("/work?a=b".to_owned(), false));
        assert_eq!(taken_off("/consoles"), ("/consoles".to_owned(), false));
        assert_eq!(taken_off("/work"), ("/work".to_owned(), false));
        assert_eq!(taken_off("/members/a%2Ejson"), ("/members/a%2Ejson".to_owned(), false));
    }
}
