//! Finds installed programs.

use std::env;
use std::path::{Path, PathBuf};

use crate::Error;

/// Where distributions put server programs that are not on an ordinary user's `PATH`.
const SERVER_FOLDERS: [&str; 4] =
    ["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin"];

/// What to look for, and what to tell who does not have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Names the program goes by, the preferred one first.
    pub(crate) names: &'static [&'static str],
    /// The Debian package that holds it.
    pub(crate) package: &'static str,
}

impl Wanted {
    /// The program: the one given by name, else the first one found on `PATH` and in the server folders.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none.
    pub(crate) fn find(self, given: Option<&Path>) -> Result<PathBuf, Error> {
        if let Some(given) = given {
            return given.is_file().then(|| given.to_owned()).ok_or_else(|| Error::Missing {
                what: given.display().to_string(),
                looked: "the path given".to_owned(),
                package: self.package,
            });
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain(SERVER_FOLDERS.iter().map(PathBuf::from));
        self.find_in(&folders.collect::<Vec<_>>())
    }

    fn find_in(self, folders: &[PathBuf]) -> Result<PathBuf, Error> {
        let candidates =
            self.names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        candidates.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| Error::Missing {
            what: self.names.join(" or "),
            looked: folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(":"),
            package: self.package,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_package_that_holds_it() {
        let wanted = Wanted { names: &["mariadbd", "mysqld"], package: "mariadb-server-core" };
        let error = wanted.find_in(&[PathBuf::from("/nowhere")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mariadbd or mysqld is not installed (looked in /nowhere): \
             on Debian or Ubuntu run `apt-get install mariadb-server-core`"
        );
    }

    #[test]
    fn the_preferred_name_wins_over_the_earlier_folder() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(first.path().join("mysqld"), "").unwrap();
        std::fs::write(second.path().join("mariadbd"), "").unwrap();
        let wanted = Wanted { names: &["mariadbd", "mysqld"], package: "mariadb-server-core" };
        let folders = [first.path().to_owned(), second.path().to_owned()];
        assert_eq!(wanted.find_in(&folders).unwrap(), second.path().join("mariadbd"));
    }
}
