//! A whole shop, started by this program: private servers where none are configured, and every role, in this process or
//! each in one of its own.

mod children;
mod running;

pub use running::Running;

use crate::bench;
use crate::clients::Addresses;
use crate::config::{Config, Sources};
use crate::private::PrivateServers;
use crate::process::{Counts, Process};
use crate::roles::Roles;
use anyhow::{Context, Result};
use children::Children;

/// A shop that runs until it is [stopped](Shop::stop).
pub struct Shop {
    config: Config,
    servers: PrivateServers,
    roles: Started,
    addresses: Addresses,
    admin: String,
}

enum Started {
    /// All in this process.
    Here(Box<Process>),
    /// Each in a process of its own.
    Apart(Box<Children>),
}

impl Started {
    async fn new(config: &Config, sources: &Sources, split: bool) -> Result<Self> {
        if split {
            return Ok(Self::Apart(Box::new(Children::start(config, sources).await?)));
        }
        Ok(Self::Here(Box::new(Process::start(config, &Roles::all()).await?)))
    }
}

impl Shop {
    /// Starts what `config` lacks, and all roles. `sources` are what `config` came from: processes of their own get them
    /// too.
    ///
    /// # Errors
    /// Servers that do not come up, databases that cannot be worked with, ports that are taken.
    pub async fn start(mut config: Config, sources: &Sources, split: bool) -> Result<Self> {
        let data_dir = std::path::absolute(&config.data_dir)?;
        config.data_dir = data_dir;
        if !split {
            Process::check_ports(&config, &Roles::all())?;
        }
        let servers = PrivateServers::start(&mut config).await?;
        let started = Started::new(&config, sources, split).await;
        let roles = match started {
            Ok(roles) => roles,
            Err(error) => {
                servers.stop().await?;
                return Err(error);
            }
        };
        let (addresses, admin) = match &roles {
            Started::Here(process) => {
                let listening = process.listening();
                let admin = listening.admin.to_string();
                (Addresses::at(listening.public.to_string(), admin.clone()), admin)
            }
            Started::Apart(children) => (children.addresses().clone(), children.admin().to_owned()),
        };
        let shop = Self { config, servers, roles, addresses, admin };
        shop.running().save(&shop.config.data_dir).context("noting where the shop is")?;
        Ok(shop)
    }

    /// The configuration, with where the private servers are.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the public services are.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where the saga administration is.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The database server as a user who may do anything, if there is one.
    pub fn server_url(&self) -> Option<String> {
        self.servers.server_url().or_else(|| self.config.database.server_url().map(str::to_owned))
    }

    /// What other programs need to know of it.
    fn running(&self) -> Running {
        Running::new(&self.config, self.addresses.clone(), self.admin.clone())
    }

    /// The most memory that its processes ever held, added up, in MiB; what they share (the program itself) once.
    pub fn peak_memory_mib(&self) -> Option<u64> {
        let ours = bench::peak_memory_kib()?;
        let theirs: u64 = match &self.roles {
            Started::Here(_) => 0,
            Started::Apart(children) => {
                children.pids().filter_map(bench::own_peak_memory_kib).sum()
            }
        };
        Some((ours + theirs) / 1_024)
    }

    /// Waits until a part of it breaks down, which none should.
    ///
    /// # Errors
    /// Why it did.
    pub async fn broken(&mut self) -> Result<()> {
        let roles = async {
            match &mut self.roles {
                Started::Here(process) => process.broken().await,
                Started::Apart(children) => children.broken().await,
            }
        };
        tokio::select! {
            broken = roles => broken,
            broken = self.servers.broken() => broken,
        }
    }

    /// Ends it in good order, its servers last. Tells how often each step was called.
    ///
    /// # Errors
    /// A process or server that cannot be ended.
    pub async fn stop(self) -> Result<Counts> {
        let calls = match self.roles {
            Started::Here(process) => {
                let calls = process.calls();
                process.stop().await;
                calls
            }
            Started::Apart(children) => children.stop().await,
        };
        Running::forget(&self.config.data_dir);
        self.servers.stop().await?;
        Ok(calls)
    }
}
