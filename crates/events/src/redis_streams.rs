//! The bus on Redis Streams: a stream a shard, the position as the entry's id.
//!
//! All keys of a schema share one hash tag, so the scripts that keep them consistent work in a cluster, too:
//! `commerce:{order}:events:7`, `…:generation`, `…:heads`, `…:acked:<consumer>`, `…:replay:<consumer>`,
//! `…:dead:<consumer>`.

use crate::bus::{
    Append, Bus, DeadLetter, Error, Generation, Message, Reader, State, StreamState, Subscription,
};
use crate::{PerShard, Positions, Shard};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, AsyncConnectionConfig, Client, RedisError, Script};
use redis_link::Link;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// Entries that a stream keeps, about, when nobody consumes it.
const KEPT_WITHOUT_CONSUMERS: usize = 200;
/// Time after which a silent replay counts as abandoned, in milliseconds.
const REPLAY_TTL_MS: i64 = 60_000;
/// The entry's only field.
const FIELD: &str = "e";

/// One schema's streams.
#[derive(Clone)]
pub struct RedisStreams {
    client: Client,
    commands: Link,
    keys: Keys,
    consumers: Vec<String>,
}

#[derive(Clone)]
struct Keys {
    base: String,
    streams: Vec<String>,
}

struct StreamReader {
    client: Client,
    streams: Vec<String>,
    connection: Option<MultiplexedConnection>,
}

/// A consumer reads all streams, each of its replicas: their stored positions tell which of them was first.
struct StreamSubscription {
    reader: StreamReader,
    commands: Link,
    acknowledged: String,
}

macro_rules! script {
    ($file:literal) => {{
        static SCRIPT: std::sync::LazyLock<Script> = std::sync::LazyLock::new(|| {
            Script::new(concat!(include_str!("lua/common.lua"), include_str!($file)))
        });
        &*SCRIPT
    }};
}

impl Keys {
    fn new(prefix: &str, schema: &str) -> Self {
        let base = format!("{prefix}:{{{schema}}}:events");
        let streams = Shard::all().map(|shard| format!("{base}:{shard}")).collect();
        Self { base, streams }
    }

    fn of(&self, what: &str) -> String {
        format!("{}:{what}", self.base)
    }

    fn of_consumer(&self, what: &str, consumer: &str) -> String {
        format!("{}:{what}:{consumer}", self.base)
    }
}

impl RedisStreams {
    /// The bus of `schema`, its keys beginning with `prefix`. Streams are trimmed below what all of `consumers` have
    /// acknowledged, and nowhere else; so name those that exist and no others.
    ///
    /// Needs a tokio runtime; connects when first used.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the client's settings make no sense.
    pub fn new(
        client: Client,
        prefix: &str,
        schema: &str,
        consumers: &[&str],
    ) -> Result<Self, Error> {
        let commands = Link::new(&client, TIMEOUT)?;
        let consumers = consumers.iter().map(ToString::to_string).collect();
        Ok(Self { client, commands, keys: Keys::new(prefix, schema), consumers })
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        script: &Script,
        more_keys: &[String],
        arguments: Vec<Vec<u8>>,
    ) -> Result<T, Error> {
        let mut call = script.prepare_invoke();
        call.key(self.keys.of("generation")).key(self.keys.of("heads")).key(&self.keys.streams);
        call.key(more_keys).arg(arguments);
        Ok(call.invoke_async(&mut self.commands.clone()).await?)
    }

    fn stream_reader(&self) -> StreamReader {
        let (client, streams) = (self.client.clone(), self.keys.streams.clone());
        StreamReader { client, streams, connection: None }
    }

    fn consumer_keys(&self) -> Vec<String> {
        let keys = self.consumers.iter().flat_map(|consumer| {
            ["acked", "replay"].map(|what| self.keys.of_consumer(what, consumer))
        });
        keys.collect()
    }
}

/// Scripts over a full batch take longer than the driver's half second when the machine is busy.
const TIMEOUT: Duration = Duration::from_secs(3);

#[async_trait]
impl Bus for RedisStreams {
    async fn state(&self) -> Result<State, Error> {
        let arguments = vec![Uuid::now_v7().to_string().into_bytes()];
        let (generation, numbers, spoken): (String, Vec<i64>, bool) =
            self.run(script!("lua/state.lua"), &self.consumer_keys(), arguments).await?;
        let mut shards = PerShard::<StreamState>::default();
        for (shard, numbers) in Shard::all().zip(numbers.chunks_exact(4)) {
            let [top, head, acknowledged, known] = *numbers else { continue };
            let told = |number: i64| (number >= 0).then_some(number);
            shards[shard] =
                StreamState { top, head: told(head), acknowledged: told(acknowledged), known };
        }
        Ok(State { generation: Generation(generation), shards, all_have_spoken: spoken })
    }

    async fn publish(&self, generation: &Generation, appends: Vec<Append>) -> Result<(), Error> {
        let mut arguments =
            vec![generation.0.clone().into_bytes(), KEPT_WITHOUT_CONSUMERS.to_string().into()];
        for append in appends {
            let count = append.messages.len();
            arguments.push(append.shard.to_string().into());
            arguments.push(append.after.to_string().into());
            arguments.push(append.through.to_string().into());
            arguments.push(append.head.to_string().into());
            arguments.push(count.to_string().into());
            for message in append.messages {
                arguments.push(message.position.to_string().into());
                arguments.push(message.envelope);
            }
        }
        self.run::<i64>(script!("lua/publish.lua"), &self.consumer_keys(), arguments).await?;
        Ok(())
    }

    /// It is in memory.
    fn holds_back(&self) -> bool {
        true
    }

    async fn reset(&self, generation: &Generation) -> Result<(), Error> {
        let arguments = vec![generation.0.clone().into(), Uuid::now_v7().to_string().into()];
        self.run::<i64>(script!("lua/reset.lua"), &[], arguments).await?;
        Ok(())
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(self.stream_reader())
    }

    fn subscribe(&self, consumer: &str) -> Box<dyn Subscription> {
        Box::new(StreamSubscription {
            reader: self.stream_reader(),
            commands: self.commands.clone(),
            acknowledged: self.keys.of_consumer("acked", consumer),
        })
    }

    async fn acknowledged(&self, consumer: &str) -> Result<Positions, Error> {
        let key = self.keys.of_consumer("acked", consumer);
        let done: HashMap<u8, i64> = self.commands.clone().hgetall(key).await?;
        Ok(PerShard::from_fn(|shard| done.get(&shard.number()).copied().unwrap_or_default()))
    }

    async fn heads(&self) -> Result<Option<Positions>, Error> {
        let heads: HashMap<u8, i64> = self.commands.clone().hgetall(self.keys.of("heads")).await?;
        if Shard::all().any(|shard| !heads.contains_key(&shard.number())) {
            return Ok(None);
        }
        let head = |shard: Shard| heads.get(&shard.number()).copied().unwrap_or_default();
        Ok(Some(PerShard::from_fn(head)))
    }

    async fn replay(&self, consumer: &str) -> Result<(), Error> {
        let keys = [self.keys.of_consumer("replay", consumer)];
        let ttl = REPLAY_TTL_MS.to_string();
        let arguments = vec![Vec::new(), Uuid::now_v7().to_string().into(), ttl.into()];
        self.run::<i64>(script!("lua/reset.lua"), &keys, arguments).await?;
        Ok(())
    }

    async fn hold(&self, consumer: &str, positions: &Positions) -> Result<(), Error> {
        let key = self.keys.of_consumer("replay", consumer);
        let mut both = redis::pipe();
        both.atomic().hset_multiple(&key, &fields(positions)).ignore();
        both.pexpire(&key, REPLAY_TTL_MS).ignore();
        let () = both.query_async(&mut self.commands.clone()).await?;
        Ok(())
    }

    async fn rewind(&self, consumer: &str) -> Result<(), Error> {
        self.replay(consumer).await?;
        let key = self.keys.of_consumer("acked", consumer);
        let () = self.commands.clone().hset_multiple(key, &fields(&Positions::default())).await?;
        // What is acknowledged keeps the events from being trimmed; the replay's own positions would have to be renewed.
        self.release(consumer).await
    }

    async fn release(&self, consumer: &str) -> Result<(), Error> {
        let key = self.keys.of_consumer("replay", consumer);
        let () = self.commands.clone().del(key).await?;
        Ok(())
    }

    async fn bury(&self, consumer: &str, letter: &DeadLetter) -> Result<(), Error> {
        // Named by its place, so that a letter that is buried again stays one.
        let field = format!("{}:{}:{}", letter.shard, letter.position, letter.index);
        let mut value = letter.reason.replace('\n', " ").into_bytes();
        value.push(b'\n');
        value.extend_from_slice(&letter.envelope);
        let key = self.keys.of_consumer("dead", consumer);
        let () = self.commands.clone().hset_nx(key, field, value).await?;
        Ok(())
    }

    async fn dead_letters(&self, consumer: &str) -> Result<Vec<DeadLetter>, Error> {
        let key = self.keys.of_consumer("dead", consumer);
        let kept: HashMap<String, Vec<u8>> = self.commands.clone().hgetall(key).await?;
        let letter = |(field, value): (String, Vec<u8>)| {
            let mut place = field.split(':');
            let (shard, position) = (place.next()?, place.next()?);
            let end = value.iter().position(|byte| *byte == b'\n')?;
            let (reason, envelope) = value.split_at_checked(end)?;
            Some(DeadLetter {
                shard: Shard::new(shard.parse().ok()?)?,
                position: position.parse().ok()?,
                // Letters of before there were several events in a message have none.
                index: place.next().unwrap_or("0").parse().ok()?,
                reason: String::from_utf8_lossy(reason).into_owned(),
                envelope: envelope.get(1..)?.to_vec(),
            })
        };
        let mut letters: Vec<DeadLetter> = kept.into_iter().filter_map(letter).collect();
        letters.sort_by_key(|letter| (letter.shard, letter.position, letter.index));
        Ok(letters)
    }
}

fn fields(positions: &Positions) -> Vec<(u8, i64)> {
    positions.iter().map(|(shard, position)| (shard.number(), *position)).collect()
}

#[async_trait]
impl Reader for StreamReader {
    async fn read(
        &mut self,
        after: &Positions,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Shard, Vec<Message>)>, Error> {
        // Put back only after a whole answer: a connection that failed is of no more use.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(wait).await?,
        };
        let ids: Vec<String> = after.iter().map(|(_, position)| format!("{position}-0")).collect();
        let mut options = StreamReadOptions::default().count(max);
        if !wait.is_zero() {
            options = options.block(usize::try_from(wait.as_millis()).unwrap_or(usize::MAX).max(1));
        }
        let reply: Option<StreamReadReply> =
            connection.xread_options(&self.streams, &ids, &options).await?;
        self.connection = Some(connection);
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        let mut batches = Vec::with_capacity(keys.len());
        for key in keys {
            let place = self.streams.iter().position(|stream| *stream == key.key);
            let shard = place
                .and_then(|place| u8::try_from(place).ok())
                .and_then(Shard::new)
                .ok_or_else(|| Error::Malformed(format!("stream {}", key.key)))?;
            let messages: Result<Vec<Message>, Error> = key.ids.iter().map(message).collect();
            batches.push((shard, messages?));
        }
        Ok(batches)
    }
}

#[async_trait]
impl Reader for StreamSubscription {
    async fn read(
        &mut self,
        after: &Positions,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<(Shard, Vec<Message>)>, Error> {
        self.reader.read(after, max, wait).await
    }
}

#[async_trait]
impl Subscription for StreamSubscription {
    async fn acknowledge(&mut self, positions: &Positions) -> Result<(), Error> {
        let told: Result<(), RedisError> =
            self.commands.hset_multiple(&self.acknowledged, &fields(positions)).await;
        if told.is_err() {
            // What ails the one connection ails the other, and is found out only once.
            self.reader.connection = None;
        }
        Ok(told?)
    }

    /// A read passes over no stream.
    async fn exhausted(&mut self) -> Result<PerShard<bool>, Error> {
        Ok(PerShard::from_fn(|_| true))
    }
}

impl StreamReader {
    async fn connect(&self, wait: Duration) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(redis_link::CONNECT))
            .set_response_timeout(Some(wait + TIMEOUT));
        Ok(self.client.get_multiplexed_async_connection_with_config(&config).await?)
    }
}

fn message(entry: &redis::streams::StreamId) -> Result<Message, Error> {
    let position = entry.id.split('-').next().and_then(|position| position.parse().ok());
    match (position, entry.get(FIELD)) {
        (Some(position), Some(envelope)) => Ok(Message { position, envelope }),
        _ => Err(Error::Malformed(format!("stream entry {}", entry.id))),
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
