//! The contract with a server, as data: the required value of each setting that a promise to members rests on. Any other value
//! is a departure. Holds no I/O.

/// What a departure from the contract means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// A promise holds only as long as no machine fails. Nothing stops for it.
    Weakens,
    /// Records or reservations can be lost, or the server cannot do its part: nothing new is accepted until it is repaired.
    Breaks,
    /// The same, and no change of settings repairs the running server: a service that starts against it ends.
    Ends,
}

/// The required value of one setting.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    /// Name of the setting, as the server has it.
    pub setting: &'static str,
    /// Whether a value keeps the contract.
    pub holds: fn(&str) -> bool,
    /// What any other value means.
    pub breach: Breach,
    /// What can happen otherwise.
    pub otherwise: &'static str,
    /// What an operator has to do to put the setting right.
    pub fix: &'static str,
}

/// A setting that does not have the required value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// What was found, with the value.
    pub what: String,
    /// What an operator has to do to put the setting right.
    pub fix: String,
    /// Whether the breach can lose something, or only weakens a promise.
    pub breach: Breach,
}

impl Departure {
    /// A departure that more than one setting shows.
    pub fn new(breach: Breach, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), breach }
    }
}

/// Compares what a server says of itself with the clauses. Of several clauses about one setting the first that does not
/// hold counts, so the graver one comes first. A setting that the server does not tell is a departure too.
pub fn departures(clauses: &[Clause], value: impl Fn(&str) -> Option<String>) -> Vec<Departure> {
    let mut found: Vec<Departure> = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    for clause in clauses {
        if named.contains(&clause.setting) {
            continue;
        }
        let departure = match value(clause.setting) {
            Some(value) if (clause.holds)(&value) => continue,
            Some(value) => Departure::new(
                clause.breach,
                format!("{} is {value}: {}", clause.setting, clause.otherwise),
                clause.fix,
            ),
            None => Departure::new(
                Breach::Weakens,
                format!("{} is not told, so nobody knows whether {}", clause.setting, clause.otherwise),
                clause.fix,
            ),
        };
        named.push(clause.setting);
        found.push(departure);
    }
    found
}

/// Whether a setting is a number for which this holds.
pub fn is_number(value: &str, holds: impl FnOnce(i64) -> bool) -> bool {
    value.parse().is_ok_and(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAUSES: &[Clause] = &[
        Clause {
            setting: "keep",
            holds: |value| value != "0",
            breach: Breach::Breaks,
            otherwise: "all is lost",
            fix: "1",
        },
        Clause {
            setting: "keep",
            holds: |value| value == "2",
            breach: Breach::Weakens,
            otherwise: "some is",
            fix: "2",
        },
        Clause { setting: "mode", holds: |value| value == "x", breach: Breach::Ends, otherwise: "it is y", fix: "x" },
    ];

    fn found(keep: &str, mode: Option<&str>) -> Vec<(Breach, String)> {
        let value = |setting: &str| if setting == "keep" { Some(keep.to_owned()) } else { mode.map(str::to_owned) };
        departures(CLAUSES, value).into_iter().map(|departure| (departure.breach, departure.what)).collect()
    }

    #[test]
    fn whatever_is_not_the_wanted_value_is_a_departure_and_the_gravest_of_a_setting_counts() {
        assert_eq!(found("2", Some("x")), []);
        assert_eq!(found("1", Some("x")), [(Breach::Weakens, "keep is 1: some is".to_owned())]);
        assert_eq!(found("0", Some("x")), [(Breach::Breaks, "keep is 0: all is lost".to_owned())]);
        assert_eq!(found("2", Some("never heard of")), [(Breach::Ends, "mode is never heard of: it is y".to_owned())]);
        assert_eq!(found("2", None).first().map(|(breach, _)| *breach), Some(Breach::Weakens), "nobody knows");
    }
}
