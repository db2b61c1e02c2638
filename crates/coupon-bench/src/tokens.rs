//! How the tokens of members are signed: each identity provider has its algorithm, and each costs `issuer-api` another time.

use clap::ValueEnum;
use jsonwebtoken::Algorithm;

use crate::figures::Figure;

/// An algorithm, by its name in a token and in lower case. Keys are made at the start, and each member has a new token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TokenAlgorithm {
    /// HMAC with a shared secret.
    #[default]
    Hs256,
    /// RSA of 2048 bits: what most identity providers use.
    Rs256,
    /// The elliptic curve P-256.
    Es256,
    /// Ed25519.
    Eddsa,
}

impl From<TokenAlgorithm> for Algorithm {
    fn from(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::Hs256 => Self::HS256,
            TokenAlgorithm::Rs256 => Self::RS256,
            TokenAlgorithm::Es256 => Self::ES256,
            TokenAlgorithm::Eddsa => Self::EdDSA,
        }
    }
}

impl TokenAlgorithm {
    /// The figures as they are for HS256; for another algorithm under names that begin with it, and without goals, which are
    /// those of HS256.
    pub fn named(self, figures: Vec<Figure>) -> Vec<Figure> {
        let Some(name) = self.to_possible_value().filter(|_| self != Self::default()) else { return figures };
        apart(name.get_name(), figures)
    }
}

/// The figures under names that begin with this, and without goals, which are those of the plain run with HS256.
pub fn apart(name: &str, figures: Vec<Figure>) -> Vec<Figure> {
    let renamed = |figure: Figure| Figure { id: format!("{name}.{}", figure.id), goal: None, ..figure };
    figures.into_iter().map(renamed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Goal, Unit};

    #[test]
    fn figures_of_another_algorithm_cannot_be_taken_for_those_of_hs256() {
        let figures = || vec![Figure::new("accept.ratio", "ratio", Unit::Ratio, [0.7]).goal(Goal::AtLeast(0.5))];
        let named = |algorithm: TokenAlgorithm| algorithm.named(figures()).remove(0);
        assert_eq!(
            (named(TokenAlgorithm::Hs256).id.as_str(), named(TokenAlgorithm::Hs256).goal.is_some()),
            ("accept.ratio", true)
        );
        assert_eq!(
            (named(TokenAlgorithm::Es256).id.as_str(), named(TokenAlgorithm::Es256).goal),
            ("es256.accept.ratio", None)
        );
    }
}
