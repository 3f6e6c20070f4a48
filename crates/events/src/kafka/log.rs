//! What the topics of a schema hold, as the broker tells it.
//!
//! The ends of all partitions are asked each time, in one request; a partition whose end is where it was found last has
//! had no other writer, and what was found then still holds. Anything else is read from its end.

use super::client::{
    self, Admin, Looker, Quiet, Ranges, offsets, read_ranges, reading, unavailable,
};
use super::names::Names;
use super::producer::{self, Producer};
use super::record::Place;
use super::{Options, control};
use crate::bus::{Error, Generation};
use crate::{PerShard, Shard};
use control::{Announced, Life};
use rdkafka::message::OwnedMessage;
use rdkafka::{Message as _, Offset};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Records at the end of a partition that are looked at for the last one of the generation, at first and at most.
const LOOK_BACK: (i64, i64) = (1, 1 << 20);

/// A failure that came sooner is worth another look at once.
const QUICK: Duration = Duration::from_secs(1);

/// The topics of one schema.
pub(super) struct Log {
    names: Names,
    options: Options,
    admin: Admin,
    consumer: Looker,
    producer: Option<Producer>,
    ensured: bool,
    /// Of the control topic, as far as it was read.
    read: i64,
    life: Option<Life>,
    announced: BTreeMap<Shard, Announced>,
    known: PerShard<Option<Known>>,
}

/// What was found at the end of a partition.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The partition's end then.
    end: i64,
    top: i64,
}

impl Log {
    pub(super) fn open(names: Names, options: Options) -> Result<Self, Error> {
        let admin =
            client::config(&options.brokers).create_with_context(Quiet).map_err(unavailable)?;
        // Never joined, and nothing is committed to it.
        let group = names.group("look");
        let consumer =
            reading(&options.brokers, &group).create_with_context(Quiet).map_err(unavailable)?;
        Ok(Self {
            names,
            options,
            admin,
            consumer,
            producer: None,
            ensured: false,
            read: 0,
            life: None,
            announced: BTreeMap::new(),
            known: PerShard::default(),
        })
    }

    /// The present generation, begun if there is none. Everything else that this type tells is as of the last call.
    pub(super) fn look(&mut self) -> Result<Generation, Error> {
        let since = Instant::now();
        let looked = self.look_once();
        if looked.is_ok() {
            return looked;
        }
        // The topics may be gone, or led by another broker: asked anew, both are known.
        self.ensured = false;
        if since.elapsed() < QUICK { self.look_once() } else { looked }
    }

    /// Creates what is missing, and waits until the brokers have it.
    fn ensure(&mut self) -> Result<(), Error> {
        let Options { replication, retention, .. } = self.options;
        self.names.ensure(&self.admin, &self.consumer, replication, retention)?;
        let give_up = Instant::now() + client::TIMEOUT;
        while let Err(error) = self.ends() {
            if Instant::now() > give_up {
                return Err(error);
            }
            std::thread::sleep(client::LOOK);
        }
        self.ensured = true;
        Ok(())
    }

    fn look_once(&mut self) -> Result<Generation, Error> {
        if !self.ensured {
            self.ensure()?;
        }
        let (control_end, event_ends) = self.ends()?;
        self.follow_control(control_end)?;
        let life = match self.life.clone() {
            Some(life) if life.fits(&event_ends) => life,
            _ => self.begin(&event_ends)?,
        };
        let stale: Vec<Shard> = event_ends
            .iter()
            .filter(|(shard, end)| self.known[*shard].is_none_or(|known| known.end != **end))
            .map(|(shard, _)| shard)
            .collect();
        let whole = self.find_tops(&life, &event_ends, &stale)?;
        if whole { Ok(Generation(life.generation)) } else { self.renew() }
    }

    /// Where each partition of the generation begins.
    pub(super) fn starts(&self) -> PerShard<i64> {
        self.life.as_ref().map_or_else(PerShard::default, |life| life.starts)
    }

    /// The offset of the generation's first record in each partition, of those that are still there.
    pub(super) fn first_offsets(&self) -> Result<PerShard<i64>, Error> {
        let of: Vec<(&str, i32)> =
            Shard::all().map(|shard| (self.names.events.as_str(), partition(shard))).collect();
        let mut told = offsets(&self.consumer, &of, Offset::Beginning)?.into_iter();
        let starts = self.starts();
        Ok(PerShard::from_fn(|shard| starts[shard].max(told.next().unwrap_or_default())))
    }

    /// The position of the last message of a shard.
    pub(super) fn top(&self, shard: Shard) -> i64 {
        let found = self.known[shard].map_or(0, |known| known.top);
        self.announced.get(&shard).map_or(found, |announced| announced.top.max(found))
    }

    /// The outbox's last position as announced in this generation, or found since.
    pub(super) fn head(&self, shard: Shard) -> Option<i64> {
        self.announced.get(&shard).map(|announced| announced.head.max(self.top(shard)))
    }

    /// Begins a new generation.
    pub(super) fn renew(&mut self) -> Result<Generation, Error> {
        let (_, event_ends) = self.ends()?;
        self.begin(&event_ends)?;
        self.look_once()
    }

    /// The end of each events partition.
    pub(super) fn event_ends(&self) -> Result<PerShard<i64>, Error> {
        Ok(self.ends()?.1)
    }

    fn ends(&self) -> Result<(i64, PerShard<i64>), Error> {
        let mut of: Vec<(&str, i32)> =
            Shard::all().map(|shard| (self.names.events.as_str(), partition(shard))).collect();
        of.push((&self.names.control, 0));
        let mut told = offsets(&self.consumer, &of, Offset::End)?;
        let control = told.pop().unwrap_or_default();
        let mut told = told.into_iter();
        Ok((control, PerShard::from_fn(|_| told.next().unwrap_or_default())))
    }

    fn follow_control(&mut self, end: i64) -> Result<(), Error> {
        if end < self.read {
            // Made anew.
            (self.read, self.life) = (0, None);
            self.announced.clear();
        }
        let range = Ranges::from([(0, (self.read, end))]);
        for record in read_ranges(&self.consumer, &self.names.control, range)? {
            let text = |bytes: Option<&[u8]>| {
                String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap_or_default()
            };
            let (key, value) = (text(record.key()), text(record.payload()));
            if key == control::GENERATION {
                let Some(life) = Life::parse(&value) else { continue };
                self.live(life);
            } else if let Some((shard, announced)) = Announced::parse(&key, &value)
                && self.life.as_ref().is_some_and(|life| life.generation == announced.generation)
            {
                let before = self.announced.remove(&shard);
                self.announced.insert(shard, announced.at_least(before));
            }
        }
        self.read = end;
        Ok(())
    }

    fn live(&mut self, life: Life) {
        if self.life.as_ref() != Some(&life) {
            self.announced.clear();
            self.known = PerShard::default();
        }
        self.life = Some(life);
    }

    /// Writes that a generation begins at these ends. Of two that begin one at once, the last to be written is meant.
    fn begin(&mut self, event_ends: &PerShard<i64>) -> Result<Life, Error> {
        let life = Life { generation: Uuid::now_v7().to_string(), starts: *event_ends };
        let control = self.names.control.clone();
        let record =
            producer::Plain { key: control::GENERATION.to_owned(), value: life.to_string() };
        self.producer()?.send_plain(&control, &[record])?;
        let (control_end, _) = self.ends()?;
        self.follow_control(control_end)?;
        self.life.clone().ok_or_else(|| Error::Malformed(format!("{control} keeps no generation")))
    }

    /// Finds the top of each of the shards. False where the generation has lost its beginning.
    fn find_tops(
        &mut self,
        life: &Life,
        ends: &PerShard<i64>,
        shards: &[Shard],
    ) -> Result<bool, Error> {
        let mut sought = shards.to_vec();
        let (mut back, most) = LOOK_BACK;
        while !sought.is_empty() {
            let from = |shard: Shard| life.starts[shard].max(ends[shard].saturating_sub(back));
            let ranges =
                sought.iter().map(|shard| (partition(*shard), (from(*shard), ends[*shard])));
            let records = read_ranges(&self.consumer, &self.names.events, ranges.collect())?;
            for (shard, place) in records.iter().filter_map(place) {
                if place.generation == life.generation {
                    let before = self.known[shard].filter(|known| known.end == ends[shard]);
                    let top = before.map_or(0, |known| known.top).max(place.top());
                    self.known[shard] = Some(Known { end: ends[shard], top });
                }
            }
            let is_open = |shard: &Shard| {
                self.known[*shard].is_none_or(|known| known.end != ends[*shard])
                    && from(*shard) > life.starts[*shard]
                    && back < most
            };
            sought.retain(is_open);
            back = back.saturating_mul(32);
        }
        for shard in shards {
            if self.known[*shard].is_none_or(|known| known.end != ends[*shard]) {
                self.known[*shard] = Some(Known { end: ends[*shard], top: 0 });
            }
        }
        self.begins_at_the_beginning(life, ends, shards)
    }

    /// Whether the first records of the generation, where they are still there, follow nothing. A relay that was about to
    /// append to a topic that was then deleted and made anew would leave a stream without its beginning.
    fn begins_at_the_beginning(
        &self,
        life: &Life,
        ends: &PerShard<i64>,
        shards: &[Shard],
    ) -> Result<bool, Error> {
        let first = |shard: Shard| (life.starts[shard], ends[shard].min(life.starts[shard] + 1));
        let ranges = shards.iter().map(|shard| (partition(*shard), first(*shard))).collect();
        let records = read_ranges(&self.consumer, &self.names.events, ranges)?;
        let follows = |(shard, place): (Shard, Place), offset: i64| {
            offset == life.starts[shard] && place.generation == life.generation && place.after > 0
        };
        let offends = |record: &OwnedMessage| {
            place(record).is_some_and(|place| follows(place, record.offset()))
        };
        Ok(!records.iter().any(offends))
    }

    /// Announces heads, and tops that no record leads to. Those that stand so are left.
    pub(super) fn announce(&mut self, announcements: &[(Shard, i64, i64)]) -> Result<(), Error> {
        let Some(life) = &self.life else { return Ok(()) };
        let mut records = Vec::new();
        for (shard, head, top) in announcements {
            let announced =
                Announced { generation: life.generation.clone(), head: *head, top: *top };
            let before = self.announced.get(shard);
            if before.is_none_or(|before| before.head < *head || before.top < *top) {
                let value = announced.clone().at_least(before.cloned()).to_string();
                records.push(producer::Plain { key: Announced::key(*shard), value });
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let control = self.names.control.clone();
        self.producer()?.send_plain(&control, &records)
    }

    /// Appends records, each shard's in order, and notes where its stream stands then.
    pub(super) fn append(
        &mut self,
        records: &[super::record::Record],
        tops: &[(Shard, i64)],
    ) -> Result<(), Error> {
        let events = self.names.events.clone();
        let written = match self.producer()?.send(&events, records) {
            Ok(written) => written,
            Err(error) => {
                // It may have left a gap to fill in its own count: the next begins with what the broker has.
                self.producer = None;
                return Err(error);
            }
        };
        for (shard, top) in tops {
            let Some(written) = written.get(&partition(*shard)) else { continue };
            self.known[*shard] = match self.known[*shard] {
                // Nobody else wrote in between.
                Some(known) if written.is_right_after(known.end) => {
                    Some(Known { end: written.end(), top: *top })
                }
                _ => None,
            };
        }
        Ok(())
    }

    /// Writes a record to the topic of dead letters.
    pub(super) fn bury(&mut self, record: super::letters::Record) -> Result<(), Error> {
        let dead = self.names.dead.clone();
        self.producer()?.send_letter(&dead, record)
    }

    /// All records of the topic of dead letters.
    pub(super) fn buried(&mut self) -> Result<Vec<OwnedMessage>, Error> {
        self.look()?;
        let end = offsets(&self.consumer, &[(&self.names.dead, 0)], Offset::End)?;
        let end = end.first().copied().unwrap_or_default();
        read_ranges(&self.consumer, &self.names.dead, Ranges::from([(0, (0, end))]))
    }

    fn producer(&mut self) -> Result<&Producer, Error> {
        let producer = match self.producer.take() {
            Some(producer) if !producer.is_spent() => producer,
            _ => Producer::open(&self.options.brokers)?,
        };
        Ok(self.producer.insert(producer))
    }
}

fn place(record: &OwnedMessage) -> Option<(Shard, Place)> {
    Some((shard(record.partition())?, Place::of(record.headers()?)?))
}

/// The partition of a shard.
pub(super) fn partition(shard: Shard) -> i32 {
    shard.number().into()
}

/// The shard of a partition.
pub(super) fn shard(partition: i32) -> Option<Shard> {
    u8::try_from(partition).ok().and_then(Shard::new)
}
