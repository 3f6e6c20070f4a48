//! What the services ask the databases of the tests, to see what the list of queries in `tests/indexes` lacks.
//!
//! Where `TEST_DIGESTS` names a folder, a test program writes down there every kind of statement that the services send,
//! each once and before it is sent, so that nothing is lost however the program ends. It asks the connections and not the
//! server: the digests of MariaDB 10.11 leave out prepared statements, and all of a script but its first statement.
//!
//! Tests send statements of their own on the same connections. Whose one is, the stack tells: the innermost source file
//! that it is sent from is a service's, or a test's. Of what a lane sends, its task shows only the lane: that is a service's
//! in all tests but the lanes' own, which are not listened to.

mod digest;
mod origin;

pub use digest::digests;

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use migrations::Schema;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, process};

/// Names the folder that takes the digests.
const FOLDER: &str = "TEST_DIGESTS";
/// How often a statement that was a test's is looked at again: it may be a service's, too. A look takes milliseconds.
const LOOKS: u32 = 20;

static BOOK: OnceLock<Mutex<Book>> = OnceLock::new();

/// What this program has written down.
struct Book {
    /// Looks that are left for each kind of statement.
    looks: HashMap<(Schema, String), u32>,
    file: File,
}

/// One connection's.
#[derive(Default)]
struct Listener {
    schema: Option<Schema>,
}

/// Writes down what the connections send that are opened from now on, where that is wanted.
pub(crate) fn watch() {
    let Some(folder) = env::var_os(FOLDER).filter(|folder| !folder.is_empty()) else { return };
    if !origin::has_services() {
        return;
    }
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder).expect("a folder for the digests");
    let file = File::create(folder.join(format!("{}.tsv", process::id())));
    let file = file.expect("a file for the digests");
    if BOOK.set(Mutex::new(Book { looks: HashMap::new(), file })).is_ok() {
        set_default_instrumentation(|| Some(Box::<Listener>::default()))
            .expect("connections that can be listened to");
    }
}

impl Instrumentation for Listener {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartEstablishConnection { url, .. } => {
                self.schema = schema_of(url);
            }
            InstrumentationEvent::StartQuery { query, .. } => {
                let (Some(schema), Some(book)) = (self.schema, BOOK.get()) else { return };
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                for digest in digests(&query.to_string()) {
                    book.note(schema, &digest);
                }
            }
            _ => {}
        }
    }
}

impl Book {
    fn note(&mut self, schema: Schema, digest: &str) {
        let looks = self.looks.entry((schema, digest.to_owned())).or_insert(LOOKS);
        if *looks == 0 {
            return;
        }
        *looks -= 1;
        let Some(file) = origin::service() else { return };
        *looks = 0;
        let line = format!("{}\t{digest}\t{file}\n", schema.name());
        self.file.write_all(line.as_bytes()).expect("room for the digests");
    }
}

/// A test's database has the schema's name and a number.
fn schema_of(url: &str) -> Option<Schema> {
    let path = url.split('?').next()?;
    let (_, database) = path.rsplit_once('/')?;
    let (name, number) = database.rsplit_once('_')?;
    number.parse::<u32>().ok()?;
    Schema::ALL.into_iter().find(|schema| schema.name() == name)
}
