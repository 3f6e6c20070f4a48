//! A statement without its values.

use std::iter::Peekable;
use std::str::Chars;

/// Any value.
const VALUE: &str = "?";

/// The statements of a script, each without its values, comments, quotes, brackets and the tables before its columns, in
/// small letters with one space between words.
///
/// A list of values is one value, and so are rows of them, and a part that repeats behind UNION ALL or in a CASE is there
/// once: how many there are makes no other statement.
pub fn digests(script: &str) -> Vec<String> {
    let mut statements = vec![Vec::new()];
    let mut rest = script.chars().peekable();
    while let Some(token) = token(&mut rest, statements.last().and_then(|words| words.last())) {
        match token.as_str() {
            ";" => statements.push(Vec::new()),
            _ => statements.last_mut().into_iter().for_each(|words| words.push(token.clone())),
        }
    }
    statements.into_iter().filter(|words| !words.is_empty()).map(|words| folded(&words)).collect()
}

fn token(rest: &mut Peekable<Chars<'_>>, before: Option<&String>) -> Option<String> {
    loop {
        let first = rest.next()?;
        let next = rest.peek().copied();
        match first {
            _ if first.is_whitespace() => {}
            '-' if next == Some('-') => while rest.next_if(|c| *c != '\n').is_some() {},
            '/' if next == Some('*') => skip_comment(rest),
            '\'' | '"' => {
                skip_quoted(rest, first);
                return Some(VALUE.to_owned());
            }
            '`' => {
                let name: String = rest.by_ref().take_while(|c| *c != '`').collect();
                return Some(name.to_lowercase());
            }
            '-' if next.is_some_and(|c| c.is_ascii_digit()) && is_sign(before) => {}
            _ if first.is_ascii_digit() => {
                while rest.next_if(|c| c.is_alphanumeric() || *c == '.').is_some() {}
                return Some(VALUE.to_owned());
            }
            _ if is_letter(first) => {
                let mut word = first.to_lowercase().to_string();
                while let Some(letter) = rest.next_if(|c| is_letter(*c)) {
                    word.extend(letter.to_lowercase());
                }
                match word.as_str() {
                    // The kind of a literal, which follows.
                    "x" | "b" if rest.peek() == Some(&'\'') => {}
                    "_utf8mb4" | "_binary" => {}
                    "null" if before.is_none_or(|word| word != "is" && word != "not") => {
                        return Some(VALUE.to_owned());
                    }
                    "true" | "false" | "default" => return Some(VALUE.to_owned()),
                    _ => return Some(word),
                }
            }
            '<' | '>' | '=' | '!' | ':' | '|' | '&' => {
                let mut operator = first.to_string();
                operator.extend(std::iter::from_fn(|| rest.next_if(|c| "<>=|&".contains(*c))));
                return Some(operator);
            }
            _ => return Some(first.to_string()),
        }
    }
}

/// True when a minus behind this word belongs to the number that follows.
fn is_sign(before: Option<&String>) -> bool {
    before.is_some_and(|word| {
        matches!(word.as_str(), "(" | "," | "=" | "<" | ">" | "<=" | ">=" | "select" | "limit")
    })
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '@')
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    let mut last = ' ';
    for c in rest.by_ref().skip(1) {
        if last == '*' && c == '/' {
            return;
        }
        last = c;
    }
}

fn skip_quoted(rest: &mut Peekable<Chars<'_>>, quote: char) {
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            _ if c == quote && rest.next_if_eq(&quote).is_none() => return,
            _ => {}
        }
    }
}

/// Joined, with what repeats there once.
fn folded(words: &[String]) -> String {
    let is_table = |at: usize| {
        words.get(at + 1).is_some_and(|word| word == ".")
            && words.get(at + 2).is_some_and(|word| word.starts_with(is_letter) || word == "*")
    };
    let mut kept: Vec<&str> = Vec::with_capacity(words.len());
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if is_table(at) {
            at += 2;
            continue;
        }
        kept.push(word);
        at += 1;
    }
    let mut text = kept.join(" ");
    let repeats = [
        ("? , ?", "?"),
        ("( ? ) , ( ? )", "( ? )"),
        ("when ? then ? when ? then ?", "when ? then ?"),
        (
            "when ? then ? + ( interval ( id , ? ) ) when ? then ? + ( interval ( id , ? ) )",
            "when ? then ? + ( interval ( id , ? ) )",
        ),
    ];
    for (many, one) in repeats {
        while text.contains(many) {
            text = text.replace(many, one);
        }
    }
    let mut parts: Vec<&str> = text.split(" union all ").collect();
    parts.dedup();
    let text = parts.join(" union all ");
    let words = text.split(' ').filter(|word| !matches!(*word, "(" | ")"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_how_many_there_are_make_no_other_statement() {
        let one = digests(
            "SELECT `id`,`name` FROM `t` WHERE `id` IN (?) AND n > ? LIMIT ? -- binds: [1, \"a;b\", 2]",
        );
        let other = digests(
            "select id, name\nfrom t where id in (1, -2, X'0a') and n > 'it''s; \\' so' limit 10;",
        );
        assert_eq!(one, other);
        assert_eq!(one, ["select id , name from t where id in ? and n > ? limit ?"]);
    }

    #[test]
    fn rows_fold_and_scripts_split() {
        let script = "INSERT INTO t (a, b) VALUES (1, NULL),(2, _utf8mb4 X'61'); UPDATE t SET a = a - 1 WHERE b IS NULL;COMMIT";
        let expected =
            ["insert into t a , b values ?", "update t set a = a - ? where b is null", "commit"];
        assert_eq!(digests(script), expected);
    }

    #[test]
    fn brackets_and_tables_before_columns_make_no_other_statement() {
        let one =
            digests("SELECT `t`.`a`, COUNT(*) FROM `t` WHERE ((`t`.`a` = ?) AND (`t`.`b` > ?))");
        assert_eq!(one, digests("SELECT a, COUNT(*) FROM t WHERE a = 1 AND b > 2"));
    }

    #[test]
    fn what_repeats_behind_a_union_is_there_once() {
        let statement = "(SELECT 1 a FROM t LIMIT 1) UNION ALL (SELECT 2 a FROM t LIMIT 1) UNION ALL (SELECT 3 a FROM t LIMIT 1)";
        assert_eq!(digests(statement), digests("(SELECT 9 a FROM t LIMIT 9)"));
    }
}
