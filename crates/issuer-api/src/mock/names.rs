//! What the name of a member forces.

use axum::http::StatusCode;

use crate::{http::Code, standing::State};

/// Shown by `issuer-api mock --help`, and in the README.
pub const HELP: &str = "\
The mock verifies no token. The member is the `sub` of the token, or its whole text if it is no JWT. A member's name is WORD, \
WORD~N or either with .ANYTHING behind it; with ~N it forces N answers, and then none.

  WORD                  forces
  a code in lower case  this problem, such as sold-out, not-open, unauthenticated, stock-unavailable:
                        403 and 409 to each POST, any other to every request of the member
  unknown-409           this status with a code that no client knows; any from 400 to 599
  slow                  the answer after 10 s
  reserved, accepted    202, and the request stays in this state
  issued, compensated   202, and the request is in this state from the first GET on
  anything else         202; the first GET says accepted, the next one issued

For example stock-unavailable~2.alice is told 503 twice and then holds a coupon. Every campaign exists, is open and has enough \
coupons. What is held is in memory, and gone with the process.";

/// What is forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forced {
    /// A problem with this code.
    Problem(Code),
    /// A problem of this status with a code that no client knows.
    Unknown(StatusCode),
    /// An answer that comes late.
    Slow,
    /// The state in which the request ends.
    End(State),
}

/// A name that forces something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) forced: Forced,
    /// How often.
    pub(super) times: u32,
}

impl Name {
    /// Reads a name; `None`: it forces nothing.
    pub(super) fn read(member: &str) -> Option<Self> {
        let word = member.split('.').next().unwrap_or_default();
        let (word, times) = match word.split_once('~') {
            Some((word, times)) => (word, times.parse().ok()?),
            None => (word, u32::MAX),
        };
        Some(Self { forced: forced(word)?, times })
    }
}

fn forced(word: &str) -> Option<Forced> {
    if let Some(status) = word.strip_prefix("unknown-") {
        let status: StatusCode = status.parse().ok()?;
        return (status.is_client_error() || status.is_server_error()).then_some(Forced::Unknown(status));
    }
    let states = [State::Reserved, State::Accepted, State::Issued, State::Compensated];
    if let Some(state) = states.into_iter().find(|state| state.as_str() == word) {
        return Some(Forced::End(state));
    }
    // What these two say of a member is true of everybody who has not asked.
    let is_forced = |code: &&Code| !matches!(code, Code::RequestNotFound | Code::NothingHeld);
    let is_it = |code: &&Code| code.as_str().to_ascii_lowercase().replace('_', "-") == word;
    match word {
        "slow" => Some(Forced::Slow),
        _ => Code::ALL.iter().filter(is_forced).find(is_it).map(|code| Forced::Problem(*code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_forces_what_its_first_word_says_as_often_as_it_says() {
        let read = |member: &str| Name::read(member).map(|name| (name.forced, name.times));
        let always = u32::MAX;
        assert_eq!(read("sold-out"), Some((Forced::Problem(Code::SoldOut), always)));
        assert_eq!(read("stock-unavailable~2.alice"), Some((Forced::Problem(Code::StockUnavailable), 2)));
        assert_eq!(read("unknown-409.bob"), Some((Forced::Unknown(StatusCode::CONFLICT), always)));
        assert_eq!(read("compensated~1"), Some((Forced::End(State::Compensated), 1)));
        assert_eq!(read("slow"), Some((Forced::Slow, always)));
        for nothing in ["alice", "", "alice@example.com", "sold-out~x", "unknown-200", "unknown-x", "nothing-held"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn every_code_that_a_member_can_be_told_can_be_forced() {
        for code in Code::ALL.iter().filter(|code| !matches!(code, Code::RequestNotFound | Code::NothingHeld)) {
            let name = code.as_str().to_ascii_lowercase().replace('_', "-");
            assert_eq!(forced(&name), Some(Forced::Problem(*code)), "{name}");
        }
    }
}
