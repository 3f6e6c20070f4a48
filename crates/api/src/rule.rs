//! The constraint lines that end a request field's comment in the contract, such as
//! `Range: 1..9999; else: INVALID_QUANTITY.`
//!
//! `proto/README.md` defines the grammar. The build script reads the lines with this very module
//! to generate the checks, and tests read them to know what must be refused, so that
//! documentation, checks and tests cannot disagree.

/// Everything that a field's comment demands of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRule {
    /// The field may be absent; the rest applies when it is there.
    pub optional: bool,
    /// The field must be there: a message, a oneof, or an enum that is not UNSPECIFIED.
    pub required: bool,
    /// How many items a repeated field may have.
    pub items: Option<Limits>,
    /// What its value, or each of its items, must be.
    pub value: Option<Constraint>,
    /// The sibling timestamp that this one must be later than, when both are there.
    pub after: Option<String>,
}

/// What a single value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// An integer within limits, and, when named, not this one.
    Integer {
        /// The limits, inclusive.
        limits: Limits,
        /// A value between them that is refused all the same.
        not: Option<i64>,
    },
    /// A valid timestamp; the limits are Unix seconds, the last one included to its end.
    Instant(Limits),
    /// A string with so many Unicode scalar values.
    Characters(Limits),
    /// So many bytes.
    Bytes(Limits),
    /// A hyphenated UUID.
    Uuid {
        /// The reason when the string is empty.
        missing: Option<String>,
    },
    /// A field mask that names at least one of these siblings, and nothing else. A sibling is
    /// checked only when the mask names it.
    Paths(Vec<String>),
}

/// Inclusive limits, and the error reasons that stand for `INVALID_FIELD` outside of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// The reason for less than the least.
    pub below: Option<String>,
    /// The reason for more than the greatest.
    pub above: Option<String>,
}

const KEYWORDS: [&str; 8] =
    ["Optional.", "Required.", "Range:", "Length:", "Format:", "Items:", "Paths:", "After:"];

impl FieldRule {
    /// Reads the constraint lines of a comment; `None` if it has none.
    ///
    /// # Errors
    /// Says which line is not in the grammar, and why.
    pub fn parse(comment: &str) -> Result<Option<Self>, String> {
        let mut rule = Self::default();
        let mut found = false;
        for line in comment.lines().map(str::trim) {
            if KEYWORDS.iter().any(|keyword| line.starts_with(keyword)) {
                found = true;
                rule.read_line(line).map_err(|why| format!("`{line}`: {why}"))?;
            } else if found && !line.is_empty() {
                return Err(format!("`{line}`: constraint lines come last"));
            }
        }
        Ok(found.then_some(rule))
    }

    fn read_line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("Optional.") {
            self.optional = true;
            return if rest.is_empty() { Ok(()) } else { self.read_line(rest.trim_start()) };
        }
        if line == "Required." {
            self.required = true;
            return Ok(());
        }
        let (keyword, body) = line.split_once(':').ok_or("no colon")?;
        let body = body.strip_suffix('.').ok_or("no full stop at the end")?;
        let mut parts = body.split(';').map(str::trim);
        let subject = parts.next().unwrap_or_default();
        let clauses = Clauses::parse(parts)?;
        match keyword {
            "Items" => self.items = Some(clauses.limits(subject, &integer, &integer)?),
            "After" => self.after = Some(subject.to_owned()),
            _ if self.value.is_some() => return Err("a second rule for the value".to_owned()),
            "Range" => self.value = Some(range(subject, &clauses)?),
            "Length" => self.value = Some(length(subject, &clauses)?),
            "Format" if subject == "UUID" => {
                self.value = Some(Constraint::Uuid { missing: clauses.missing });
            }
            "Paths" => {
                let paths = subject.split(',').map(|path| path.trim().to_owned()).collect();
                self.value = Some(Constraint::Paths(paths));
            }
            _ => return Err("no such rule".to_owned()),
        }
        Ok(())
    }
}

/// What follows the first semicolon.
#[derive(Default)]
struct Clauses {
    below: Option<String>,
    above: Option<String>,
    missing: Option<String>,
    not: Option<i64>,
}

impl Clauses {
    fn parse<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut clauses = Self::default();
        for part in parts {
            let (name, value) = part.split_once(':').ok_or("a clause without a colon")?;
            let value = value.trim();
            match name {
                "below" => clauses.below = Some(value.to_owned()),
                "above" => clauses.above = Some(value.to_owned()),
                "else" => {
                    clauses.below = Some(value.to_owned());
                    clauses.above = Some(value.to_owned());
                }
                "missing" => clauses.missing = Some(value.to_owned()),
                "not" => clauses.not = Some(integer(value)?),
                _ => return Err(format!("no clause `{name}`")),
            }
        }
        Ok(clauses)
    }

    fn limits(&self, text: &str, min: &Bound, max: &Bound) -> Result<Limits, String> {
        let (low, high) = text.split_once("..").ok_or("no `..`")?;
        let limits = Limits {
            min: min(low)?,
            max: max(high)?,
            below: self.below.clone(),
            above: self.above.clone(),
        };
        if limits.min > limits.max { Err("the limits are reversed".to_owned()) } else { Ok(limits) }
    }
}

type Bound = dyn Fn(&str) -> Result<i64, String>;

fn range(subject: &str, clauses: &Clauses) -> Result<Constraint, String> {
    if subject.matches('-').count() >= 4 {
        let last_second = |text: &str| midnight(text).map(|start| start + 86_399);
        return Ok(Constraint::Instant(clauses.limits(subject, &midnight, &last_second)?));
    }
    let limits = clauses.limits(subject, &integer, &integer)?;
    Ok(Constraint::Integer { limits, not: clauses.not })
}

fn length(subject: &str, clauses: &Clauses) -> Result<Constraint, String> {
    let (limits, unit) = subject.split_once(' ').ok_or("no unit")?;
    let limits = clauses.limits(limits, &integer, &integer)?;
    match unit {
        "characters" => Ok(Constraint::Characters(limits)),
        "bytes" => Ok(Constraint::Bytes(limits)),
        _ => Err(format!("no unit `{unit}`")),
    }
}

fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("`{text}` is no integer"))
}

/// The Unix second at which a day, `yyyy-mm-dd`, begins in UTC.
fn midnight(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no yyyy-mm-dd");
    let mut parts = text.split('-').map(integer);
    let mut next = || parts.next().and_then(Result::ok).ok_or_else(wrong);
    let (year, month, day) = (next()?, next()?, next()?);
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(wrong());
    }
    // Days since 1970-01-01 in the Gregorian calendar, counting years from March so that the leap
    // day is the last of its year (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let years = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (years / 400, years % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Ok((era * 146_097 + day_of_era - 719_468) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(min: i64, max: i64) -> Limits {
        Limits { min, max, below: None, above: None }
    }

    fn value(comment: &str) -> Constraint {
        FieldRule::parse(comment).unwrap().unwrap().value.unwrap()
    }

    #[test]
    fn reads_every_kind_of_line_after_the_prose() {
        let integer = |limits, not| Constraint::Integer { limits, not };
        assert_eq!(value(" Units.\n Range: 1..9999.\n"), integer(limits(1, 9999), None));
        assert_eq!(value("Range: -5..5; not: 0."), integer(limits(-5, 5), Some(0)));
        assert_eq!(value("Length: 1..64 characters."), Constraint::Characters(limits(1, 64)));
        assert_eq!(value("Length: 16..16 bytes."), Constraint::Bytes(limits(16, 16)));
        assert_eq!(
            value("Format: UUID; missing: REQUEST_ID_REQUIRED."),
            Constraint::Uuid { missing: Some("REQUEST_ID_REQUIRED".to_owned()) }
        );
        assert_eq!(
            value("Paths: name, price."),
            Constraint::Paths(vec!["name".to_owned(), "price".to_owned()])
        );
    }

    #[test]
    fn counts_days_from_the_epoch_to_the_end_of_the_last_one() {
        let range = Constraint::Instant(limits(951_782_400, 253_402_300_799));
        assert_eq!(value("Range: 2000-02-29..9999-12-31."), range);
        assert_eq!(value("Range: 1970-01-01..1970-01-01."), Constraint::Instant(limits(0, 86_399)));
    }

    #[test]
    fn keeps_presence_items_order_and_reasons() {
        let rule = FieldRule::parse("Items: 1..2; below: A; above: B.\nRange: 0..1; else: C.");
        let rule = rule.unwrap().unwrap();
        let named = |min, max, below: &str, above: &str| Limits {
            min,
            max,
            below: Some(below.to_owned()),
            above: Some(above.to_owned()),
        };
        assert_eq!(rule.items, Some(named(1, 2, "A", "B")));
        let integer = Constraint::Integer { limits: named(0, 1, "C", "C"), not: None };
        assert_eq!(rule.value, Some(integer));

        let rule =
            FieldRule::parse("Optional. Range: 1970-01-01..9999-12-31.\nAfter: created_from.");
        let rule = rule.unwrap().unwrap();
        assert!(rule.optional);
        assert_eq!(rule.after.as_deref(), Some("created_from"));
    }

    #[test]
    fn refuses_what_is_not_in_the_grammar() {
        for comment in [
            "Range: 1..9999",
            "Range: 2..1.",
            "Range: one..two.",
            "Range: 1..2; beyond: X.",
            "Length: 1..2.",
            "Length: 1..2 words.",
            "Format: EMAIL.",
            "Range: 1..2.\nLength: 1..2 bytes.",
            "Range: 1..2.\nMore prose.",
            "Range: 1970-13-01..9999-12-31.",
        ] {
            assert!(FieldRule::parse(comment).is_err(), "{comment} was accepted");
        }
    }

    #[test]
    fn finds_nothing_in_prose() {
        assert_eq!(FieldRule::parse(" The wallet as it is now.\n"), Ok(None));
    }
}
