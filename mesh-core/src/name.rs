//! What the name of a room or an agent may be.

use std::ops::RangeInclusive;

use crate::config::NAME_BYTES_MAX;
use crate::error::ConfigError;
use crate::id::PeerId;

/// Checks a room or agent name. People tell agents by what they see of their names, so all of a
/// name must show.
pub(crate) fn check_name(what: &'static str, value: &str) -> Result<(), ConfigError> {
    if !(1..=NAME_BYTES_MAX).contains(&value.len()) {
        return Err(ConfigError::NameLength {
            what,
            value: value.chars().take(80).collect(),
            bytes: value.len(),
            bytes_max: NAME_BYTES_MAX,
        });
    }
    let value = value.to_owned();
    let hidden = value.chars().zip(1..).find(|(char, _)| is_hidden(*char));
    if let Some((character, place)) = hidden {
        return Err(ConfigError::NameCharacter {
            what,
            value,
            character,
            place,
        });
    }
    if value.trim() != value {
        return Err(ConfigError::NameSpace { what, value });
    }
    Ok(())
}

/// The name that a hub gives a member, or the beginning of the member's id if that can be no name:
/// the hub that lets it pass is not ours to trust.
pub(crate) fn name_or_id(name: String, peer: PeerId) -> String {
    match check_name("name", &name) {
        Ok(()) => name,
        Err(_) => peer.short(),
    }
}

/// A text of another agent's as it may be shown: on one line, and with all of it to be seen.
pub(crate) fn shown(text: &str) -> String {
    let shown = |c| {
        if is_hidden(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// Whether a character has no glyph of its own, or changes the direction of others.
fn is_hidden(character: char) -> bool {
    character.is_control() || HIDDEN.iter().any(|range| range.contains(&character))
}

/// The characters that do not show: those of Unicode's categories Format, Line and Paragraph
/// Separator, those it lists as "default ignorable" (joiners, fillers, variation selectors, tags,
/// and what is reserved for their like), the empty Braille pattern and the empty note. Written out,
/// for a crate's table of all categories adds 17 kB to what each page load transfers; a test holds
/// it against that.
const HIDDEN: [RangeInclusive<char>; 27] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d159}'..='\u{1d159}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn names_are_bounded() {
        assert!(Config::new(&"r".repeat(64), "n").is_ok());
        for bad in ["", &"r".repeat(65)] {
            assert!(Config::new(bad, "n").is_err(), "{bad:?}");
            assert!(Config::new("r", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn all_of_a_name_must_show() {
        let seen = [
            "agent 1",
            "Ærøskøbing",
            "شبكة",
            "日本語",
            "नमस्ते",
            "🐝",
            "e\u{301}",
            "a·b/c",
        ];
        for name in seen {
            assert_eq!(Config::new("r", name).map(drop), Ok(()), "{name:?}");
        }
        // Control, new line, the direction's override, its isolate and its mark, zero width and no
        // width, soft hyphen, separators, joiners, filler, Braille's blank, variation, tag.
        let unseen = "\u{0}\n\u{85}\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{feff}\u{ad}\u{2028}\
                      \u{2029}\u{200d}\u{34f}\u{2060}\u{3164}\u{2800}\u{fe0f}\u{e0041}\u{1d173}";
        for character in unseen.chars() {
            for name in [format!("a{character}b"), character.to_string()] {
                let error = Config::new("r", &name).expect_err("it does not show");
                let code = format!("U+{:04X}", u32::from(character));
                assert!(error.to_string().contains(&code), "{error} names {code}");
                assert!(Config::new(&name, "n").is_err(), "{name:?}");
            }
        }
    }

    #[test]
    fn what_does_not_show_is_what_unicode_says() {
        use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory as _};
        let mut others = 0;
        for character in '\0'..=char::MAX {
            let unseen = matches!(
                character.general_category(),
                Category::Control
                    | Category::Format
                    | Category::LineSeparator
                    | Category::ParagraphSeparator
            );
            assert!(
                !unseen || is_hidden(character),
                "{:04X}",
                u32::from(character)
            );
            others += u32::from(is_hidden(character) && !unseen);
        }
        // Nearly all of them are places that Unicode reserves for tags and variation selectors.
        assert_eq!(others, 4_038, "a range covers more or less than it should");
    }

    #[test]
    fn a_hub_cannot_hand_out_names_that_do_not_show() {
        let peer = PeerId::from_bytes([0xab; 32]);
        assert_eq!(name_or_id("alice".to_owned(), peer), "alice");
        for bad in ["alice\u{200b}", " ", "", &"x".repeat(65)] {
            assert_eq!(name_or_id(bad.to_owned(), peer), "abababab", "{bad:?}");
        }
    }

    #[test]
    fn names_have_white_space_inside_alone() {
        for bad in [" ", " a", "a ", "\u{3000}a", "a\u{a0}", "\u{2003}"] {
            let error = Config::new("r", bad).expect_err("white space at an end");
            assert!(error.to_string().contains("white space"), "{error}");
        }
    }
}
