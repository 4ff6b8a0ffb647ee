//! Constants of the core: each says what it bounds, in which unit and why, and they are counted.

use std::fmt;

use super::Source;

/// Types of constants that are numbers or times, also in a range or a pair.
const NUMBERS: [&str; 11] = [
    "usize",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "i8",
    "f64",
    "Duration",
    "RangeInclusive",
    "Range",
];

/// The folder whose numbers are those of the format: no agent may choose others alone.
const FORMAT: &str = "mesh-core/src/wire/";

/// How many constants of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Numbers that could be others.
    tunable: usize,
    /// Numbers that follow from others.
    derived: usize,
    /// Numbers of the format.
    format: usize,
    /// Texts and tables.
    other: usize,
    /// Relations that the compiler holds.
    relations: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the core has {} constants to tune, {} that follow from others, {} of the format, {} \
             texts and tables, and {} relations among them",
            self.tunable, self.derived, self.format, self.other, self.relations
        )
    }
}

/// One constant.
#[derive(Debug)]
struct Constant<'a> {
    line: usize,
    name: &'a str,
    kind: &'a str,
    value: String,
    is_documented: bool,
    /// Its trait says what it is.
    is_of_trait: bool,
}

/// Names the constants of the core that have no comment, tests and the simulator left out.
pub(super) fn undocumented(source: &Source) -> Vec<String> {
    let constants = constants_of(source).into_iter();
    let bare = constants.filter(|it| it.name != "_" && !it.is_documented && !it.is_of_trait);
    bare.map(|it| {
        format!(
            "{}:{}: `{}` has no comment: say what it bounds, in which unit, and why this value",
            source.path, it.line, it.name
        )
    })
    .collect()
}

/// Counts the constants of the core, tests and the simulator left out again.
pub(super) fn count(sources: &[Source]) -> Counts {
    let mut counts = Counts::default();
    for source in sources {
        for constant in constants_of(source) {
            let counted = match constant.name {
                "_" => &mut counts.relations,
                _ if !is_number(constant.kind) => &mut counts.other,
                _ if source.path.starts_with(FORMAT) => &mut counts.format,
                _ if names_another(&constant.value) => &mut counts.derived,
                _ => &mut counts.tunable,
            };
            *counted += 1;
        }
    }
    counts
}

fn constants_of(source: &Source) -> Vec<Constant<'_>> {
    let Some(inside) = source.path.strip_prefix("mesh-core/src/") else {
        return Vec::new();
    };
    let is_test = inside.contains("tests") || inside.ends_with("golden.rs");
    if is_test || inside.starts_with("sim/") || !inside.ends_with(".rs") {
        return Vec::new();
    }
    let code = source.text.split("#[cfg(test)]\nmod tests {").next();
    let lines: Vec<_> = code.unwrap_or_default().lines().collect();
    let mut constants = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let public = code.strip_prefix("pub").map_or(code, |rest| {
            let rest = rest.strip_prefix('(').and_then(|it| it.split_once(')'));
            rest.map_or(&code[3..], |(_, rest)| rest).trim_start()
        });
        let declared = public.strip_prefix("const ");
        let Some((name, rest)) = declared.and_then(|it| it.split_once(':')) else {
            continue;
        };
        if !name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        {
            continue; // A constant function, or a parameter.
        }
        let (kind, value) = rest.split_once('=').unwrap_or((rest, ""));
        let more = lines[index + 1..].iter().copied();
        let until_end = more.take_while(|_| !rest.trim_end().ends_with(';'));
        let until_end = until_end.take_while(|line| !line.is_empty());
        let value = until_end.fold(value.to_owned(), |value, line| value + line);
        let before = lines[..index].iter().rev().map(|line| line.trim_start());
        let above = before.clone().find(|line| !line.starts_with("#["));
        let indent = line.len() - code.len();
        let mut around = lines[..index].iter().rev();
        let block = around.find(|it| it.len() - it.trim_start().len() < indent && !it.is_empty());
        constants.push(Constant {
            line: index + 1,
            name,
            kind,
            value,
            is_documented: above.is_some_and(|line| line.starts_with("///")),
            is_of_trait: block.is_some_and(|it| it.starts_with("impl") && it.contains(" for ")),
        });
    }
    constants
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty())
}

fn is_number(kind: &str) -> bool {
    words(kind).all(|word| NUMBERS.contains(&word))
}

/// Whether a value is made from another constant.
fn names_another(value: &str) -> bool {
    let is_name = |word: &str| {
        let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(upper)
    };
    words(value).any(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_of_the_core_without_a_comment_is_named() {
        let text = "//! A file.\n\n/// Bytes.\n#[cfg(unix)]\npub const A: usize = 1;\n\
                    const BARE: Duration = Duration::from_secs(1);\nconst _: () = assert!(A > 0);\n\
                    impl T for X {\n    const OF_TRAIT: u8 = 1;\n}\nimpl X {\n    \
                    pub(crate) const INSIDE: u8 = 1;\n}\nconst fn f() {}\n\
                    #[cfg(test)]\nmod tests {\n    const IN_TEST: u8 = 1;\n}\n";
        let found = undocumented(&Source::new("mesh-core/src/a.rs", text));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("mesh-core/src/a.rs:6: `BARE` has no comment"));
        assert!(found[1].contains(":12: `INSIDE`"));
        for elsewhere in [
            "mesh-cli/src/a.rs",
            "mesh-core/src/a/tests.rs",
            "mesh-core/src/sim/a.rs",
        ] {
            assert_eq!(
                undocumented(&Source::new(elsewhere, text)),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn constants_are_counted_by_kind() {
        let text = "const A: (Duration, f64) = (Duration::from_secs(1), 2.0);\n\
                    const B: usize = 2 * A as usize;\nconst C: usize =\n    A;\n\
                    const T: &str = \"t\";\nconst _: () = assert!(A > 0);\n";
        let sources = [
            Source::new("mesh-core/src/a.rs", text),
            Source::new("mesh-core/src/wire/a.rs", "pub const V: u8 = 2;\n"),
            Source::new("mesh-core/src/sim/a.rs", text),
            Source::new("mesh-native/src/a.rs", text),
        ];
        let counts = Counts {
            tunable: 1,
            derived: 2,
            format: 1,
            other: 1,
            relations: 1,
        };
        assert_eq!(count(&sources), counts);
    }
}
