//! Trace ids: the `x-trace-id` that people search logs for, and the W3C trace context.

use std::fmt;

/// The longest `x-trace-id`, in bytes.
const LONGEST_TRACE_ID: usize = 64;

/// The place of a call in a distributed trace: W3C Trace Context, the header `traceparent`.
///
/// Neither id is zero, as the standard demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// The first span of a new trace, not sampled.
    pub fn root() -> Self {
        Self { trace: rand::random_range(1..=u128::MAX), span: new_span(), flags: 0 }
    }

    /// Reads the header: `version-traceid-parentid-flags`, in lower-case hexadecimal. Later
    /// versions may add fields, which are not kept.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace = hex(fields.next()?, 32)?;
        let span = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        let complete = version != 0xff && (version > 0 || fields.next().is_none());
        (complete && trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: new_span(), ..self }
    }

    /// The id of the whole trace, as 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// The header's value, in version `00`.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Whether a text may be an `x-trace-id`: 1 to 64 of `[A-Za-z0-9_-]`.
pub(crate) fn is_trace_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=LONGEST_TRACE_ID).contains(&text.len()) && text.bytes().all(allowed)
}

fn new_span() -> u64 {
    rand::random_range(1..=u64::MAX)
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let well_formed = text.len() == digits && text.bytes().all(lower);
    well_formed.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_written_as_it_was_read() {
        assert_eq!(TraceParent::parse(GIVEN).unwrap().to_string(), GIVEN);
    }

    #[test]
    fn a_child_keeps_the_trace_and_the_flags_and_has_a_span_of_its_own() {
        let parent = TraceParent::parse(GIVEN).unwrap();
        let child = parent.child();
        assert_eq!((child.trace, child.flags), (parent.trace, parent.flags));
        assert_ne!(child.span, parent.span);
        assert_eq!(TraceParent::parse(&child.to_string()), Some(child));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GIVEN.replacen("00-", "cc-", 1) + "-what-the-future-brings";
        assert_eq!(TraceParent::parse(&later).unwrap().to_string(), GIVEN);
    }

    #[test]
    fn what_the_standard_forbids_is_refused() {
        let zero_trace = GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16));
        let upper = GIVEN.to_uppercase();
        let forbidden = GIVEN.replacen("00-", "ff-", 1);
        let longer = format!("{GIVEN}-00");
        let signed = GIVEN.replace("00f0", "+0f0");
        let texts = [&zero_trace, &zero_span, &upper, &forbidden, &longer, &signed];
        for text in texts.into_iter().map(String::as_str).chain(["", "00", &GIVEN[..54]]) {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn trace_ids_are_1_to_64_letters_digits_underscores_and_hyphens() {
        for text in ["a", "A-Z_09", &"x".repeat(64)] {
            assert!(is_trace_id(text), "{text}");
        }
        for text in ["", "a b", "é", "a\n", "a/b", &"x".repeat(65)] {
            assert!(!is_trace_id(text), "{text}");
        }
    }
}
