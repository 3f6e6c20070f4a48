//! SQL in its smallest parts, as far as telling statements and clauses apart needs it.

/// A word, a quoted text or name, or a sign. Comments and spaces are between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Where it begins and ends in the whole text, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token<'_> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// The name without its quotes, if it is a name of a table, column or key: letters, digits and underscores.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.text.trim_matches('`');
        let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
        (!name.is_empty() && name.chars().all(is_plain)).then(|| name.to_owned())
    }
}

/// The tokens of a text.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        let skipped = skipped(rest);
        if skipped > 0 {
            at += skipped;
            continue;
        }
        let length = length(rest);
        let text = rest.get(..length).unwrap_or(rest);
        tokens.push(Token { text, start: at, end: at + text.len() });
        at += text.len();
    }
    tokens
}

/// How many bytes at the beginning are spaces or a comment.
fn skipped(text: &str) -> usize {
    let spaces = text.len() - text.trim_start().len();
    if spaces > 0 {
        return spaces;
    }
    if text.starts_with("--") || text.starts_with('#') {
        return text.find('\n').map_or(text.len(), |end| end + 1);
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    0
}

/// How many bytes the token at the beginning has.
fn length(text: &str) -> usize {
    let mut letters = text.char_indices();
    let Some((_, first)) = letters.next() else { return 0 };
    let is_word = |it: char| it.is_alphanumeric() || it == '_' || it == '$';
    if is_word(first) {
        return text.find(|it| !is_word(it)).unwrap_or(text.len());
    }
    if !matches!(first, '\'' | '"' | '`') {
        return first.len_utf8();
    }
    // A quote that is written twice ends one token and begins another, which does no harm here.
    let mut is_escaped = false;
    for (at, letter) in letters {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' && first != '`' {
            is_escaped = true;
        } else if letter == first {
            return at + letter.len_utf8();
        }
    }
    text.len()
}

/// Parts between signs at the top level, outside of parentheses.
pub(super) fn split<'t, 's>(tokens: &'t [Token<'s>], sign: &str) -> Vec<&'t [Token<'s>]> {
    let mut depth = 0_usize;
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            text if text == sign && depth == 0 => {
                parts.extend(tokens.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(tokens.get(begin..));
    parts.retain(|part| !part.is_empty());
    parts
}

/// The text from the first of these tokens to the last.
pub(super) fn text_of<'s>(sql: &'s str, tokens: &[Token<'_>]) -> &'s str {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return "" };
    sql.get(first.start..last.end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_stand_in_no_text_comment_or_name() {
        let sql = "-- one; two\nA 'x;''y\\';' (b;c) /* ; */; B `d;e` # f;\n; ;";
        let tokens = tokens(sql);
        let texts: Vec<_> = split(&tokens, ";").into_iter().map(|it| text_of(sql, it)).collect();
        assert_eq!(texts, ["A 'x;''y\\';' (b;c)", "B `d;e`"]);
    }

    #[test]
    fn clauses_end_at_commas_outside_of_parentheses() {
        let sql = "ADD KEY k (a, b), DROP KEY l";
        let tokens = tokens(sql);
        let texts: Vec<_> = split(&tokens, ",").into_iter().map(|it| text_of(sql, it)).collect();
        assert_eq!(texts, ["ADD KEY k (a, b)", "DROP KEY l"]);
    }
}
