//! Text for a screen of a certain width.

/// Columns of the terminal that stdout is; no bound, if it is none.
pub(super) fn columns() -> usize {
    let term = console::Term::stdout();
    match term.size_checked() {
        Some((_, columns)) if term.is_term() => usize::from(columns),
        _ => usize::MAX,
    }
}

/// Every line of the text, wrapped.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<_> = text.lines().flat_map(|line| wrap(line, width)).collect();
    lines.join("\n")
}

/// Breaks text between words, keeping its indentation; a word that is wider stands alone.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let indent = text.len() - text.trim_start().len();
    let mut lines = vec![" ".repeat(indent)];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        let used = console::measure_text_width(line);
        if used > indent && used + 1 + console::measure_text_width(word) > width {
            lines.push(format!("{}{word}", " ".repeat(indent)));
        } else {
            if used > indent {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("one two three", 20), ["one two three"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  one two", 5), ["  one", "  two"]);
        assert_eq!(
            wrap("a-word-that-is-wider two", 6),
            ["a-word-that-is-wider", "two"]
        );
        assert_eq!(wrap("one two", 0), ["one", "two"], "no screen at all");
        assert_eq!(
            wrapped("one two\n three four", 6),
            "one\ntwo\n three\n four"
        );
    }
}
