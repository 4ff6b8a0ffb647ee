//! What a good mesh achieves: targets, and grades by a formula that anybody can check.

use serde::Serialize;

/// One target, and whether it was met.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) target: f64,
    /// None if it was not measured, which is no pass.
    pub(super) actual: Option<f64>,
    pub(super) pass: bool,
}

/// A mark from 0 to 100.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Grade {
    pub(super) name: &'static str,
    pub(super) score: f64,
    pub(super) letter: &'static str,
}

/// The formula of [`Grade::of`], for the report.
pub(super) const FORMULA: &str = "100 · (1 − actual / (4 · target)), where less is better; for \
     the share delivered 100 · (1 − lost / (4 · allowed loss)). So whoever just meets a target \
     gets 75, and ten times better gets 97.5. 90 and more is an A, 97 an A+, 80 a B, 70 a C";

impl Target {
    /// A figure that should stay below the target.
    pub(super) fn below(
        name: &'static str,
        unit: &'static str,
        target: f64,
        actual: Option<f64>,
    ) -> Self {
        let pass = actual.is_some_and(|actual| actual < target);
        Self {
            name,
            unit,
            target,
            actual,
            pass,
        }
    }

    /// A share, in per cent, that should exceed the target.
    pub(super) fn above(name: &'static str, target: f64, actual: Option<f64>) -> Self {
        let pass = actual.is_some_and(|actual| actual > target);
        Self {
            name,
            unit: "%",
            target,
            actual,
            pass,
        }
    }
}

impl Grade {
    /// By how far the target was undercut.
    pub(super) fn of(target: &Target) -> Option<Self> {
        let actual = target.actual?;
        let used = if target.unit == "%" && target.target > 50.0 {
            (100.0 - actual) / (100.0 - target.target)
        } else {
            actual / target.target
        };
        Some(Self::new(target.name, 100.0 * (1.0 - used / 4.0)))
    }

    pub(super) fn new(name: &'static str, score: f64) -> Self {
        let score = score.clamp(0.0, 100.0);
        let letter = match score {
            97.0.. => "A+",
            90.0.. => "A",
            80.0.. => "B",
            70.0.. => "C",
            _ => "D",
        };
        Self {
            name,
            score,
            letter,
        }
    }

    /// The mean of all.
    pub(super) fn overall(grades: &[Self]) -> Self {
        let sum: f64 = grades.iter().map(|grade| grade.score).sum();
        Self::new("overall", sum / grades.len().max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_follow_the_formula() {
        let met = Target::below("latency", "ms", 100.0, Some(100.0));
        assert!(!met.pass);
        assert_eq!(Grade::of(&met).map(|grade| grade.score), Some(75.0));
        let tenth = Target::below("latency", "ms", 100.0, Some(10.0));
        assert_eq!(Grade::of(&tenth).map(|grade| grade.letter), Some("A+"));
        let all = Target::above("delivered", 99.0, Some(100.0));
        assert_eq!(
            (all.pass, Grade::of(&all).map(|g| g.score)),
            (true, Some(100.0))
        );
        let unknown = Target::below("memory", "MB", 100.0, None);
        assert!(!unknown.pass && Grade::of(&unknown).is_none());
    }
}
