//! Numbered steps with times: run in order, stop at the first failure, print a table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What a step came to, beside failing.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    /// Not done, or done in part: the table says why.
    Reduced(String),
}

/// One step: a short name for the command line, a title, and what to do.
pub(crate) struct Step<'a> {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) run: Box<dyn Fn() -> Result<Outcome> + 'a>,
}

impl<'a> Step<'a> {
    /// A step that passes when it returns without an error.
    pub(crate) fn new(
        name: &'static str,
        title: &'static str,
        run: impl Fn() -> Result<()> + 'a,
    ) -> Self {
        Self::reducible(name, title, move || run().map(|()| Outcome::Passed))
    }

    /// A step that may have to leave something out.
    pub(crate) fn reducible(
        name: &'static str,
        title: &'static str,
        run: impl Fn() -> Result<Outcome> + 'a,
    ) -> Self {
        let run = Box::new(run);
        Self { name, title, run }
    }
}

/// Runs the steps; `command` is what a reader types before a step to repeat it, if that can be
/// repeated alone.
pub(crate) fn run(steps: &[Step<'_>], command: Option<&str>) -> Result<()> {
    let mut table = Vec::new();
    let begin = Instant::now();
    for (index, step) in steps.iter().enumerate() {
        println!(
            "\n[{}/{}] {}: {}",
            index + 1,
            steps.len(),
            step.name,
            step.title
        );
        let start = Instant::now();
        let result = (step.run)();
        let said = match &result {
            Ok(Outcome::Passed) => "ok".to_owned(),
            Ok(Outcome::Reduced(why)) => format!("ok, but {why}"),
            Err(_) => "FAILED".to_owned(),
        };
        table.push(row(index, step.name, start.elapsed(), &said));
        if let Err(error) = result {
            let left = steps.iter().skip(index + 1).enumerate();
            table.extend(left.map(|(i, s)| {
                let number = index + 2 + i;
                format!("{number:>3}  {:<14} {:>9}  not run", s.name, "")
            }));
            print_table(&table, begin.elapsed());
            let name = step.name;
            let alone = command.map(|command| format!(" (alone: {command} {name})"));
            let alone = alone.unwrap_or_default();
            return Err(error).with_context(|| format!("step `{name}` failed{alone}"));
        }
    }
    print_table(&table, begin.elapsed());
    Ok(())
}

/// Keeps the steps named in `wanted`, all when it is empty, in their own order.
pub(crate) fn select<'a>(steps: Vec<Step<'a>>, wanted: &[String]) -> Result<Vec<Step<'a>>> {
    let known: Vec<&str> = steps.iter().map(|step| step.name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "there is no step `{unknown}`; the steps are: {}",
            known.join(" ")
        );
    }
    let keep = |step: &Step<'_>| wanted.is_empty() || wanted.iter().any(|name| name == step.name);
    Ok(steps.into_iter().filter(keep).collect())
}

fn row(index: usize, name: &str, time: Duration, said: &str) -> String {
    format!(
        "{:>3}  {name:<14} {:>7.1} s  {said}",
        index + 1,
        time.as_secs_f64()
    )
}

fn print_table(rows: &[String], total: Duration) {
    println!("\n  #  step                time  result");
    for row in rows {
        println!("{row}");
    }
    println!("     {:<14} {:>7.1} s", "total", total.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_first_failure_stops_the_rest() {
        let ran = RefCell::new(Vec::new());
        let note = |name: &'static str, good: bool| {
            ran.borrow_mut().push(name);
            anyhow::ensure!(good, "no good");
            Ok(())
        };
        let steps = [
            Step::new("a", "", || note("a", true)),
            Step::new("b", "", || note("b", false)),
            Step::new("c", "", || note("c", true)),
        ];
        let error = format!("{:#}", run(&steps, Some("x test")).expect_err("b fails"));
        assert_eq!(*ran.borrow(), ["a", "b"]);
        assert!(
            error.contains("x test b") && error.contains("no good"),
            "{error}"
        );
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let steps = || vec![Step::new("a", "", || Ok(())), Step::new("b", "", || Ok(()))];
        let chosen = select(steps(), &["b".to_owned()]).expect("b exists");
        assert_eq!(chosen.iter().map(|s| s.name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(select(steps(), &[]).expect("all").len(), 2);
        assert!(select(steps(), &["c".to_owned()]).is_err());
    }
}
