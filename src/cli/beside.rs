//! Scenarios of people who may see one folder: whatever file they name must lie in it, also behind links.

use super::run::environment;
use crate::scenario::{Scenario, ScenarioError, Surroundings, parse_with};
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A file that a text stands for, and the folder that it may see.
#[derive(Clone, Debug)]
pub struct Beside {
    root: PathBuf,
    name: String,
}

impl Beside {
    /// For a file, which need not be there; its folder must.
    ///
    /// # Errors
    /// When there is no such folder, or the path has no name.
    pub fn of(file: &Path) -> anyhow::Result<Beside> {
        let folder = match file.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            bail!("{} has no name that is text", file.display());
        };
        let root =
            fs::canonicalize(folder).with_context(|| format!("there is no folder {}", folder.display()))?;
        Ok(Beside { root, name: name.to_owned() })
    }

    /// Reads the text as that file.
    ///
    /// # Errors
    /// The first thing that is wrong; the file is named as people know it, without its folder.
    pub fn parse(&self, text: &str) -> Result<Scenario, ScenarioError> {
        let surroundings = Surroundings {
            environment: environment(),
            read: &|path| fs::read_to_string(self.inside(path)?),
            open: &|path| File::open(self.inside(path)?),
        };
        let file = self.root.join(&self.name);
        parse_with(text, &file.display().to_string(), &surroundings)
            .map_err(|error| ScenarioError { file: self.name.clone(), ..error })
    }

    /// A path within the folder, as the system has it.
    fn inside(&self, path: &Path) -> io::Result<PathBuf> {
        let real = fs::canonicalize(path)?;
        if real.starts_with(&self.root) {
            Ok(real)
        } else {
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is outside the folder of scenarios, and a page sees that folder alone",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &str) -> String {
        format!(
            "target: http://127.0.0.1:1\nload: {{users: 1, for: 1s}}\njourneys:\n  a:\n    data: {file}\n    steps: [GET /]\n"
        )
    }

    #[test]
    fn files_lie_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("scenarios");
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::write(folder.join("data/users.csv"), "name\nada\n").unwrap();
        fs::write(dir.path().join("secret.csv"), "name\nada\n").unwrap();
        let beside = Beside::of(&folder.join("shop.yaml")).unwrap();
        assert!(beside.parse(&text("data/users.csv")).is_ok());
        let refused = beside.parse(&text("../secret.csv")).unwrap_err();
        assert_eq!((refused.file.as_str(), refused.place.line), ("shop.yaml", 5));
        assert!(refused.message.contains("outside the folder"), "{}", refused.message);
        assert!(beside.parse(&text(&dir.path().join("secret.csv").display().to_string())).is_err());
        assert!(Beside::of(&dir.path().join("none/shop.yaml")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("scenarios");
        fs::create_dir_all(&folder).unwrap();
        fs::write(dir.path().join("secret.csv"), "name\nada\n").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.csv"), folder.join("users.csv")).unwrap();
        let refused = Beside::of(&folder.join("shop.yaml")).unwrap().parse(&text("users.csv")).unwrap_err();
        assert!(refused.message.contains("outside the folder"), "{}", refused.message);
    }
}
