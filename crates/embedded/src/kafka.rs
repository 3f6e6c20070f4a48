//! A private Apache Kafka: one process that is broker and controller, for tests.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::folder::Folder;
use crate::process::Process;
use crate::program::Wanted;
use crate::server::{self, PATIENCE, PORT_TRIALS, blocking, ended, free_port, is_taken};
use crate::{Error, Place};

const JAVA: Wanted = Wanted { names: &["java"], package: "openjdk-17-jre-headless" };
/// Any will do: it is alone.
const CLUSTER: &str = "Y29tbWVyY2UtdGVzdC1jbA";
/// The Java programs, in the jars of Kafka.
const FORMAT: &str = "kafka.tools.StorageTool";
const SERVE: &str = "kafka.Kafka";
/// How long it may take to answer.
const READY: Duration = Duration::from_mins(3);
/// Time between two looks at one that does not answer yet.
const LOOK: Duration = Duration::from_millis(50);
/// How long one that let us in may take to say a word.
const WORD: Duration = Duration::from_secs(2);
/// A request for the versions of all requests, the first that a broker answers: length, key 18, version 0, number 1, no
/// client's name.
const VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
/// What its answer begins with behind the length: the number, and no error.
const ANSWER: [u8; 6] = [0, 0, 0, 1, 0, 0];

/// How a private Kafka is to run.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// Where its data lies.
    pub place: Place,
    /// The folder of its jars.
    pub jars: PathBuf,
    /// Megabytes of heap. Default: 256.
    pub heap_mib: u32,
}

/// A private Kafka that ends with this handle, at the latest with this program. Clones share it.
///
/// It listens on a port of 127.0.0.1 that stays the same over restarts.
#[derive(Clone)]
pub struct Kafka {
    broker: Arc<Broker>,
}

struct Broker {
    java: PathBuf,
    options: KafkaOptions,
    ports: Ports,
    process: Mutex<Option<Process>>,
    folder: Folder,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    clients: u16,
    controller: u16,
}

impl KafkaOptions {
    /// Data that is thrown away with the handle.
    pub fn temporary(jars: impl Into<PathBuf>) -> Self {
        Self { place: Place::Temporary, jars: jars.into(), heap_mib: 256 }
    }
}

impl Kafka {
    /// Starts it, and returns when it answers.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no Java, [`Error::InUse`] when another program owns the folder,
    /// [`Error::Ended`] and [`Error::Silent`] with the end of its log when it does not come up.
    pub async fn start(options: KafkaOptions) -> Result<Self, Error> {
        let broker = blocking(move || {
            let java = JAVA.find(None)?;
            let folder = server::open(&options.place)?;
            Broker::start(java, options, folder)
        });
        Ok(Self { broker: Arc::new(broker.await?) })
    }

    /// Where clients find it: `127.0.0.1:PORT`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.broker.ports.clients)
    }

    /// Kills it, as a crash would. Nothing to do when it does not run.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be killed.
    pub async fn kill(&self) -> Result<(), Error> {
        let broker = Arc::clone(&self.broker);
        blocking(move || broker.end(Process::kill)).await
    }

    /// Stops it in good order if it runs, and starts it again on the same data and port.
    ///
    /// # Errors
    /// As [`Kafka::start`].
    pub async fn restart(&self) -> Result<(), Error> {
        let broker = Arc::clone(&self.broker);
        blocking(move || {
            broker.end(|process| process.end(PATIENCE))?;
            let process = broker.launch()?;
            *broker.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
            Ok(())
        })
        .await
    }
}

impl Broker {
    fn start(java: PathBuf, options: KafkaOptions, folder: Folder) -> Result<Self, Error> {
        fs::create_dir_all(folder.data()).map_err(Error::io("make the folder", &folder.data()))?;
        let mut trials = 0;
        let ports = || Ok::<_, Error>(Ports { clients: free_port()?, controller: free_port()? });
        let mut broker = Self { java, options, ports: ports()?, process: Mutex::new(None), folder };
        broker.configure()?;
        broker.format()?;
        loop {
            match broker.launch() {
                Ok(process) => {
                    broker.process = Mutex::new(Some(process));
                    return Ok(broker);
                }
                Err(Error::Ended { .. })
                    if trials < PORT_TRIALS
                        && (is_taken(broker.ports.clients)
                            || is_taken(broker.ports.controller)) =>
                {
                    trials += 1;
                    broker.ports = ports()?;
                    broker.configure()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn configure(&self) -> Result<(), Error> {
        let Ports { clients, controller } = self.ports;
        let data = self.folder.data();
        let logs = data.display();
        // One node alone keeps one copy of everything; small caches and few threads start faster.
        let properties = format!(
            "process.roles=broker,controller\n\
            node.id=1\n\
            controller.quorum.voters=1@127.0.0.1:{controller}\n\
            listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
            advertised.listeners=PLAINTEXT://127.0.0.1:{clients}\n\
            controller.listener.names=CONTROLLER\n\
            inter.broker.listener.name=PLAINTEXT\n\
            listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
            log.dirs={logs}/log\n\
            auto.create.topics.enable=false\n\
            offsets.topic.num.partitions=1\n\
            offsets.topic.replication.factor=1\n\
            transaction.state.log.num.partitions=1\n\
            transaction.state.log.replication.factor=1\n\
            transaction.state.log.min.isr=1\n\
            share.coordinator.state.topic.num.partitions=1\n\
            share.coordinator.state.topic.replication.factor=1\n\
            share.coordinator.state.topic.min.isr=1\n\
            group.initial.rebalance.delay.ms=0\n\
            num.network.threads=2\n\
            num.io.threads=2\n\
            log.cleaner.dedupe.buffer.size=4194304\n"
        );
        let path = self.properties();
        fs::write(&path, properties).map_err(Error::io("write", &path))
    }

    fn arguments(&self, class: &str, arguments: &[&str]) -> Vec<OsString> {
        let heap = self.options.heap_mib;
        let mut all: Vec<OsString> = vec![
            format!("-Xmx{heap}m").into(),
            // It runs for minutes: the first compiler is fast enough, and starts it sooner.
            "-XX:TieredStopAtLevel=1".into(),
            "-XX:+UseSerialGC".into(),
            "-Xshare:auto".into(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".into(),
            "-cp".into(),
            self.options.jars.join("*").into(),
            class.into(),
        ];
        all.extend(arguments.iter().map(OsString::from));
        all
    }

    fn format(&self) -> Result<(), Error> {
        let properties = self.properties();
        let properties = properties.to_string_lossy();
        let arguments =
            self.arguments(FORMAT, &["format", "--cluster-id", CLUSTER, "--config", &properties]);
        let log = self.folder.new_log()?;
        let process =
            Process::start(&self.java, &arguments, &self.folder.data(), Stdio::null(), &log)
                .map_err(Error::io("start", &self.java))?;
        match process.ended_within(READY).map_err(Error::io("watch", &self.java))? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(ended(&self.java, status, &self.folder)),
            None => self.give_up(process),
        }
    }

    fn launch(&self) -> Result<Process, Error> {
        let properties = self.properties();
        let arguments = self.arguments(SERVE, &[&properties.to_string_lossy()]);
        let log = self.folder.new_log()?;
        let process =
            Process::start(&self.java, &arguments, &self.folder.data(), Stdio::null(), &log)
                .map_err(Error::io("start", &self.java))?;
        let since = Instant::now();
        loop {
            let status = process.ended_within(LOOK).map_err(Error::io("watch", &self.java))?;
            if let Some(status) = status {
                return Err(ended(&self.java, status, &self.folder));
            }
            if answers(self.ports.clients).unwrap_or(false) {
                tracing::info!(port = self.ports.clients, pid = process.pid(), "Kafka ready");
                return Ok(process);
            }
            if since.elapsed() > READY {
                return self.give_up(process);
            }
        }
    }

    fn give_up<T>(&self, process: Process) -> Result<T, Error> {
        process.kill().map_err(Error::io("kill", &self.java))?;
        let (log, tail) = (self.folder.log(), self.folder.tail());
        Err(Error::Silent { program: self.java.clone(), waited: READY, log, tail })
    }

    fn end(&self, how: impl FnOnce(Process) -> io::Result<()>) -> Result<(), Error> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = process.take() else { return Ok(()) };
        how(running).map_err(Error::io("end", Path::new("Kafka")))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let ended = if self.folder.is_temporary() {
            self.end(Process::kill)
        } else {
            self.end(|process| process.end(PATIENCE))
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "cannot end a server");
        }
    }
}

/// A broker answers when it has joined its cluster. Should a stranger have been faster on the port, ours has ended.
fn answers(port: u16) -> io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, WORD)?;
    stream.set_read_timeout(Some(WORD))?;
    stream.set_write_timeout(Some(WORD))?;
    stream.write_all(&VERSIONS)?;
    let mut answer = [0; 10];
    stream.read_exact(&mut answer)?;
    Ok(answer.ends_with(&ANSWER))
}
