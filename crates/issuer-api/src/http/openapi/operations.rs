//! The operations of the API, one row each: what they take, and every answer they give.

use super::super::Code;

/// One operation.
pub(super) struct Operation {
    pub(super) path: &'static str,
    /// In lower case.
    pub(super) method: &'static str,
    /// The `operationId`.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// Names in `components.parameters`.
    pub(super) parameters: &'static [&'static str],
    /// Whether a body may come, which has to be empty.
    pub(super) takes_body: bool,
    /// Whether a token is needed.
    pub(super) needs_token: bool,
    /// What is answered when all is well.
    pub(super) answers: &'static [Answer],
    /// The problems that may be answered, but for those of [`EVERYWHERE`] and [`ANY_ROUTE`].
    pub(super) codes: &'static [Code],
}

/// One answer that is no problem.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    /// Name in `components.schemas`; empty: no body, or one that no schema describes.
    pub(super) schema: &'static str,
    /// Names in `components.headers`.
    pub(super) headers: &'static [&'static str],
    /// Names in `components.examples`.
    pub(super) examples: &'static [&'static str],
}

/// Problems that every operation may answer.
pub(super) const EVERYWHERE: &[Code] = &[Code::TooManyRequests, Code::Internal, Code::Starting];
/// Problems of what is no request of this API; the response `default` names them.
pub(super) const ANY_ROUTE: &[Code] =
    &[Code::BadRequest, Code::NotFound, Code::MethodNotAllowed, Code::UriTooLong, Code::HeadersTooLarge];

/// A document or a page that changes with a release only.
const fn page(path: &'static str, id: &'static str, summary: &'static str, answers: &'static [Answer]) -> Operation {
    Operation {
        path,
        method: "get",
        id,
        summary,
        description: "It changes with a release only.",
        parameters: &[],
        takes_body: false,
        needs_token: false,
        answers,
        codes: &[],
    }
}

const fn found(
    description: &'static str,
    schema: &'static str,
    headers: &'static [&'static str],
    examples: &'static [&'static str],
) -> Answer {
    Answer { status: 200, description, schema, headers, examples }
}

/// All operations.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/api/v1/coupons/{code}",
        method: "get",
        id: "showCoupon",
        summary: "Shows a campaign as everybody sees it",
        description: "May be polled through a shared cache: the answer says nothing of whoever asks, is fresh for a second, and \
                      has an ETag. No token is needed, unless the operator has set http.public_campaigns = false; then it is \
                      401 without one, and no shared cache keeps it.",
        parameters: &["Code", "IfNoneMatch"],
        takes_body: false,
        needs_token: false,
        answers: &[
            found("The campaign.", "Coupon", &["Cache-Control", "ETag"], &["Campaign"]),
            Answer {
                status: 304,
                description: "It is what If-None-Match names.",
                schema: "",
                headers: &["Cache-Control", "ETag"],
                examples: &[],
            },
        ],
        codes: &[
            Code::Unauthenticated,
            Code::InvalidCouponCode,
            Code::CouponNotFound,
            Code::StockUnavailable,
            Code::DatabaseUnavailable,
        ],
    },
    Operation {
        path: "/api/v1/coupons/{code}/issues",
        method: "post",
        id: "askForCoupon",
        summary: "Asks for a coupon",
        description: "The member is the one of the token. Asking again changes nothing: (campaign, member) is the key of a \
                      request, so a repeat is answered with the same request, before and after the campaign has sold out, \
                      closed or ended. Only after a compensation is it a new one. The answer says how far the request has got \
                      on its way to Kafka, at most `accepted`; showIssue tells of the decision.",
        parameters: &["Code", "Admission", "IdempotencyKey"],
        takes_body: true,
        needs_token: true,
        answers: &[
            Answer {
                status: 202,
                description: "A unit is set aside for the member: accepted by Kafka, or reserved and on its way there.",
                schema: "Issue",
                headers: &["Location", "Cache-Control"],
                examples: &["Accepted", "Reserved"],
            },
            found(
                "The member asked before and holds a coupon, or will: the same request, and how far it has got.",
                "Issue",
                &["Location", "Cache-Control"],
                &["Repeated"],
            ),
        ],
        codes: &[
            Code::Unauthenticated,
            Code::AdmissionRequired,
            Code::AdmissionExpired,
            Code::AdmissionInvalid,
            Code::CouponNotFound,
            Code::RequestTimeout,
            Code::SoldOut,
            Code::NotOpen,
            Code::Closed,
            Code::PayloadTooLarge,
            Code::InvalidCouponCode,
            Code::InvalidBody,
            Code::StockUnavailable,
            Code::GateClosed,
            Code::OutboxFull,
            Code::DatabaseUnavailable,
        ],
    },
    Operation {
        path: "/api/v1/coupons/{code}/issues/{request_id}",
        method: "get",
        id: "showIssue",
        summary: "Shows where a request of the member stands",
        description: "Ask until the state is final: `issued` or `compensated`. The next second is soon enough.",
        parameters: &["Code", "RequestId"],
        takes_body: false,
        needs_token: true,
        answers: &[found("Where it stands.", "Issue", &["Cache-Control"], &["Issued", "Compensated"])],
        codes: &[
            Code::Unauthenticated,
            Code::RequestNotFound,
            Code::InvalidCouponCode,
            Code::StockUnavailable,
            Code::GateClosed,
            Code::DatabaseUnavailable,
        ],
    },
    Operation {
        path: "/api/v1/coupons/{code}/issues/mine",
        method: "get",
        id: "showMyIssue",
        summary: "Shows what the member holds of a campaign",
        description: "The request id need not be known. A holder always learns that they hold one, whatever state the \
                      campaign is in; 404 NOTHING_HELD is only said when it is sure.",
        parameters: &["Code"],
        takes_body: false,
        needs_token: true,
        answers: &[found("The request by which the member holds a coupon.", "Issue", &["Cache-Control"], &["Issued"])],
        codes: &[
            Code::Unauthenticated,
            Code::CouponNotFound,
            Code::NothingHeld,
            Code::InvalidCouponCode,
            Code::StockUnavailable,
            Code::GateClosed,
            Code::DatabaseUnavailable,
        ],
    },
    Operation {
        path: "/api/v1/issues/mine",
        method: "get",
        id: "listMyIssues",
        summary: "Lists the requests of the member over all campaigns",
        description: "Newest first: all that are decided, those that failed and wait to be decided, and of each campaign that \
                      has not ended for good the one by which the member holds a coupon.",
        parameters: &["Limit", "Before"],
        takes_body: false,
        needs_token: true,
        answers: &[found("A page.", "IssuePage", &["Cache-Control"], &["Requests"])],
        codes: &[Code::Unauthenticated, Code::InvalidQuery, Code::StockUnavailable, Code::DatabaseUnavailable],
    },
    page(
        "/problems",
        "listProblems",
        "Lists the codes of problems",
        &[found("What each code means.", "ProblemPages", &["Cache-Control"], &[])],
    ),
    Operation {
        parameters: &["ProblemCode"],
        codes: &[Code::NotFound],
        ..page(
            "/problems/{problem_code}",
            "showProblem",
            "Says what a code of a problem means, whether to ask again, and what to tell the member",
            &[found("What it means.", "ProblemPage", &["Cache-Control"], &["SoldOutPage"])],
        )
    },
    page(
        "/asyncapi.json",
        "showAsyncapi",
        "The events of decisions, as AsyncAPI 3",
        &[found("The document.", "Document", &["Cache-Control"], &[])],
    ),
    page(
        "/openapi.json",
        "showOpenapi",
        "This document, as OpenAPI 3.1",
        &[found("The document.", "Document", &["Cache-Control"], &[])],
    ),
    page(
        "/openapi-3.0.json",
        "showOpenapi30",
        "This document, as OpenAPI 3.0",
        &[found("The document.", "Document", &["Cache-Control"], &[])],
    ),
];
