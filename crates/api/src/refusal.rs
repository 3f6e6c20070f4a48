//! Refusals: a reason with the values that belong to it, and their form on the wire and in storage.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{
    BadRequest, ErrorDetail, ErrorInfo, FieldViolation, PreconditionFailure, PreconditionViolation,
    ResourceInfo, RetryInfo, StatusExt,
};

use crate::Reason;
use saga_api::v1::StepRejection;

/// The domain of every `google.rpc.ErrorInfo`: a name that no other system has (AIP-193).
pub const DOMAIN: &str = "commerce-core.dev";

/// How long a client waits when an error that may be repeated does not say.
const DEFAULT_RETRY: Duration = Duration::from_millis(200);

/// The trailer by which a server tells gRPC's own retries how long to wait, in milliseconds (gRFC A6).
const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The most of one value that a message shows. Metadata always has all of it; an error must fit
/// the 8 KiB of headers that common clients accept.
const LONGEST_SHOWN: usize = 120;

/// Why a call is not done: an error of the caller, of the shop's rules or of the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, which also decides the gRPC code.
    pub reason: Reason,
    /// The values that belong to the reason; which ones, its documentation says.
    pub metadata: BTreeMap<String, String>,
    /// The fields that are outside their ranges; empty but for `INVALID_ARGUMENT`.
    pub violations: Vec<Violation>,
}

/// A field of a request that is outside its documented range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path, such as `lines[3].quantity`.
    pub field: String,
    /// What it must be, such as `must be 1 to 9999`.
    pub description: String,
}

/// A stored refusal that cannot be read back: damaged, or of a reason that this version does not
/// know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRefusal(String);

impl Refusal {
    /// A refusal without values.
    pub fn new(reason: Reason) -> Self {
        Self { reason, metadata: BTreeMap::new(), violations: Vec::new() }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// `INVALID_FIELD` for one field. The description goes on from the field's name: `must be …`.
    pub fn invalid_field(field: &str, description: impl Into<String>) -> Self {
        let violation = Violation { field: field.to_owned(), description: description.into() };
        let violations = vec![violation];
        Self { violations, ..Self::new(Reason::InvalidField).with("field", field) }
    }

    /// `OVERLOADED`, with the time after which a repeat may succeed: 10 ms to 5 s, whatever was estimated.
    pub fn overloaded(retry_after: Duration) -> Self {
        let retry_after = retry_after.clamp(Duration::from_millis(10), Duration::from_secs(5));
        Self::new(Reason::Overloaded).with("retry_after_ms", retry_after.as_millis())
    }

    /// The gRPC code.
    pub const fn code(&self) -> Code {
        self.reason.code()
    }

    /// The refusal as a sentence for people.
    pub fn message(&self) -> String {
        if let (Reason::InvalidField, Some(first)) = (self.reason, self.violations.first()) {
            return format!("{} {}", first.field, first.description);
        }
        let mut message = String::new();
        let mut rest = self.reason.text();
        while let Some((before, key, after)) = next_key(rest) {
            message.push_str(before);
            message.push_str(&self.shown(key));
            rest = after;
        }
        message.push_str(rest);
        message
    }

    fn shown(&self, key: &str) -> String {
        let Some(value) = self.metadata.get(key) else { return "(unknown)".to_owned() };
        if value.chars().count() <= LONGEST_SHOWN {
            return value.clone();
        }
        value.chars().take(LONGEST_SHOWN).chain(['…']).collect()
    }

    /// Reads a refusal out of an error; `None` if it is none of ours, or of a reason that this
    /// version does not know.
    pub fn from_status(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let reason = Reason::parse(&info.reason)?;
        let metadata = info.metadata.clone().into_iter().collect();
        let violations = details.bad_request().into_iter().flat_map(|it| &it.field_violations);
        let violations = violations.map(|violation| Violation {
            field: violation.field.clone(),
            description: violation.description.clone(),
        });
        Some(Self { reason, metadata, violations: violations.collect() })
    }

    /// The refusal as compact bytes for storage, the same for equal refusals. Violations are not
    /// kept: an `INVALID_ARGUMENT` is never stored.
    pub fn encode(&self) -> Vec<u8> {
        StepRejection::from(self.clone()).encode_to_vec()
    }

    /// Reads what [`Refusal::encode`] wrote.
    ///
    /// # Errors
    /// [`UnreadableRefusal`] if the bytes are damaged or the reason is unknown.
    pub fn decode(bytes: &[u8]) -> Result<Self, UnreadableRefusal> {
        let stored = StepRejection::decode(bytes)
            .map_err(|error| UnreadableRefusal(format!("damaged: {error}")))?;
        stored.try_into()
    }

    /// The detail that goes with the error info, if one fits the code.
    fn detail(&self, message: &str) -> Option<ErrorDetail> {
        let (kind, key) = self.reason.resource();
        let name = || self.metadata.get(key).cloned().unwrap_or_default();
        match self.code() {
            Code::InvalidArgument if !self.violations.is_empty() => {
                let violations = self.violations.iter();
                let violations =
                    violations.map(|it| FieldViolation::new(&it.field, &it.description));
                Some(BadRequest::new(violations.collect::<Vec<_>>()).into())
            }
            Code::NotFound | Code::AlreadyExists => {
                Some(ResourceInfo::new(kind, name(), "", message).into())
            }
            Code::FailedPrecondition if self.reason == Reason::InsufficientStock => {
                Some(PreconditionFailure::new(self.short_products()).into())
            }
            Code::FailedPrecondition => {
                let subject = self.metadata.get(key).map(|name| format!("{kind}/{name}"));
                let subject = subject.unwrap_or_else(|| kind.to_owned());
                let violation = PreconditionViolation::new(self.reason.as_str(), subject, message);
                Some(PreconditionFailure::new([violation]).into())
            }
            Code::ResourceExhausted | Code::Unavailable => {
                Some(RetryInfo::new(Some(self.retry_delay())).into())
            }
            _ => None,
        }
    }

    /// One violation per product of which there is too little.
    fn short_products(&self) -> Vec<PreconditionViolation> {
        let values = |key| self.metadata.get(key).map_or("", String::as_str).split(',');
        let lines = values("product_ids").zip(values("available")).zip(values("required"));
        let violation = |((product, available), required)| {
            PreconditionViolation::new(
                self.reason.as_str(),
                format!("product/{product}"),
                format!("{available} in stock, {required} required"),
            )
        };
        lines.map(violation).collect()
    }

    /// When a repeat makes sense.
    fn retry_delay(&self) -> Duration {
        let millis = self.metadata.get("retry_after_ms").and_then(|text| text.parse().ok());
        millis.map_or(DEFAULT_RETRY, Duration::from_millis)
    }
}

/// Splits a text at its first `{key}`.
fn next_key(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (key, after) = rest.split_once('}')?;
    Some((before, key, after))
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.message();
        let metadata: HashMap<_, _> = refusal.metadata.clone().into_iter().collect();
        let info = ErrorInfo::new(refusal.reason.as_str(), DOMAIN, metadata);
        let details = [Some(info.into()), refusal.detail(&message)].into_iter().flatten();
        let details = details.collect::<Vec<_>>();
        let mut status = Self::with_error_details_vec(refusal.code(), message, details);
        if matches!(refusal.code(), Code::ResourceExhausted | Code::Unavailable) {
            let millis = u64::try_from(refusal.retry_delay().as_millis()).unwrap_or(u64::MAX);
            status.metadata_mut().insert(RETRY_PUSHBACK, millis.into());
        }
        status
    }
}

/// Without a message, which the reason gives. Metadata stands in key order, so that equal refusals have equal bytes.
impl From<Refusal> for StepRejection {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.reason.as_str().to_owned();
        Self { reason, metadata: refusal.metadata, message: String::new() }
    }
}

impl TryFrom<StepRejection> for Refusal {
    type Error = UnreadableRefusal;

    fn try_from(rejection: StepRejection) -> Result<Self, UnreadableRefusal> {
        let reason = Reason::parse(&rejection.reason)
            .ok_or_else(|| UnreadableRefusal(format!("unknown reason {:?}", rejection.reason)))?;
        Ok(Self { metadata: rejection.metadata, ..Self::new(reason) })
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message())
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for UnreadableRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreadable refusal: {}", self.0)
    }
}

impl std::error::Error for UnreadableRefusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_stock() -> Refusal {
        Refusal::new(Reason::InsufficientStock)
            .with("product_ids", "7,9")
            .with("available", "1,0")
            .with("required", "3,2")
    }

    #[test]
    fn every_reason_survives_the_wire_with_its_code_and_one_error_info() {
        for reason in Reason::ALL {
            let refusal = Refusal::new(*reason).with("field", "lines").with("retry_after_ms", 250);
            let status = Status::from(refusal.clone());
            assert_eq!(status.code(), reason.code());
            let infos = status.get_error_details_vec();
            let infos = infos.iter().filter(|detail| matches!(detail, ErrorDetail::ErrorInfo(_)));
            assert_eq!(infos.count(), 1, "{reason}");
            assert_eq!(Refusal::from_status(&status), Some(refusal));
        }
    }

    #[test]
    fn the_text_names_the_values() {
        assert_eq!(short_stock().message(), "not enough in stock of product 7,9: 1,0 of 3,2");
        assert_eq!(
            Refusal::invalid_field("issuable_until", "must be later").message(),
            "issuable_until must be later"
        );
    }

    #[test]
    fn a_long_value_is_cut_in_the_text_and_whole_in_the_metadata() {
        let ids = vec!["9007199254740991"; 100].join(",");
        let refusal = Refusal::new(Reason::ProductNotFound).with("product_ids", &ids);
        assert!(refusal.message().len() < 200);
        let status = Status::from(refusal);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata.get("product_ids"), Some(&ids));
    }

    #[test]
    fn details_fit_the_code() {
        let status = Status::from(Refusal::new(Reason::WalletNotFound).with("user_id", 7));
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(
            (resource.resource_type.as_str(), resource.resource_name.as_str()),
            ("wallet", "7")
        );

        let status = Status::from(short_stock());
        let failure = status.get_details_precondition_failure().unwrap();
        let violations: Vec<_> = failure.violations.iter().map(|it| it.subject.as_str()).collect();
        assert_eq!(violations, ["product/7", "product/9"]);
        assert_eq!(failure.violations[1].r#type, "INSUFFICIENT_STOCK");
        assert_eq!(failure.violations[1].description, "0 in stock, 2 required");

        let status = Status::from(Refusal::overloaded(Duration::from_millis(250)));
        let delay = status.get_details_retry_info().unwrap().retry_delay;
        assert_eq!(delay, Some(Duration::from_millis(250)));
        assert_eq!(status.metadata().get(RETRY_PUSHBACK).unwrap(), "250");
        let status = Status::from(Refusal::new(Reason::Unavailable));
        assert!(status.get_details_retry_info().is_some());
        assert_eq!(status.metadata().get(RETRY_PUSHBACK).unwrap(), "200");
    }

    #[test]
    fn errors_of_others_are_not_ours() {
        assert_eq!(Refusal::from_status(&Status::not_found("gone")), None);
        let foreign = ErrorInfo::new("WALLET_NOT_FOUND", "example.com", HashMap::new());
        let status = Status::with_error_details_vec(Code::NotFound, "", vec![foreign.into()]);
        assert_eq!(Refusal::from_status(&status), None);
    }

    #[test]
    fn storage_gives_back_the_same_refusal_and_the_same_bytes() {
        let one = short_stock();
        let other = Refusal::new(Reason::InsufficientStock)
            .with("required", "3,2")
            .with("available", "1,0")
            .with("product_ids", "7,9");
        assert_eq!(one.encode(), other.encode());
        assert_eq!(Refusal::decode(&one.encode()), Ok(one));
    }

    #[test]
    fn damaged_and_unknown_storage_is_an_error() {
        let mut cut = short_stock().encode();
        cut.pop();
        assert!(Refusal::decode(&cut).is_err());
        let unknown =
            StepRejection { reason: "NEVER_HEARD".to_owned(), ..StepRejection::default() };
        assert!(Refusal::decode(&unknown.encode_to_vec()).is_err());
    }
}
