//! A private MariaDB or MySQL.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::folder::Folder;
use crate::program::Wanted;
use crate::server::{
    self, Endpoint, Engine, Listen, Server, blocking, on, percent_encoded, until_ended,
};
use crate::{Error, Place};

mod layout;

const MYSQL: Wanted = Wanted { names: &["mariadbd", "mysqld"], package: PACKAGE };
/// Holds MariaDB's server and the scripts that lay out a data folder.
const PACKAGE: &str = "mariadb-server-core";
/// Names the server program for options that name none, so that tests run on another server without a change.
const PROGRAM_VARIABLE: &str = "EMBEDDED_MYSQLD";
/// `1`: options that do not say otherwise have a binary log.
const BINLOG_VARIABLE: &str = "EMBEDDED_MYSQL_BINLOG";

/// How a private MariaDB or MySQL is to run.
#[derive(Debug, Clone)]
pub struct MySqlOptions {
    /// Where its data lies.
    pub place: Place,
    /// Where it listens, besides its unix socket. Default: nowhere.
    pub listen: Listen,
    /// A commit is on disk when it is answered, and torn pages are mended. False is for tests that show what is
    /// refused. Default: true.
    pub durable: bool,
    /// Writes a binary log, flushed at every commit where `durable`. Default: false, or true where the environment has
    /// `EMBEDDED_MYSQL_BINLOG=1`.
    pub binlog: bool,
    /// Memory for pages, in MiB. Default: 256.
    pub buffer_pool_mib: u32,
    /// Room for the redo log, in MiB; MariaDB and MySQL have different settings for it. Default: the server's own.
    pub redo_log_mib: Option<u32>,
    /// The server program. Default: the one that the environment names in `EMBEDDED_MYSQLD`, else `mariadbd` or
    /// `mysqld`, where distributions put them.
    pub program: Option<PathBuf>,
    /// Further arguments, after our own, such as `--slow-query-log=1`: for what both servers know.
    pub arguments: Vec<String>,
}

/// A private MariaDB or MySQL that ends with this handle, at the latest with this program. Clones share it.
///
/// Its user `root` has no password: only who can open its folder (this user) can reach its socket.
#[derive(Clone)]
pub struct MySql {
    server: Arc<Server<Installed>>,
}

/// Which of the two a program is: their command lines differ here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    MariaDb,
    MySql,
}

struct Installed {
    program: PathBuf,
    flavour: Flavour,
    durable: bool,
    binlog: bool,
    buffer_pool_mib: u32,
    redo_log_mib: Option<u32>,
    arguments: Vec<String>,
}

impl MySqlOptions {
    /// Data that stays, in this folder.
    pub fn kept(folder: impl Into<PathBuf>) -> Self {
        Self::at(Place::Kept(folder.into()))
    }

    /// Data that is thrown away with the handle.
    pub fn temporary() -> Self {
        Self::at(Place::Temporary)
    }

    /// The one place where the environment is asked.
    fn at(place: Place) -> Self {
        let named = env::var_os(PROGRAM_VARIABLE).filter(|program| !program.is_empty());
        Self {
            place,
            listen: Listen::default(),
            durable: true,
            binlog: env::var_os(BINLOG_VARIABLE).is_some_and(|binlog| binlog == "1"),
            buffer_pool_mib: 256,
            redo_log_mib: None,
            program: named.map(PathBuf::from),
            arguments: Vec::new(),
        }
    }
}

impl MySql {
    /// Lays out the data folder if it is new, starts the server, and returns when it answers.
    ///
    /// # Errors
    /// [`Error::Missing`] when it is not installed, [`Error::InUse`] when another program owns the folder,
    /// [`Error::Ended`] and [`Error::Silent`] with the end of its log when it does not come up.
    pub async fn start(options: MySqlOptions) -> Result<Self, Error> {
        let server = blocking(move || {
            let MySqlOptions {
                place,
                listen,
                durable,
                binlog,
                buffer_pool_mib,
                redo_log_mib,
                program,
                arguments,
            } = options;
            let program = MYSQL.find(program.as_deref())?;
            let flavour = Flavour::of(&program)?;
            let folder = server::open(&place)?;
            layout::lay_out(&program, flavour, &folder)?;
            let installed = Installed {
                program,
                flavour,
                durable,
                binlog,
                buffer_pool_mib,
                redo_log_mib,
                arguments,
            };
            Server::start(installed, folder, listen)
        });
        Ok(Self { server: Arc::new(server.await?) })
    }

    /// The URL for clients, as `root` and with no schema chosen:
    /// `mysql://root@127.0.0.1:PORT/?prefer_socket=false`, or `mysql://root@localhost/?socket=PATH` where it does
    /// not listen on TCP.
    pub fn url(&self) -> String {
        self.url_for("root", "", "")
    }

    /// The URL for clients as another user, with the schema chosen. The names and the password stand in it as
    /// they are: letters, digits, `_` and `-`. An empty password or schema is left out.
    pub fn url_for(&self, user: &str, password: &str, schema: &str) -> String {
        let colon = if password.is_empty() { "" } else { ":" };
        let credentials = format!("{user}{colon}{password}");
        let Endpoint { socket, port } = self.server.endpoint();
        let Some(port) = port else {
            let socket = percent_encoded(socket);
            return format!("mysql://{credentials}@localhost/{schema}?socket={socket}");
        };
        // Told not to, or clients that find the server on their own machine move over to its socket.
        format!("mysql://{credentials}@127.0.0.1:{port}/{schema}?prefer_socket=false")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Its process id, or `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Ends it in good order (killed after 60 s). Nothing to do when it does not run.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be ended.
    pub async fn stop(&self) -> Result<(), Error> {
        on(&self.server, Server::stop).await
    }

    /// Kills it as a crash would. Nothing to do when it does not run.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be killed.
    pub async fn kill(&self) -> Result<(), Error> {
        on(&self.server, Server::kill).await
    }

    /// Waits until it ends. Nothing to wait for when it does not run.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of its log when it ended by itself, or a stranger ended it; [`Error::Io`] when it
    /// cannot be watched.
    pub async fn ended(&self) -> Result<(), Error> {
        until_ended(&self.server).await
    }

    /// Stops it if it runs, and starts it again on the same data, socket and port.
    ///
    /// # Errors
    /// As [`MySql::start`].
    pub async fn restart(&self) -> Result<(), Error> {
        on(&self.server, Server::restart).await
    }
}

impl Flavour {
    fn of(program: &Path) -> Result<Self, Error> {
        let told = Command::new(program)
            .args(["--no-defaults", "--version"])
            .output()
            .map_err(Error::io("run", program))?;
        let maria = String::from_utf8_lossy(&told.stdout).contains("MariaDB");
        Ok(if maria { Self::MariaDb } else { Self::MySql })
    }
}

impl Engine for Installed {
    fn program(&self) -> &Path {
        &self.program
    }

    fn arguments(&self, folder: &Folder, endpoint: &Endpoint) -> Vec<OsString> {
        let durable = i32::from(self.durable);
        let mut arguments = layout::common_arguments(&folder.data(), folder);
        let mut path = |name: &str, value: &Path| {
            let mut argument = OsString::from(format!("--{name}="));
            argument.push(value);
            arguments.push(argument);
        };
        path("socket", &endpoint.socket);
        path("pid-file", &folder.path().join("server.pid"));

        let mut settings = vec![
            format!("--innodb-flush-log-at-trx-commit={durable}"),
            format!("--innodb-doublewrite={}", if self.durable { "ON" } else { "OFF" }),
            format!("--innodb-buffer-pool-size={}M", self.buffer_pool_mib),
            // Whoever waits longer for a row tells its caller, who asks again.
            "--innodb-lock-wait-timeout=2".to_owned(),
            "--transaction-isolation=READ-COMMITTED".to_owned(),
            "--max-connections=500".to_owned(),
            // Every connection of every pool caches its statements.
            "--max-prepared-stmt-count=1048576".to_owned(),
            "--max-allowed-packet=64M".to_owned(),
            // Names are compared byte for byte.
            "--character-set-server=utf8mb4".to_owned(),
            "--collation-server=utf8mb4_bin".to_owned(),
            "--performance-schema=OFF".to_owned(),
        ];
        match endpoint.port {
            Some(port) => {
                settings.extend(["--bind-address=127.0.0.1".to_owned(), format!("--port={port}")]);
            }
            None => settings.push("--skip-networking".to_owned()),
        }
        if self.binlog {
            settings.extend(["--log-bin=binlog".to_owned(), "--server-id=1".to_owned()]);
            settings.push(format!("--sync-binlog={durable}"));
        } else {
            settings.push("--skip-log-bin".to_owned());
        }
        match self.flavour {
            Flavour::MariaDb => {
                if self.binlog {
                    // MySQL writes rows unless told otherwise, and warns whoever tells it.
                    settings.push("--binlog-format=ROW".to_owned());
                }
                if let Some(mib) = self.redo_log_mib {
                    settings.push(format!("--innodb-log-file-size={mib}M"));
                }
            }
            Flavour::MySql => {
                // It would listen on another port, and look for a folder that a package makes.
                settings.extend(["--mysqlx=OFF".to_owned(), "--secure-file-priv=NULL".to_owned()]);
                if let Some(mib) = self.redo_log_mib {
                    settings.push(format!("--innodb-redo-log-capacity={mib}M"));
                }
            }
        }
        settings.extend(self.arguments.iter().cloned());
        arguments.extend(settings.into_iter().map(OsString::from));
        arguments
    }

    /// The server speaks first: three bytes of length, a sequence number, then the protocol's version (10); an
    /// error packet has 255 there.
    fn is_ready(stream: &mut UnixStream) -> io::Result<bool> {
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting)?;
        Ok(matches!(greeting, [_, _, _, _, 10]))
    }
}
