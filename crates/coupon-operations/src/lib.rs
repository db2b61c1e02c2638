#![doc = include_str!("../README.md")]

pub mod archive;
pub mod barrier;
pub mod campaigns;
pub mod decisions;
mod error;
pub mod export;
pub mod jobs;
pub mod lookups;
pub mod members;
mod operations;
pub mod operators;
pub mod plans;
pub mod rebuild;
pub mod reconcile;
pub mod replay;
pub mod retention;
pub mod terminal;
mod verbs;
pub mod webhooks;
pub mod work_list;

pub use error::OperationsError;
pub use operations::{Operations, read_dead_letter};
pub use verbs::{VERBS, WITHOUT_VERB};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Returns the sources in a folder and its folders.
    fn sources(folder: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
        found
    }

    #[test]
    fn only_the_terminal_kit_prints_and_nothing_knows_http() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = sources(&root.join("src"));
        assert!(sources.len() > 20);
        let others = sources.iter().filter(|(path, _)| !path.contains("/terminal/") && !path.ends_with("/src/lib.rs"));
        for (path, text) in others {
            for word in ["print!(", "println!(", "std::io", "stdin()", "stdout()"] {
                assert!(!text.contains(word), "{path} uses {word}");
            }
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        for server in ["axum", "hyper", "http", "reqwest"] {
            assert!(!manifest.lines().any(|line| line.starts_with(server)), "{server}");
        }
    }
}
