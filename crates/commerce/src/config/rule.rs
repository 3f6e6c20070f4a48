//! What a key may be set to: one place for the check and for the sentence that says so.

use super::span::Span;
use super::submit;
use figment::value::Value;
use platform::Origins;
use std::fmt;
use std::net::SocketAddr;

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// An address to listen on; port 0 is any free one.
    Address,
    /// An integer between two bounds, inclusive.
    Integer(u64, u64),
    /// A span of time between two bounds, inclusive.
    Span(Span, Span),
    /// A URL with this scheme and a host. It may hold a password, so it is never shown whole.
    Url(&'static str),
    /// The begin of a database name.
    Prefix,
    /// A path.
    Path,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Yes or no.
    Bool,
    /// Any text but none.
    Text,
    /// Participants beside the shop's own.
    Participants,
    /// Methods that may be submitted.
    Methods,
    /// Origins of pages.
    Origins,
}

impl Rule {
    /// Whether the value is allowed.
    pub fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Integer(least, most) => {
                integer(value).is_some_and(|number| (least..=most).contains(&number))
            }
            Self::Bool => value.to_bool().is_some(),
            Self::Path => value.as_str().is_some_and(|path| !path.is_empty()),
            _ => value.as_str().is_some_and(|text| self.accepts_text(text)),
        }
    }

    fn accepts_text(self, text: &str) -> bool {
        match self {
            Self::Address => text.parse::<SocketAddr>().is_ok(),
            Self::Span(least, most) => {
                text.parse().is_ok_and(|span: Span| (least..=most).contains(&span))
            }
            Self::Url(scheme) => text.split_once("://").is_some_and(|(found, rest)| {
                let fits = found == scheme || (scheme == "redis" && found == "redis+unix");
                fits && !rest.is_empty() && !rest.contains(char::is_whitespace)
            }),
            Self::Prefix => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                text.len() <= 40 && text.bytes().all(word)
            }
            Self::OneOf(words) => words.contains(&text),
            Self::Participants => submit::participants(text).is_some(),
            Self::Methods => submit::methods(text).is_some(),
            Self::Origins => text.parse::<Origins>().is_ok(),
            Self::Text | Self::Path | Self::Integer(..) | Self::Bool => !text.trim().is_empty(),
        }
    }

    /// Whether the value is text, so that `17` is the text `17` where a variable or a flag says it.
    pub fn is_text(self) -> bool {
        !matches!(self, Self::Integer(..) | Self::Bool)
    }

    /// The value as it may be shown: without passwords.
    pub fn show(self, value: &Value) -> String {
        match value {
            Value::String(_, text) if matches!(self, Self::Url(_)) => without_password(text),
            Value::String(_, text) => text.clone(),
            Value::Num(..) => match (value.to_i128(), value.to_u128(), value.to_f64()) {
                (Some(number), ..) => number.to_string(),
                (_, Some(number), _) => number.to_string(),
                (.., number) => number.unwrap_or_default().to_string(),
            },
            Value::Bool(_, yes) => yes.to_string(),
            other => format!("{other:?}"),
        }
    }
}

impl fmt::Display for Rule {
    /// The sentence that follows "must be".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => write!(f, "IP:PORT, such as 127.0.0.1:50051 (port 0: any free one)"),
            Self::Integer(least, most) => write!(f, "an integer from {least} to {most}"),
            Self::Span(least, most) => write!(f, "a span of time from {least} to {most}"),
            Self::Url("mysql") => write!(f, "mysql://USER:PASSWORD@HOST:PORT"),
            Self::Url(scheme) => write!(f, "{scheme}://HOST:PORT"),
            Self::Prefix => write!(f, "at most 40 letters, digits and underscores"),
            Self::Path => write!(f, "a path"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Bool => write!(f, "true or false"),
            Self::Text => write!(f, "text"),
            Self::Participants => {
                write!(
                    f,
                    "NAME=http://HOST:PORT, with commas in between, no name of the shop's own"
                )
            }
            Self::Methods => {
                write!(f, "anyone:SERVICE/METHOD, with commas in between, no method of the shop")
            }
            Self::Origins => write!(
                f,
                "origins as browsers send them, such as https://shop.example or http://localhost:3000, with commas in between: http or https, a host in lower case, a port unless it is the scheme's own, no path, no *"
            ),
        }
    }
}

/// Files give signed numbers, variables and flags unsigned ones.
fn integer(value: &Value) -> Option<u64> {
    let signed = value.to_i128().and_then(|number| u64::try_from(number).ok());
    signed.or_else(|| value.to_u128().and_then(|number| u64::try_from(number).ok()))
}

/// The URL with its password replaced, if it has one.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may itself hold an '@' or '/' that nobody escaped: hide too much rather than too little.
    let Some((login, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_the_rest_is_shown() {
        for (url, shown) in [
            ("mysql://me:secret@db:3306/x", "mysql://me:***@db:3306/x"),
            ("mysql://me:p@ss/w:rd@db:3306", "mysql://me:***@db:3306"),
            ("redis://:secret@cache:6379", "redis://:***@cache:6379"),
            ("mysql://me@db", "mysql://me@db"),
            ("redis://cache:6379", "redis://cache:6379"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        let rule = Rule::Integer(1, 64);
        for (number, allowed) in [("0", false), ("1", true), ("64", true), ("65", false)] {
            let value: Value = number.parse().unwrap();
            assert_eq!(rule.accepts(&value), allowed, "{number}");
        }
        assert!(!rule.accepts(&Value::from("many")));
    }
}
