//! Data that is shown to people must not be able to steer their terminal.

use std::borrow::Cow;

/// `text` with control characters, also those of Unicode that reorder or hide text, shown as `\x1b` or `\u{202e}`.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\t' => clean.push_str("\\t"),
            '\r' => clean.push_str("\\r"),
            c if is_harmful(c) && u32::from(c) < 0x100 => clean.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_harmful(c) => clean.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => clean.push(c),
        }
    }
    Cow::Owned(clean)
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_appear_as_text() {
        assert_eq!(sanitize("a\x1b[31mred\x07\n"), "a\\x1b[31mred\\x07\\n");
        assert_eq!(sanitize("c1 \u{9b}2J del \x7f"), "c1 \\x9b2J del \\x7f");
        assert_eq!(sanitize("evil\u{202e}txt.exe"), "evil\\u{202e}txt.exe");
    }

    #[test]
    fn ordinary_text_of_any_language_is_untouched() {
        assert!(matches!(sanitize("Grüße, 世界 ✓"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_out_steers_a_terminal(text in any::<String>()) {
            prop_assert!(!sanitize(&text).chars().any(char::is_control));
        }
    }
}
