//! Operators whom an identity provider, or a proxy, vouches for with a signed token.

use axum::http::{HeaderMap, HeaderName};
use coupon_core::{
    runtime::{SecretUrl, SettingsError},
    tokens::{ReadClaims, Signed, TokenError, TokenSettings, Verifier},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Role;

/// Longest name of an operator, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// The `[console.assertion]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionSettings {
    /// Header that carries the assertion; empty: `Authorization: Bearer`.
    pub header: String,
    /// The claim `iss` must be this; empty: nobody vouches for operators.
    pub issuer: String,
    /// The claim `aud` must be this, or hold it; another one than members have.
    pub audience: String,
    /// Claim with the operator's name for the audit.
    pub name_claim: String,
    /// Claim whose values give roles: a text, several with spaces between them, or a list. With a slash at its beginning it is a
    /// JSON pointer.
    pub role_claim: String,
    /// Which value gives which role: `value=role`.
    pub roles: Vec<String>,
    /// Algorithms an assertion may be signed with.
    pub algorithms: Vec<String>,
    /// PEM file with one public key; empty: none.
    pub public_key_file: String,
    /// JWK Set file with public keys; empty: none.
    pub jwks_file: String,
    /// Where the issuer publishes its JWK Set; empty: nowhere.
    pub jwks_url: SecretUrl,
    /// PEM file with the root certificates that the server at `jwks_url` is verified by; empty: those of the system.
    pub jwks_ca_file: String,
    /// Interval between two requests for that set, in ms.
    pub jwks_refresh_ms: u64,
    /// Least time between two requests that are made because an assertion names an unknown key, or because one failed, in ms.
    pub jwks_min_interval_ms: u64,
    /// File with the secret of the HS algorithms; empty: none.
    pub hmac_secret_file: String,
    /// How far the clocks may be apart, in seconds.
    pub leeway_s: u64,
}

/// Verifies assertions.
pub type AssertionVerifier = Verifier<OperatorClaims>;

/// Which claims say who an operator is and what they may do.
#[derive(Clone, Debug)]
pub struct OperatorClaims {
    name: String,
    role: String,
    roles: Vec<(String, Role)>,
}

/// Whom an assertion speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// Name.
    pub name: String,
    /// The highest role that the claim gives; `None`: it gives none.
    pub role: Option<Role>,
}

impl AssertionSettings {
    /// Whether an identity provider vouches for operators.
    pub fn is_set(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// Tests what can be tested without reading a key.
    pub fn check(&self) -> Result<(), SettingsError> {
        let missing = |name: &str, wanted: &str| {
            Err(SettingsError::invalid(
                format!("console.assertion.{name}"),
                "",
                format!("{wanted}, where assertions log operators in"),
            ))
        };
        if !self.is_set() {
            let is_begun = !self.audience.is_empty() || !self.roles.is_empty();
            return if is_begun { missing("issuer", "the claim iss of the assertions") } else { Ok(()) };
        }
        if self.audience.is_empty() {
            return missing("audience", "the claim aud of the assertions");
        }
        if self.name_claim.is_empty() {
            return missing("name_claim", "the claim with the operator's name");
        }
        if self.role_claim.is_empty() {
            return missing("role_claim", "the claim whose values give roles");
        }
        if self.roles.is_empty() {
            return missing("roles", "a list of value=role, such as coupon-admins=admin");
        }
        self.roles()?;
        if !self.header.is_empty() && self.header_name().is_none() {
            return Err(SettingsError::invalid(
                "console.assertion.header",
                &self.header,
                "empty, or the name of a header",
            ));
        }
        self.tokens().check()
    }

    /// Reads the keys, and returns what verifies assertions; `None`: nobody vouches for operators.
    pub fn verifier(&self) -> Result<Option<AssertionVerifier>, SettingsError> {
        if !self.is_set() {
            return Ok(None);
        }
        let claims =
            OperatorClaims { name: self.name_claim.clone(), role: self.role_claim.clone(), roles: self.roles()? };
        Verifier::load(&self.tokens(), claims).map(Some)
    }

    /// Returns the assertion in the header of its own; `None`: assertions come with `Authorization`, or there is none.
    pub(crate) fn in_own_header<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let value = headers.get(self.header_name()?)?.to_str().ok()?;
        Some(value.strip_prefix("Bearer ").unwrap_or(value).trim())
    }

    /// The header of its own; `None` for `Authorization`.
    fn header_name(&self) -> Option<HeaderName> {
        let name = self.header.parse::<HeaderName>().ok()?;
        (name != "authorization").then_some(name)
    }

    fn roles(&self) -> Result<Vec<(String, Role)>, SettingsError> {
        let read = |text: &String| {
            let (value, role) = text.rsplit_once('=')?;
            Some((value.trim().to_owned(), role.trim().parse().ok()?))
        };
        let wrong = |text: &String| {
            let allowed = "value=role, where the role is one of viewer, support, operator, admin";
            SettingsError::invalid("console.assertion.roles", text, allowed)
        };
        self.roles.iter().map(|text| read(text).ok_or_else(|| wrong(text))).collect()
    }

    fn tokens(&self) -> TokenSettings {
        let of = self.clone();
        TokenSettings {
            section: "console.assertion",
            service: "dlq-consumer",
            issuer: of.issuer,
            audience: of.audience,
            algorithms: of.algorithms,
            public_key_file: of.public_key_file,
            jwks_file: of.jwks_file,
            jwks_url: of.jwks_url,
            jwks_ca_file: of.jwks_ca_file,
            jwks_refresh_ms: of.jwks_refresh_ms,
            jwks_min_interval_ms: of.jwks_min_interval_ms,
            hmac_secret_file: of.hmac_secret_file,
            leeway_s: of.leeway_s,
            ..TokenSettings::default()
        }
    }
}

impl ReadClaims for OperatorClaims {
    type Subject = Asserted;

    fn read(&self, token: &Signed<'_>) -> Result<(Asserted, Option<f64>), TokenError> {
        let claims: Map<String, Value> = token.claims()?;
        let exp = claims.get("exp").and_then(Value::as_f64);
        Ok((self.asserted(&claims.into())?, exp))
    }
}

impl OperatorClaims {
    fn asserted(&self, claims: &Value) -> Result<Asserted, TokenError> {
        let name = find(claims, &self.name).and_then(Value::as_str).ok_or(TokenError::Claim)?;
        if name.trim().is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return Err(TokenError::Subject);
        }
        let given =
            |value: &str| self.roles.iter().filter(move |(wanted, _)| wanted == value).map(|(_, role)| *role).max();
        let role = match find(claims, &self.role) {
            Some(Value::String(text)) => given(text).max(text.split(' ').filter_map(given).max()),
            Some(Value::Array(values)) => values.iter().filter_map(|value| given(value.as_str()?)).max(),
            _ => None,
        };
        Ok(Asserted { name: name.to_owned(), role })
    }
}

/// Returns the claim of this name, or at this JSON pointer.
fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(roles: &[&str]) -> AssertionSettings {
        AssertionSettings { roles: roles.iter().map(ToString::to_string).collect(), ..AssertionSettings::default() }
    }

    fn role(role_claim: &str, claims: Value) -> Option<Role> {
        let roles = settings(&["CN=night,OU=ops=operator", "admins=admin", "all=viewer"]).roles().unwrap();
        let claims_of = OperatorClaims { name: "email".to_owned(), role: role_claim.to_owned(), roles };
        let mut named = claims;
        named["email"] = "a@example".into();
        claims_of.asserted(&named).unwrap().role
    }

    #[test]
    fn the_highest_role_that_a_claim_gives_counts_and_nothing_else_gives_one() {
        assert_eq!(role("groups", json!({ "groups": ["all", "admins", "x"] })), Some(Role::Admin));
        assert_eq!(role("groups", json!({ "groups": "CN=night,OU=ops" })), Some(Role::Operator));
        assert_eq!(role("scope", json!({ "scope": "openid all" })), Some(Role::Viewer));
        assert_eq!(role("/realm/roles", json!({ "realm": { "roles": ["admins"] } })), Some(Role::Admin));
        for other in
            [json!({}), json!({ "groups": [] }), json!({ "groups": ["Admins", "admin", 1] }), json!({ "groups": 1 })]
        {
            assert_eq!(role("groups", other.clone()), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_could_mislead_the_audit_is_none() {
        let claims = OperatorClaims { name: "sub".to_owned(), role: "groups".to_owned(), roles: Vec::new() };
        for name in [json!(""), json!(" "), json!("a\nb"), json!("x".repeat(201)), json!(7), Value::Null] {
            assert!(claims.asserted(&json!({ "sub": name })).is_err(), "{name}");
        }
    }

    #[test]
    fn a_header_of_its_own_is_read_with_and_without_a_scheme() {
        let settings = AssertionSettings { header: "X-Assertion".to_owned(), ..AssertionSettings::default() };
        let headers =
            |value: &str| HeaderMap::from_iter([(HeaderName::from_static("x-assertion"), value.parse().unwrap())]);
        assert_eq!(settings.in_own_header(&headers("a.b.c")), Some("a.b.c"));
        assert_eq!(settings.in_own_header(&headers("Bearer a.b.c")), Some("a.b.c"));
        assert_eq!(AssertionSettings::default().in_own_header(&headers("a.b.c")), None);
    }
}
