//! What became of all messages of a ledger: the accounts, which have to balance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_native::core::Delivery;

use super::ledger::{Entries, Entry, Outcome};

/// How long after it was sent a message may be on its way: the deadline of an acknowledged one.
/// One whose ends were parted by a fault in this time is not counted among the living's.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// How long an outcome may take beyond that: an author that was stopped tells it when it goes on.
const OUTCOME: Duration = Duration::from_secs(30);

/// Of the messages between agents that stay alive, the share that has to arrive.
const ARRIVE_LEAST: f64 = 0.999_9;

/// Messages that an error quotes.
const QUOTED: usize = 5;

/// What became of the messages of a kind.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Given to their authors.
    pub sent: usize,
    /// Not taken by them, by code.
    pub refused: BTreeMap<String, usize>,
    /// Not arrived and not told, of an author that was killed soon.
    pub orphaned: usize,
    /// Arrived once.
    pub once: usize,
    /// Arrived more than once.
    pub twice: usize,
    /// Not arrived, and told as failed, by reason.
    pub failed: BTreeMap<String, usize>,
    /// Told as failed although they arrived: the receipt was lost.
    pub failed_yet_arrived: usize,
    /// Not arrived and not told, at a target that was killed or parted from the author.
    pub gone_with_target: usize,
    /// Not arrived and not told, between agents that stay alive and together.
    pub silent: usize,
    /// Acknowledged ones of a living author without an outcome.
    pub without_outcome: usize,
    /// Acknowledged ones with more than one outcome.
    pub several_outcomes: usize,
    /// Of agents that stay alive and together: taken.
    pub living: usize,
    /// Of those: arrived.
    pub living_arrived: usize,
    /// The first messages that are wrong, in words.
    wrong: Vec<String>,
}

/// The accounts of a run.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// For each kind.
    pub kinds: Vec<(Delivery, Account)>,
    /// Messages that nobody sent, or that another agent got.
    pub astray: usize,
    /// Events that agents dropped.
    pub unread: u64,
    /// Messages that were not sent, because their author had others to send.
    pub held_up: usize,
}

impl Accounts {
    /// Takes the accounts of all that was sent so far: nothing may be on its way any more.
    pub fn of(ledger: &Entries) -> Self {
        let all = [
            Delivery::Datagram,
            Delivery::Reliable,
            Delivery::Acknowledged,
        ];
        let kinds = all.map(|delivery| {
            let mut account = Account::default();
            for entry in ledger.entries.iter().filter(|it| it.delivery == delivery) {
                account.enter(ledger, entry);
            }
            (delivery, account)
        });
        Self {
            kinds: kinds.into(),
            astray: ledger.astray,
            unread: ledger.unread,
            held_up: ledger.held_up,
        }
    }

    /// Whether each message is accounted for, and enough arrived.
    ///
    /// # Errors
    /// What is wrong.
    pub fn balance(&self) -> Result<()> {
        ensure!(self.unread == 0, "agents dropped {} events", self.unread);
        ensure!(self.astray == 0, "{} messages came astray", self.astray);
        for (delivery, account) in &self.kinds {
            let wrong = &account.wrong;
            ensure!(account.sent > 0, "no {delivery:?} was sent");
            let twice = account.twice;
            ensure!(twice == 0, "{twice} {delivery:?} came twice: {wrong:?}");
            if *delivery == Delivery::Datagram {
                continue; // It may be lost, and nothing tells so.
            }
            let silent = account.silent;
            ensure!(
                silent == 0,
                "{silent} {delivery:?} were lost silently: {wrong:?}"
            );
            let (arrived, living) = (account.living_arrived, account.living);
            ensure!(
                arrived as f64 >= ARRIVE_LEAST * living as f64,
                "{arrived} of {living} {delivery:?} arrived between living agents: {wrong:?}"
            );
            if *delivery == Delivery::Acknowledged {
                let (none, many) = (account.without_outcome, account.several_outcomes);
                ensure!(
                    none + many == 0,
                    "{none} {delivery:?} have no outcome, {many} several: {wrong:?}"
                );
            }
        }
        Ok(())
    }

    /// A table of them, as Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| | sent | refused | author killed | arrived once | twice | told failed | told \
             failed, arrived | target killed or apart | lost silently | acknowledged: no, several \
             outcomes | arrived of those between living agents |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for (delivery, it) in &self.kinds {
            let name = format!("{delivery:?}").to_lowercase();
            let share = 100.0 * it.living_arrived as f64 / it.living.max(1) as f64;
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {}, {} | {} of {} \
                 ({share:.3} %) |",
                it.sent,
                reasons(&it.refused),
                it.orphaned,
                it.once,
                it.twice,
                reasons(&it.failed),
                it.failed_yet_arrived,
                it.gone_with_target,
                it.silent,
                it.without_outcome,
                it.several_outcomes,
                it.living_arrived,
                it.living,
            );
        }
        text
    }
}

/// How many, by reason.
fn reasons(counts: &BTreeMap<String, usize>) -> String {
    if counts.is_empty() {
        return "0".to_owned();
    }
    let each = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"));
    each.collect::<Vec<_>>().join(", ")
}

impl Account {
    fn enter(&mut self, ledger: &Entries, entry: &Entry) {
        self.sent += 1;
        let died = |life, within| {
            let at = ledger.died.get(&life);
            at.is_some_and(|at| *at < entry.sent + within)
        };
        let author_died = died(entry.author, OUTCOME);
        if let Some(code) = &entry.refused {
            *self.refused.entry(code.clone()).or_default() += 1;
            return;
        }
        match entry.times {
            0 => {}
            1 => self.once += 1,
            _ => {
                self.twice += 1;
                self.quote("came twice", ledger, entry);
            }
        }
        let outcomes = entry.id.as_ref().and_then(|id| ledger.outcomes.get(id));
        let outcomes = outcomes.map_or(&[][..], Vec::as_slice);
        let failed = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Failed(reason) => Some(reason),
            Outcome::Delivered => None,
        });
        let apart = died(entry.author, ON_ITS_WAY)
            || died(entry.target, ON_ITS_WAY)
            || ledger.parted(entry, ON_ITS_WAY);
        match (entry.times, failed) {
            (0, Some(reason)) => {
                *self.failed.entry(reason.clone()).or_default() += 1;
            }
            (0, None) if author_died => self.orphaned += 1,
            (0, None) if apart => self.gone_with_target += 1,
            (0, None) => {
                self.silent += 1;
                self.quote("lost silently", ledger, entry);
            }
            (_, Some(_)) => self.failed_yet_arrived += 1,
            (_, None) => {}
        }
        if !apart {
            self.living += 1;
            self.living_arrived += usize::from(entry.times > 0);
            if entry.times == 0 && failed.is_some() {
                self.quote("told failed", ledger, entry);
            }
        }
        if entry.delivery == Delivery::Acknowledged && !author_died {
            self.without_outcome += usize::from(outcomes.is_empty());
            self.several_outcomes += usize::from(outcomes.len() > 1);
            if outcomes.len() != 1 {
                self.quote("outcomes", ledger, entry);
            }
        }
    }

    fn quote(&mut self, what: &str, ledger: &Entries, entry: &Entry) {
        if self.wrong.len() < QUOTED {
            let outcomes = entry.id.as_ref().and_then(|id| ledger.outcomes.get(id));
            let first = ledger
                .entries
                .first()
                .map_or(entry.sent, |first| first.sent);
            let at = entry.sent.duration_since(first);
            let took = entry.arrived.map(|arrived| arrived - entry.sent);
            let ends = [entry.author, entry.target].map(|life| {
                let died = ledger.died.get(&life);
                let died = died.map(|died| died.saturating_duration_since(first));
                (life, died)
            });
            self.wrong.push(format!(
                "{what}: from and to (with deaths) {ends:.1?}, sent after {at:.1?}, {:?}, came {} \
                 times, after {took:?}: {outcomes:?}",
                entry.id, entry.times
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::ledger::Ledger;
    use super::*;

    /// A ledger in which one message of each kind arrived and was told of.
    fn sound() -> Ledger {
        let ledger = Ledger::default();
        let mut entries = ledger.open();
        let (anna, ben) = (entries.born(), entries.born());
        for (delivery, id) in [
            (Delivery::Datagram, "d"),
            (Delivery::Reliable, "r"),
            (Delivery::Acknowledged, "a"),
        ] {
            let number = entries.sends(anna, ben, delivery);
            entries.accepted(number, id);
            entries.arrived(Some(number), ben);
        }
        entries.told("a", Outcome::Delivered);
        drop(entries);
        ledger
    }

    fn fault(ledger: &Ledger) -> String {
        let error = Accounts::of(&ledger.open()).balance();
        format!("{:#}", error.expect_err("the accounts do not balance"))
    }

    #[test]
    fn accounts_balance_only_if_each_message_came_once_with_one_outcome() {
        Accounts::of(&sound().open()).balance().expect("all came");
        let twice = sound();
        twice.open().arrived(Some(1), 1);
        assert!(fault(&twice).contains("came twice"));
        let silent = sound();
        let number = silent.open().sends(0, 1, Delivery::Reliable);
        silent.open().accepted(number, "lost");
        assert!(fault(&silent).contains("lost silently"));
        let several = sound();
        several.open().told("a", Outcome::Failed("deadline".into()));
        assert!(fault(&several).contains("1 several"));
        let astray = sound();
        astray.open().arrived(Some(1), 0);
        assert!(fault(&astray).contains("astray"));
    }

    #[test]
    fn a_message_to_the_dead_or_the_parted_is_not_one_between_the_living() {
        let ledger = sound();
        let mut entries = ledger.open();
        let parted = entries.part(BTreeSet::from([0]), None);
        let number = entries.sends(0, 1, Delivery::Acknowledged);
        entries.accepted(number, "parted");
        entries.told("parted", Outcome::Failed("deadline".into()));
        entries.unite(parted);
        let cy = entries.born();
        let number = entries.sends(0, cy, Delivery::Reliable);
        entries.accepted(number, "dead");
        entries.dies(cy);
        drop(entries);
        // The parting is as young as the first messages: none of them is counted either.
        let accounts = Accounts::of(&ledger.open());
        accounts
            .balance()
            .expect("nothing between the living is lost");
        assert_eq!(accounts.kinds[1].1.gone_with_target, 1);
        assert_eq!(accounts.kinds[2].1.failed["deadline"], 1);
    }
}
