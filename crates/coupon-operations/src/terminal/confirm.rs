//! The confirmation of a change: the operator types the name of what is changed, so that no reflex answers.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use coupon_core::runtime::{Escaped, Usage};

/// Returns a usage error unless `--yes` is given or standard input is a terminal.
pub fn must_be_possible(yes: bool) -> Result<(), Usage> {
    if yes || io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Usage("this is no terminal, so nobody can be asked: say with --yes that it is meant".to_owned()))
}

/// Prints the change and returns an error unless the operator types `word`, or `--yes` is given.
pub fn confirm(what: &str, word: &str, yes: bool) -> anyhow::Result<()> {
    must_be_possible(yes)?;
    if yes {
        return Ok(());
    }
    ask(what, word, &mut io::stdin().lock(), &mut io::stderr())
}

fn ask(what: &str, word: &str, answers: &mut impl BufRead, screen: &mut impl Write) -> anyhow::Result<()> {
    write!(screen, "{}\ntype {word} to go on: ", Escaped(what))?;
    screen.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    if answer.trim() != word {
        bail!("that was not {word}; nothing was changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_goes_on() {
        for (answer, goes_on) in [
            ("SPRING\n", true),
            (" SPRING \r\n", true),
            ("spring\n", false),
            ("y\n", false),
            ("\n", false),
            ("", false),
        ] {
            let mut screen = Vec::new();
            let asked = ask("3 \u{1b}[2J entries", "SPRING", &mut answer.as_bytes(), &mut screen);
            assert_eq!(asked.is_ok(), goes_on, "{answer:?}");
            let screen = String::from_utf8(screen).unwrap();
            assert!(screen.contains("type SPRING") && !screen.contains('\u{1b}'), "{screen}");
        }
    }
}
