//! The payloads with which a run calls actions.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// What is replaced by a fresh number.
const NUMBER: &str = "$n";
/// 2026-01-01, since 1970.
const NUMBERS_BEGIN: Duration = Duration::from_hours(490_896);

/// For each action a payload that is done, and optionally one that is rejected.
///
/// Read from a JSON object whose names are full methods:
///
/// ```json
/// {
///   "travel.v1.SeatParticipantService/IssueTicket": {
///     "before": [
///       {
///         "method": "travel.v1.SeatParticipantService/ReserveSeat",
///         "payload": { "flight": "KE1", "seat": "$n", "passenger": "Kim" }
///       }
///     ],
///     "done": { "flight": "KE1", "seat": "$n" },
///     "rejected": { "flight": "KE1", "seat": "none" }
///   }
/// }
/// ```
///
/// - `done` is required: a payload with which the action is done in a new saga, or a list of such payloads. Of a list, one is
///   used for each saga, and the first again after the last.
/// - `rejected` is optional: a payload, or a list, with which the action is rejected.
/// - `before` is optional: actions that are run in the same saga before the action is sent with a `done` payload, and
///   must be done.
///
/// Payloads are in the JSON mapping of Protocol Buffers. Wherever a string contains `$n`, that is replaced by a number
/// that no payload had before; `before` and `done` of one saga have the same number. A string that is a number is
/// accepted by integer fields too.
#[derive(Debug)]
pub struct Payloads {
    cases: BTreeMap<String, Case>,
    next_number: AtomicU64,
}

/// Why payloads were not read.
#[derive(Debug, thiserror::Error)]
pub enum PayloadsError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    File {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is not JSON, or not in the form that [`Payloads`] describes.
    #[error("not the JSON of payloads: {0}")]
    Json(#[from] serde_json::Error),
    /// An action has an empty list of payloads.
    #[error("{0} has an empty list of payloads")]
    Empty(String),
}

/// What is sent in one saga.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Methods and payloads of the actions to run before.
    pub(crate) before: Vec<(String, Value)>,
    /// The action's payload.
    pub(crate) payload: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    before: Vec<Before>,
    done: List,
    rejected: Option<List>,
    #[serde(skip)]
    taken: AtomicUsize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    method: String,
    payload: Value,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum List {
    Many(Vec<Value>),
    One(Value),
}

impl List {
    fn items(&self) -> &[Value] {
        match self {
            Self::Many(items) => items,
            Self::One(item) => std::slice::from_ref(item),
        }
    }
}

impl Payloads {
    /// Reads payloads from the text of a JSON object.
    ///
    /// Numbers for `$n` begin at the thousandth part of a second since 2026-01-01, so that runs on one database do not meet;
    /// they have up to 53 bits. See [`Payloads::numbers_from`].
    ///
    /// # Errors
    /// Where the text is not in the described form.
    pub fn from_json(text: &str) -> Result<Self, PayloadsError> {
        let cases: BTreeMap<String, Case> = serde_json::from_str(text)?;
        for (method, case) in &cases {
            let lists = [Some(&case.done), case.rejected.as_ref()];
            if lists.into_iter().flatten().any(|list| list.items().is_empty()) {
                return Err(PayloadsError::Empty(method.clone()));
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH + NUMBERS_BEGIN).unwrap_or_default();
        let first = u64::try_from(now.as_millis()).unwrap_or_default();
        Ok(Self { cases, next_number: AtomicU64::new(first) })
    }

    /// Reads payloads from a file.
    ///
    /// # Errors
    /// Where the file cannot be read or is not in the described form.
    pub fn read(file: &Path) -> Result<Self, PayloadsError> {
        let text = fs::read_to_string(file)
            .map_err(|source| PayloadsError::File { file: file.display().to_string(), source })?;
        Self::from_json(&text)
    }

    /// Sets the first number for `$n`, for fields that hold only small numbers or entities that exist before the run. A run
    /// takes a few hundred numbers.
    #[must_use]
    pub fn numbers_from(self, first: u64) -> Self {
        Self { next_number: AtomicU64::new(first), ..self }
    }

    /// Says whether there is a payload for the action.
    pub(crate) fn has(&self, method: &str) -> bool {
        self.cases.contains_key(method)
    }

    /// The methods for which there are payloads.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &str> {
        self.cases.keys().map(String::as_str)
    }

    /// A payload that is done, with fresh numbers; `None` where there is none for the action.
    pub(crate) fn done(&self, method: &str) -> Option<Prepared> {
        let case = self.cases.get(method)?;
        let number = self.number();
        let before = case.before.iter();
        let before = before.map(|it| (it.method.clone(), numbered(&it.payload, &number)));
        Some(Prepared { before: before.collect(), payload: case.pick(&case.done, &number) })
    }

    /// A payload that is rejected, with fresh numbers; `None` where there is none for the action.
    pub(crate) fn rejected(&self, method: &str) -> Option<Value> {
        let case = self.cases.get(method)?;
        let rejected = case.rejected.as_ref()?;
        Some(case.pick(rejected, &self.number()))
    }

    fn number(&self) -> String {
        self.next_number.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

impl Case {
    fn pick(&self, list: &List, number: &str) -> Value {
        let items = list.items();
        let place = self.taken.fetch_add(1, Ordering::Relaxed).checked_rem(items.len());
        items.get(place.unwrap_or_default()).map_or(Value::Null, |item| numbered(item, number))
    }
}

fn numbered(value: &Value, number: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(NUMBER, number)),
        Value::Array(items) => items.iter().map(|item| numbered(item, number)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| (name.clone(), numbered(value, number))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_fresh_for_each_saga_and_shared_within_one() {
        let text = r#"{"s/M": {"before": [{"method": "s/B", "payload": {"a": ["$n"]}}], "done": {"a": "x-$n"}}}"#;
        let payloads = Payloads::from_json(text).unwrap().numbers_from(7);
        let first = payloads.done("s/M").unwrap();
        assert_eq!(first.before, [("s/B".to_owned(), json!({"a": ["7"]}))]);
        assert_eq!(first.payload, json!({"a": "x-7"}));
        assert_eq!(payloads.done("s/M").unwrap().payload, json!({"a": "x-8"}));
        assert!(payloads.rejected("s/M").is_none());
    }

    #[test]
    fn a_list_is_used_one_for_each_saga() {
        let payloads = Payloads::from_json(r#"{"s/M": {"done": [{"a": 1}, {"a": 2}]}}"#).unwrap();
        let taken = [1, 2, 1].map(|a| (json!({ "a": a }), payloads.done("s/M").unwrap().payload));
        assert!(taken.iter().all(|(expected, got)| expected == got), "{taken:?}");
    }

    #[test]
    fn an_empty_list_and_unknown_names_are_told() {
        assert!(Payloads::from_json(r#"{"s/M": {"done": []}}"#).is_err());
        assert!(Payloads::from_json(r#"{"s/M": {"done": {}, "refused": {}}}"#).is_err());
    }
}
