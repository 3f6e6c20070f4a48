//! A note in the data folder that tells other runs of the program where the running shop is.

use crate::carrier::Carrier;
use crate::clients::Addresses;
use crate::config::Config;
use anyhow::{Context, Result};
use migrations::Schema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A relay that lets an event wait longer than this is broken.
const RELAYED_WITHIN: Duration = Duration::from_mins(1);

/// Where a running shop is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// The process that runs it.
    pub pid: u32,
    /// Its public services.
    pub addresses: Addresses,
    /// Its saga administration.
    pub admin: String,
    /// Its databases as the auditor reads them, by schema.
    pub databases: BTreeMap<String, String>,
    /// What carries its events.
    pub(crate) events: Option<Carrier>,
    /// Its Redis.
    pub redis: Option<String>,
    /// What its keys in Redis begin with.
    pub redis_prefix: String,
}

impl Running {
    pub(super) fn new(config: &Config, addresses: Addresses, admin: String) -> Self {
        let is_used = |schema: &Schema| *schema != Schema::Activity || config.activity.enabled;
        let url =
            |schema: Schema| Some((schema.name().to_owned(), config.database.audit_url(schema)?));
        Self {
            pid: std::process::id(),
            addresses,
            admin,
            databases: Schema::ALL.into_iter().filter(is_used).filter_map(url).collect(),
            events: Carrier::of(config).ok(),
            redis: config.redis.url().map(str::to_owned),
            redis_prefix: config.redis.prefix.clone(),
        }
    }

    /// The shop that runs on this data folder, if one does.
    ///
    /// # Errors
    /// A note that cannot be read.
    pub fn find(data_dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(note(data_dir)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let running: Self = serde_json::from_slice(&text)?;
        // A shop that was killed leaves its note behind.
        let lives = Path::new("/proc").join(running.pid.to_string()).exists();
        Ok(lives.then_some(running))
    }

    /// What an audit of it looks at.
    ///
    /// # Errors
    /// A schema of which the note does not say where it is; as `Carrier::streams`.
    pub fn targets(&self) -> Result<audit::Targets> {
        let url = |schema: Schema| {
            let url = self.databases.get(schema.name()).cloned();
            url.with_context(|| format!("where the schema {} is", schema.name()))
        };
        let prefix = self.redis_prefix.clone();
        Ok(audit::Targets {
            wallet: url(Schema::Wallet)?,
            product: url(Schema::Product)?,
            coupon: url(Schema::Coupon)?,
            order: url(Schema::Order)?,
            orchestrator: url(Schema::Orchestrator)?,
            activity: self.databases.get(Schema::Activity.name()).cloned(),
            streams: self.events.as_ref().map(Carrier::streams).transpose()?,
            ranking: self.redis.clone().map(|url| audit::Redis { url, prefix }),
            relayed_within: Some(RELAYED_WITHIN),
        })
    }

    /// Writes the note. It may hold passwords, so nobody else may read it.
    pub(super) fn save(&self, data_dir: &Path) -> io::Result<()> {
        fs::create_dir_all(data_dir)?;
        let path = note(data_dir);
        let new = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, path)
    }

    /// Removes the note; a note that stays names a process that is gone, and is ignored.
    pub(super) fn forget(data_dir: &Path) {
        let _ = fs::remove_file(note(data_dir));
    }
}

fn note(data_dir: &Path) -> PathBuf {
    data_dir.join("running.json")
}
