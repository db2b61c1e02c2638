//! The files of several commands together, as `report` and `model` read them.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Figure, Measured};

/// What several commands have measured: each figure once.
#[derive(Debug)]
pub struct Files(Vec<Measured>);

impl Files {
    /// Reads them. The same figure in two files is an error: which of the two is meant, only the caller knows.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let mut read: Vec<Measured> = Vec::new();
        for file in files {
            let measured = Measured::read(file)?;
            for (place, figure) in measured.figures.iter().enumerate() {
                if let Some(other) = read.iter().position(|other| other.figure(&figure.id).is_some()) {
                    let (this, other) = (file.display(), files[other].display());
                    bail!("{} is in {other} and in {this}; leave one of the two out", figure.id);
                }
                if measured.figures[..place].iter().any(|other| other.id == figure.id) {
                    bail!("{} is twice in {}", figure.id, file.display());
                }
            }
            read.push(measured);
        }
        Ok(Self(read))
    }

    /// Returns the content of all files, in the order of the arguments.
    pub fn all(&self) -> &[Measured] {
        &self.0
    }

    /// The figure of this id, with the run that it comes from.
    pub fn figure(&self, id: &str) -> Option<(&Measured, &Figure)> {
        self.0.iter().find_map(|measured| Some((measured, measured.figure(id)?)))
    }

    /// The median of a figure; none where it was not measured.
    pub fn median(&self, id: &str) -> Option<f64> {
        Some(self.figure(id)?.1.spread()?.median)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{figures::Unit, machine::Machine};

    #[test]
    fn figures_of_several_files_are_found_and_one_that_is_in_two_of_them_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, ids: &[&str]| {
            let figures = ids.iter().map(|id| Figure::new(id, "name", Unit::Us, [1.0, 3.0])).collect();
            let (command, machine) = (name.to_owned(), Machine::default());
            let measured = Measured { command, at: chrono::DateTime::UNIX_EPOCH, machine, rounds: 2, figures };
            measured.write(&folder.path().join(name)).unwrap();
            folder.path().join(name)
        };
        let (one, two) = (write("one", &["a.x", "a.y"]), write("two", &["b.x"]));
        let files = Files::read(&[one.clone(), two]).unwrap();
        assert_eq!((files.median("b.x"), files.median("b.y")), (Some(2.0), None));
        assert_eq!(files.figure("b.x").unwrap().0.command, "two");

        let error = Files::read(&[one.clone(), write("again", &["a.y"])]).unwrap_err().to_string();
        assert!(error.contains("a.y is in ") && error.contains("/one and in ") && error.contains("/again"), "{error}");
        let error = Files::read(&[one.clone(), one]).unwrap_err().to_string();
        assert!(error.contains("a.x is in "), "{error}");
        let error = Files::read(&[write("twice", &["c.x", "c.x"])]).unwrap_err().to_string();
        assert!(error.contains("c.x is twice in "), "{error}");
    }

    #[test]
    fn a_file_without_figures_is_refused_with_the_way_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.json");
        fs::write(&file, r#"{"runs":[]}"#).unwrap();
        let error = Files::read(std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(error.contains("other.json holds no figures of coupon-bench (--json"), "{error}");
        let error = Files::read(&[folder.path().join("absent.json")]).unwrap_err().to_string();
        assert!(error.contains("absent.json cannot be read"), "{error}");
    }
}
