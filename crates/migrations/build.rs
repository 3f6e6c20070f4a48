//! Embeds `migrations/`: a list a folder, each migration by its name, in order.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = fs::canonicalize(
        Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../migrations"),
    )?;
    println!("cargo:rerun-if-changed={}", root.display());
    let mut text = String::new();
    for schema in folders(&root)? {
        let name = name(&schema)?.to_uppercase();
        writeln!(text, "const {name}: &[Migration] = &[")?;
        for migration in folders(&schema)? {
            let (name, sql) = (self::name(&migration)?, migration.join("up.sql"));
            let sql = sql.display();
            writeln!(
                text,
                "    Migration {{ name: {name:?}, sql: include_str!({:?}) }},",
                sql.to_string()
            )?;
        }
        writeln!(text, "];")?;
    }
    fs::write(Path::new(&std::env::var("OUT_DIR")?).join("embedded.rs"), text)?;
    Ok(())
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries: Result<Vec<_>, _> = fs::read_dir(path)?.collect();
    let mut folders: Vec<PathBuf> =
        entries?.iter().map(fs::DirEntry::path).filter(|it| it.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn name(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| "a folder's name is no text".into())
}
