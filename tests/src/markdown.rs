//! The examples of a Markdown text, as its reader would copy them: fenced code blocks, found by the
//! heading above them and their language.

use std::path::Path;

use anyhow::{Context, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The text of the nearest heading above; empty if there is none.
    pub heading: String,
    /// What stands behind the opening fence: `js`, `sh`, …
    pub language: String,
    /// The lines between the fences, unchanged.
    pub code: String,
}

/// What GitHub calls the headings of a Markdown text, as links name them after the `#`.
pub fn anchors(markdown: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for heading in texts(markdown, |tag| matches!(tag, Tag::Heading { .. })) {
        let letters = heading.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        });
        let anchor = letters.collect::<String>().to_lowercase();
        let before = found.iter().filter(|other| **other == anchor).count();
        found.push(match before {
            0 => anchor,
            count => format!("{anchor}-{count}"),
        });
    }
    found
}

/// Where the links of a Markdown text lead.
pub fn links(markdown: &str) -> Vec<String> {
    let events = Parser::new(markdown).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    });
    events.collect()
}

/// What stands as `code` within the sentences of a Markdown text.
pub fn words_of_code(markdown: &str) -> Vec<String> {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES);
    let codes = events.filter_map(|event| match event {
        Event::Code(text) => Some(text.into_string()),
        _ => None,
    });
    codes.collect()
}

/// The texts of all elements of a kind.
fn texts(markdown: &str, is_wanted: impl Fn(&Tag<'_>) -> bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut end = None;
    for event in Parser::new(markdown) {
        match event {
            Event::Start(tag) if is_wanted(&tag) => {
                found.push(String::new());
                end = Some(tag.to_end());
            }
            Event::End(tag) if Some(tag) == end => end = None,
            Event::Text(text) | Event::Code(text) if end.is_some() => {
                if let Some(last) = found.last_mut() {
                    last.push_str(&text);
                }
            }
            _ => {}
        }
    }
    found
}

/// Every fenced code block of a Markdown text, in order.
pub fn fences(markdown: &str) -> Vec<Fence> {
    let mut found: Vec<Fence> = Vec::new();
    let mut heading = String::new();
    let (mut in_heading, mut in_fence) = (false, false);
    for event in Parser::new(markdown) {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                heading.clear();
                in_heading = true;
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                in_fence = true;
                found.push(Fence {
                    heading: heading.clone(),
                    language: language.trim().to_owned(),
                    code: String::new(),
                });
            }
            Event::End(TagEnd::CodeBlock) => in_fence = false,
            Event::Text(text) | Event::Code(text) if in_heading => heading.push_str(&text),
            Event::Text(text) if in_fence => {
                if let Some(fence) = found.last_mut() {
                    fence.code.push_str(&text);
                }
            }
            _ => {}
        }
    }
    found
}

/// The one example in a language under a heading of a file, named from the repository's root.
///
/// # Errors
/// If the file cannot be read, or has no such example, or several.
pub fn example(file: &str, heading: &str, language: &str) -> Result<String> {
    let mut wanted = examples(file, heading, language)?;
    match wanted.len() {
        1 => Ok(wanted.remove(0)),
        many => bail!("{file} has {many} {language} examples under {heading:?}, not one"),
    }
}

/// The first of such examples, where later ones are parts of programs.
///
/// # Errors
/// If the file cannot be read, or has none.
pub fn first_example(file: &str, heading: &str, language: &str) -> Result<String> {
    let first = examples(file, heading, language)?.into_iter().next();
    first.with_context(|| format!("{file} has no {language} example under {heading:?}"))
}

fn examples(file: &str, heading: &str, language: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
    let wanted = |fence: &Fence| fence.heading == heading && fence.language == language;
    let wanted = fences(&text).into_iter().filter(wanted);
    Ok(wanted.map(|fence| fence.code).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_read_unchanged_with_their_heading_and_language() {
        let text = "```text\nfirst\n```\n# In `Rust`\n\n```rust\nlet a = \"<b>\";\n\n  b();\n```\n\
                    ## In a page\n- a list\n\n  ~~~js\n  c();\n  ~~~\n\n    indented code\n";
        let fence = |heading: &str, language: &str, code: &str| Fence {
            heading: heading.to_owned(),
            language: language.to_owned(),
            code: code.to_owned(),
        };
        let expected = [
            fence("", "text", "first\n"),
            fence("In Rust", "rust", "let a = \"<b>\";\n\n  b();\n"),
            fence("In a page", "js", "c();\n"),
        ];
        assert_eq!(fences(text), expected);
    }

    #[test]
    fn headings_have_the_anchors_that_github_gives_them() {
        let text =
            "# A hub's `loop` stands still\n## By k: 20\n# By k 20\n```sh\n# no heading\n```\n";
        assert_eq!(
            anchors(text),
            ["a-hubs-loop-stands-still", "by-k-20", "by-k-20-1"]
        );
        assert_eq!(links("[a](b.md#c) and `[d](e)`"), ["b.md#c"]);
        assert_eq!(words_of_code("a `b`\n```\nc\n```\n"), ["b"]);
    }

    #[test]
    fn the_readme_has_one_example_for_a_page_and_says_what_it_lacks() {
        let code = example("README.md", "In a page", "js").expect("README.md shows a page");
        assert!(code.contains("Mesh.join"), "{code}");
        let error = example("README.md", "In a page", "cobol").expect_err("no cobol");
        assert!(
            format!("{error:#}").contains("0 cobol examples"),
            "{error:#}"
        );
    }
}
