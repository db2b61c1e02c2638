//! How the tokens of members are signed: each identity provider has its algorithm, and each costs `issuer-api` another time.

use anyhow::Result;
use clap::ValueEnum;
use coupon_e2e::{member::token::Signer, process::Process, world::World};
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::figures::{Figure, Goal};

/// The `kid` of a key pair, as issuers name theirs.
const KID: &str = "bench";

/// Signs a new token of a member; one that is signed with a private key names the pair.
pub fn sign(signer: &Signer, member: &str) -> Result<String> {
    let token = signer.token(member);
    if signer.algorithm() == Algorithm::HS256 { token.sign() } else { token.kid(KID).sign() }
}

/// Starts an `issuer-api` that has the public key of the world in a JWK Set, as issuers publish theirs.
pub async fn start_api(world: &World) -> Result<Process> {
    if world.signer.algorithm() == Algorithm::HS256 {
        return world.start_api().await;
    }
    let file = world.folder().join("jwks.json");
    std::fs::write(&file, json!({"keys": [world.signer.jwk(KID)?]}).to_string())?;
    world.start_api().set("auth.public_key_file", "").set("auth.jwks_file", file.display()).await
}

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
    /// The figures as they are for HS256; for another algorithm under names that begin with it. Goals are those of HS256, and
    /// not of others, but for the figure of this id, whose goal holds for this algorithm.
    pub fn named(self, figures: Vec<Figure>, (id, goal): (&str, Goal)) -> Vec<Figure> {
        let own: Vec<bool> = figures.iter().map(|figure| figure.id == id).collect();
        let name = self.to_possible_value().filter(|_| self != Self::default());
        let figures = match name {
            Some(name) => apart(name.get_name(), figures),
            None => figures,
        };
        let figures = figures.into_iter().zip(own);
        figures.map(|(figure, is_own)| if is_own { figure.goal(goal) } else { figure }).collect()
    }

    /// Most CPU time of issuer-api for an accepted request, as a multiple of that of HTTP alone.
    pub fn most_cpu(self) -> Goal {
        Goal::AtMost(match self {
            Self::Hs256 => 2.2,
            Self::Rs256 => 4.0,
            Self::Es256 | Self::Eddsa => 5.0,
        })
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
    use crate::figures::Unit;

    #[test]
    fn figures_of_another_algorithm_cannot_be_taken_for_those_of_hs256() {
        let figure = |id: &str| Figure::new(id, "ratio", Unit::Ratio, [0.7]);
        let figures = || vec![figure("accept.ratio").goal(Goal::AtLeast(0.5)), figure("accept.cpu")];
        let named = |algorithm: TokenAlgorithm| {
            let own = ("accept.cpu", algorithm.most_cpu());
            let figures = algorithm.named(figures(), own).into_iter();
            figures.map(|figure| (figure.id, figure.goal)).collect::<Vec<_>>()
        };
        let (of_all, own) = (Some(Goal::AtLeast(0.5)), |most| Some(Goal::AtMost(most)));
        let [ratio, cpu] = ["accept.ratio", "accept.cpu"].map(str::to_owned);
        assert_eq!(named(TokenAlgorithm::Hs256), [(ratio, of_all), (cpu, own(2.2))]);
        let [ratio, cpu] = ["es256.accept.ratio", "es256.accept.cpu"].map(str::to_owned);
        assert_eq!(named(TokenAlgorithm::Es256), [(ratio, None), (cpu, own(5.0))]);
    }
}
