//! Checks requests against the ranges that the contract states, before anything is looked up.

use std::fmt;

use prost_types::{FieldMask, Timestamp};
use uuid::Uuid;

use crate::{Reason, Refusal, Violation};

/// The most violations that one refusal lists, so that the error fits the 8 KiB of headers that
/// common clients accept.
const MOST_VIOLATIONS: usize = 32;

/// A request, or a part of one, whose fields have documented ranges.
///
/// Implemented for every request of the contract, from the constraint lines in its comments.
pub trait Check {
    /// Checks every field, nested ones too.
    ///
    /// # Errors
    /// `INVALID_FIELD`, or the special reason of the first field that is wrong, with the metadata
    /// `field` and, for a special reason that tells a limit, `minimum` or `maximum`. It lists all
    /// violations, 32 at most.
    fn check(&self) -> Result<(), Refusal> {
        let mut violations = Violations::default();
        self.check_fields(&Path::ROOT, &mut violations);
        violations.into_refusal().map_or(Ok(()), Err)
    }

    /// Adds what is wrong with the fields below `path`.
    fn check_fields(&self, path: &Path<'_>, out: &mut Violations);
}

/// Where in a request a value stands, such as `lines[3].quantity`. Costs nothing until it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment,
}

#[derive(Clone, Copy, Debug)]
enum Segment {
    Root,
    Field(&'static str),
    Item(usize),
}

/// What is wrong with a request, in the order of its fields.
#[derive(Debug, Default)]
pub struct Violations {
    first: Option<Refusal>,
    listed: Vec<Violation>,
}

/// Inclusive limits, and the reasons that stand for `INVALID_FIELD` outside of them.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) min: i64,
    pub(crate) max: i64,
    pub(crate) below: Option<Reason>,
    pub(crate) above: Option<Reason>,
}

impl Path<'_> {
    const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    pub(crate) fn field(&self, name: &'static str) -> Path<'_> {
        Path { parent: Some(self), segment: Segment::Field(name) }
    }

    pub(crate) fn item(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), segment: Segment::Item(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let below_root = self.parent.is_some_and(|parent| matches!(parent.segment, Segment::Root));
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Field(name) if below_root => f.write_str(name),
            Segment::Field(name) => write!(f, ".{name}"),
            Segment::Item(index) => write!(f, "[{index}]"),
        }
    }
}

/// Whether a field mask names a field.
pub(crate) fn names(mask: Option<&FieldMask>, field: &str) -> bool {
    mask.is_some_and(|mask| mask.paths.iter().any(|path| path == field))
}

impl Violations {
    fn into_refusal(self) -> Option<Refusal> {
        self.first.map(|first| Refusal { violations: self.listed, ..first })
    }

    fn add(
        &mut self,
        path: &Path<'_>,
        reason: Option<Reason>,
        description: String,
    ) -> &mut Refusal {
        let field = path.to_string();
        if self.listed.len() < MOST_VIOLATIONS {
            self.listed.push(Violation { field: field.clone(), description });
        }
        self.first.get_or_insert_with(|| {
            Refusal::new(reason.unwrap_or(Reason::InvalidField)).with("field", field)
        })
    }

    fn within(&mut self, path: &Path<'_>, value: i64, limits: &Limits, what: &str) {
        let Limits { min, max, .. } = *limits;
        let (reason, key, limit) = if value < min {
            (limits.below, "minimum", min)
        } else if value > max {
            (limits.above, "maximum", max)
        } else {
            return;
        };
        let is_first = self.first.is_none();
        let first = self.add(path, reason, format!("must be {min} to {max}{what}"));
        if is_first && reason.is_some() {
            first.metadata.insert(key.to_owned(), limit.to_string());
        }
    }

    pub(crate) fn required(&mut self, path: &Path<'_>, present: bool) {
        if !present {
            self.add(path, None, "is required".to_owned());
        }
    }

    pub(crate) fn integer(&mut self, path: &Path<'_>, value: i64, limits: &Limits) {
        self.within(path, value, limits, "");
    }

    pub(crate) fn not(&mut self, path: &Path<'_>, value: i64, refused: i64) {
        if value == refused {
            self.add(path, None, format!("must not be {refused}"));
        }
    }

    pub(crate) fn items(&mut self, path: &Path<'_>, count: usize, limits: &Limits) {
        self.within(path, saturated(count), limits, " items");
    }

    pub(crate) fn characters(&mut self, path: &Path<'_>, value: &str, limits: &Limits) {
        self.within(path, saturated(value.chars().count()), limits, " characters");
    }

    pub(crate) fn bytes(&mut self, path: &Path<'_>, value: &[u8], limits: &Limits) {
        self.within(path, saturated(value.len()), limits, " bytes");
    }

    pub(crate) fn uuid(&mut self, path: &Path<'_>, value: &str, missing: Option<Reason>) {
        if value.is_empty() {
            self.add(path, missing, "is required, a UUID".to_owned());
        } else if parse_uuid(value).is_none() {
            self.add(path, None, NOT_A_UUID.to_owned());
        }
    }

    pub(crate) fn choice(&mut self, path: &Path<'_>, value: i32, known: bool, required: bool) {
        if !known {
            self.add(path, None, format!("has no value numbered {value}"));
        } else if required && value == 0 {
            self.add(path, None, "is required".to_owned());
        }
    }

    pub(crate) fn instant(&mut self, path: &Path<'_>, value: &Timestamp, limits: &Limits) {
        if !(0..=999_999_999).contains(&value.nanos) {
            self.add(path, None, "must have nanos of 0 to 999999999".to_owned());
        }
        self.within(path, value.seconds, limits, " in Unix seconds");
    }

    pub(crate) fn after(
        &mut self,
        path: &Path<'_>,
        value: Option<&Timestamp>,
        earlier_name: &str,
        earlier: Option<&Timestamp>,
    ) {
        let (Some(value), Some(earlier)) = (value, earlier) else { return };
        if (value.seconds, value.nanos) <= (earlier.seconds, earlier.nanos) {
            self.add(path, None, format!("must be later than {earlier_name}"));
        }
    }

    pub(crate) fn paths(&mut self, path: &Path<'_>, value: &FieldMask, known: &[&str]) {
        let all_known = value.paths.iter().all(|path| known.contains(&path.as_str()));
        if value.paths.is_empty() || !all_known {
            self.add(path, None, format!("must name at least one of {}", known.join(", ")));
        }
    }
}

/// What [`parse_uuid`] asks for.
pub(crate) const NOT_A_UUID: &str = "must be a UUID with hyphens, neither nil nor max";

/// Parses a UUID in the hyphenated form, the only one that the contract accepts. The nil and the max UUID are refused:
/// they come from a field that nobody filled, so that the requests of many clients would be taken for one.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    let uuid = Uuid::try_parse(text).ok().filter(|_| hyphenated)?;
    (!uuid.is_nil() && !uuid.is_max()).then_some(uuid)
}

fn saturated(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
