use clap::CommandFactory;

use super::*;

/// The words of a line as a shell takes them apart, without its finer points.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words
}

fn check(command: &clap::Command, path: &str) {
    if command.has_subcommands() {
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            check(verb, &format!("{path} {}", verb.get_name()));
        }
        return;
    }
    let help = command.get_before_help().map(ToString::to_string).unwrap_or_default();
    let examples: Vec<&str> = help.strip_prefix("Examples:\n").unwrap_or_default().lines().map(str::trim).collect();
    assert_eq!(examples.len(), 2, "the help of `{path}` begins with two examples");
    for example in examples {
        assert!(example.starts_with(path), "{example} is no example of `{path}`");
        if let Err(error) = Cli::try_parse_from(words(example)) {
            panic!("{example}: {error}");
        }
    }
}

#[test]
fn the_help_of_every_verb_begins_with_two_examples_that_are_understood() {
    let mut command = Cli::command();
    command.build();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        check(verb, &format!("dlq-consumer {}", verb.get_name()));
    }
    assert_eq!(words("a --b \"c d\""), ["a", "--b", "c d"]);
}
