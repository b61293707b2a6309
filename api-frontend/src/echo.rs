//! Words of callers in the sentences that go back to them and into the journal: visible, and no longer than a reader wants.

/// Most characters of a caller's word that a sentence repeats.
const SHOWN_MAX: usize = 128;
/// Most characters of a sentence that was made elsewhere, around words that nobody here has cut.
const SENTENCE_MAX: usize = 1024;

/// A caller's word as a sentence shows it: control characters made visible, and cut with … where it is longer than anybody
/// reads. What is refused for its length would otherwise come back whole, and stand in the journal.
pub fn shown(word: &str) -> String {
    let (mut length, mut cut) = (0, word.len());
    for (at, character) in word.char_indices() {
        length += character.escape_debug().count();
        if length > SHOWN_MAX {
            cut = at;
            break;
        }
    }
    let rest = if cut < word.len() { "…" } else { "" };
    // Quotes stay as they are: sentences put them around words, and nobody parses those.
    let visible = word[..cut].escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"");
    format!("{visible}{rest}")
}

/// A sentence of somebody else's, cut with … where it is longer than any that was meant.
pub fn sentence(text: &str) -> String {
    match text.char_indices().nth(SENTENCE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_shown_as_it_is_up_to_a_length_and_then_cut() {
        assert_eq!(shown("nightly"), "nightly");
        assert_eq!(shown("Zoë’s"), "Zoë’s");
        let most = "x".repeat(SHOWN_MAX);
        assert_eq!(shown(&most), most);
        assert_eq!(shown(&format!("{most}y")), format!("{most}…"));
        assert_eq!(shown(&"ü".repeat(1 << 20)), format!("{}…", "ü".repeat(SHOWN_MAX)));
    }

    #[test]
    fn control_characters_are_visible_and_count_as_long_as_they_are_shown() {
        assert_eq!(shown("a\x1b[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(shown("it's \"so\", \\'so'"), "it's \"so\", \\\\'so'");
        let many = shown(&"\u{7f}".repeat(1000));
        assert!(many.chars().count() <= SHOWN_MAX + 1 && many.ends_with("}…"), "{many}");
    }

    #[test]
    fn a_sentence_of_somebody_else_ends_somewhere() {
        assert_eq!(sentence("no room"), "no room");
        assert_eq!(sentence(&"ü".repeat(SENTENCE_MAX + 1)).chars().count(), SENTENCE_MAX + 1);
    }
}
