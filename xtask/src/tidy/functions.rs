//! The length of every function.

use super::Source;
use super::scan::code_only;

const MOST_LINES: usize = 70;

/// Names every function of more than 70 lines, from `fn` to its closing brace.
pub(super) fn too_long(source: &Source) -> Vec<String> {
    functions(&source.text)
        .into_iter()
        .filter(|function| function.lines > MOST_LINES)
        .map(|function| {
            format!(
                "{}:{}: `{}` has {} lines, more than {MOST_LINES}: split it",
                source.path, function.line, function.name, function.lines
            )
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    /// Where it starts, from 1.
    line: usize,
    lines: usize,
}

fn functions(source: &str) -> Vec<Function> {
    let code = code_only(source);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at..];
        let name: String = rest[3..]
            .trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        // A function pointer type has no name, a declaration no body.
        let Some(length) = body_end(rest).filter(|_| !name.is_empty()) else {
            continue;
        };
        found.push(Function {
            name,
            line: code[..at].matches('\n').count() + 1,
            lines: rest[..length].matches('\n').count() + 1,
        });
    }
    found
}

/// The end of the function that starts `code`; `None` when it has no body.
fn body_end(code: &str) -> Option<usize> {
    let mut nested = 0_usize;
    let mut braces = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested = nested.saturating_sub(1),
            // An array type `[u8; 4]` in the signature is nested; this ends a declaration.
            ';' if nested == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && nested == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let source = "fn one() {}\n\ntrait T {\n    fn none(x: [u8; 4]);\n}\n\n\
                      async fn four(\n    f: fn(u8),\n) {\n    \"}\"; }\n";
        let found = functions(source);
        let seen: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.line, f.lines))
            .collect();
        assert_eq!(seen, [("one", 1, 1), ("four", 7, 4)]);
    }

    #[test]
    fn long_functions_are_named() {
        let body = "    x();\n".repeat(MOST_LINES - 2);
        let source = |body: &str| Source {
            path: "a.rs".to_owned(),
            text: format!("\nfn f() {{\n{body}}}\n"),
        };
        assert!(too_long(&source(&body)).is_empty());
        let findings = too_long(&source(&format!("{body}    y();\n")));
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with("a.rs:2: `f` has 71 lines"),
            "{findings:?}"
        );
    }
}
