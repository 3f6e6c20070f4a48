//! Lays out a new data folder: the system tables, and a `root` without a password.
//!
//! MariaDB's `mariadb-install-db` is not used: it needs programs of the client package, and does no more than
//! feed these scripts to the server.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Flavour, PACKAGE};
use crate::Error;
use crate::folder::Folder;
use crate::process::Process;
use crate::server::{PATIENCE, ended};

/// Where MariaDB's packages put the scripts, below the installation's root.
const SCRIPT_FOLDERS: [&str; 4] = ["share/mysql", "share/mariadb", "share", "scripts"];
/// The scripts were renamed in later versions.
const SCRIPT_PREFIXES: [&str; 2] = ["mariadb_", "mysql_"];

/// Arguments that the server takes in every role. The machine's own configuration files are not read.
pub(super) fn common_arguments(data: &Path, folder: &Folder) -> Vec<OsString> {
    let path = |name: &str, value: &Path| {
        let mut argument = OsString::from(format!("--{name}="));
        argument.push(value);
        argument
    };
    let mut arguments = vec![
        OsString::from("--no-defaults"),
        path("datadir", data),
        // Of its own: a server that starts removes every server's temporary tables from the folder it shares.
        path("tmpdir", &folder.scratch()),
    ];
    if rustix::process::geteuid().is_root() {
        // It refuses to run as root unless told that this is meant.
        arguments.push("--user=root".into());
    }
    arguments
}

/// Fills the folder's data, if it has none. Whatever kills us in between, the next start begins afresh.
pub(super) fn lay_out(program: &Path, flavour: Flavour, folder: &Folder) -> Result<(), Error> {
    let data = folder.data();
    if data.exists() {
        return Ok(());
    }
    let unborn = folder.path().join("data.unborn");
    if unborn.exists() {
        fs::remove_dir_all(&unborn).map_err(Error::io("remove", &unborn))?;
    }
    let mut arguments = common_arguments(&unborn, folder);
    let input = match flavour {
        Flavour::MariaDb => {
            fs::create_dir(&unborn).map_err(Error::io("make the folder", &unborn))?;
            arguments.extend(
                ["--bootstrap", "--log-warnings=0", "--enforce-storage-engine="]
                    .map(OsString::from),
            );
            Stdio::from(bootstrap_script(program, folder)?)
        }
        Flavour::MySql => {
            arguments.push("--initialize-insecure".into());
            Stdio::null()
        }
    };
    let log = folder.new_log()?;
    let process = Process::start(program, &arguments, folder.path(), input, &log)
        .map_err(Error::io("start", program))?;
    let status = process.ended_within(PATIENCE).map_err(Error::io("watch", program))?;
    let Some(status) = status else {
        process.kill().map_err(Error::io("kill", program))?;
        return Err(Error::Silent {
            program: program.to_owned(),
            waited: PATIENCE,
            log: folder.log(),
            tail: folder.tail(),
        });
    };
    if !status.success() {
        return Err(ended(program, status, folder));
    }
    fs::rename(&unborn, &data).map_err(Error::io("rename", &unborn))
}

/// One file with all that MariaDB is to run. The bootstrap reads one statement a line.
fn bootstrap_script(program: &Path, folder: &Folder) -> Result<File, Error> {
    let path = folder.path().join("bootstrap.sql");
    let mut script =
        b"CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n".to_vec();
    for name in ["system_tables.sql", "system_tables_data.sql"] {
        let source = script_path(program, name)?;
        script.extend(fs::read(&source).map_err(Error::io("read", &source))?);
        script.push(b'\n');
    }
    let write = || File::create(&path)?.write_all(&script);
    write().map_err(Error::io("write", &path))?;
    File::open(&path).map_err(Error::io("open", &path))
}

fn script_path(program: &Path, name: &str) -> Result<PathBuf, Error> {
    let program = fs::canonicalize(program).map_err(Error::io("find", program))?;
    let root = program.parent().and_then(Path::parent).unwrap_or_else(|| Path::new("/usr"));
    let folders = SCRIPT_FOLDERS.map(|folder| root.join(folder));
    let mut candidates = folders.iter().flat_map(|folder| {
        SCRIPT_PREFIXES.iter().map(move |prefix| folder.join(format!("{prefix}{name}")))
    });
    candidates.find(|candidate| candidate.is_file()).ok_or_else(|| Error::Missing {
        what: format!("MariaDB's script {name}"),
        looked: folders.map(|folder| folder.display().to_string()).join(":"),
        package: PACKAGE,
    })
}
