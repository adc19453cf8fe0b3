//! A scenario that was written in a page becomes a file of the folder of scenarios: whole or not at all, and never in the
//! place of a text that the page has not seen.

use ring::digest::{SHA256, digest};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What tells one text of a file from another.
pub fn version(text: &[u8]) -> String {
    digest(&SHA256, text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why nothing was saved.
#[derive(Debug)]
pub enum Unsaved {
    /// The file is not the one that was read: it was changed, removed, or is there although it should be new.
    Changed,
    /// It could not be written.
    Failed(io::Error),
}

impl From<io::Error> for Unsaved {
    fn from(error: io::Error) -> Unsaved {
        Unsaved::Failed(error)
    }
}

/// Writes a text to a file that has the version `known`; where that is empty, to a file that is not there yet. No link is
/// followed.
///
/// # Errors
/// When the file is another one meanwhile, or cannot be written. Then it is as it was.
pub fn save(path: &Path, text: &str, known: &str) -> Result<(), Unsaved> {
    let beside = Beside::write(path, text)?;
    if known.is_empty() {
        // Fails where there is something of that name, whatever it is.
        return match fs::hard_link(&beside.0, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Unsaved::Changed),
            other => Ok(other?),
        };
    }
    let is_known = |path: &Path| -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(data) if data.is_file() => Ok(version(&fs::read(path)?) == known),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    };
    if !is_known(path)? {
        return Err(Unsaved::Changed);
    }
    fs::set_permissions(&beside.0, fs::metadata(path)?.permissions())?;
    swap(&beside.0, path)?;
    if beside.0.exists() && !is_known(&beside.0)? {
        // Somebody wrote between the look and the change: theirs stays.
        swap(&beside.0, path)?;
        return Err(Unsaved::Changed);
    }
    Ok(())
}

/// Two files change places; where the system cannot do that, the first takes the place of the second.
fn swap(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    fs::rename(one, other)
}

/// A file beside the one that is meant, gone at the end.
struct Beside(PathBuf);

impl Beside {
    fn write(path: &Path, text: &str) -> io::Result<Beside> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        // Hidden, so that it is no scenario of the list.
        let beside = Beside(path.with_file_name(format!(".{name}.{:016x}.part", rand::random::<u64>())));
        let mut file: File = OpenOptions::new().write(true).create_new(true).open(&beside.0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After a rename it is gone already.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut all: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_file_is_changed_only_as_it_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.yaml");
        save(&path, "one\n", "").unwrap();
        assert!(matches!(save(&path, "again\n", ""), Err(Unsaved::Changed)), "it is there already");
        let first = version(b"one\n");
        save(&path, "two\n", &first).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert!(matches!(save(&path, "three\n", &first), Err(Unsaved::Changed)), "it has changed since");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        fs::remove_file(&path).unwrap();
        assert!(matches!(save(&path, "three\n", &version(b"two\n")), Err(Unsaved::Changed)), "it is gone");
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed_and_rights_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "secret").unwrap();
        let link = dir.path().join("link.yaml");
        symlink(&outside, &link).unwrap();
        assert!(matches!(save(&link, "x", ""), Err(Unsaved::Changed)));
        assert!(matches!(save(&link, "x", &version(b"secret")), Err(Unsaved::Changed)));
        symlink(dir.path().join("nowhere"), dir.path().join("loose.yaml")).unwrap();
        assert!(matches!(save(&dir.path().join("loose.yaml"), "x", ""), Err(Unsaved::Changed)));
        assert!(!dir.path().join("nowhere").exists());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "secret");
        let path = dir.path().join("shop.yaml");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        save(&path, "two", &version(b"one")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(dir.path()), ["link.yaml", "loose.yaml", "outside", "shop.yaml"]);
    }
}
