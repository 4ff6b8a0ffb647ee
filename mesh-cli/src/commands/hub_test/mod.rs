//! `mesh hub-test`: many members at one hub, measured: what each costs, and what a flood does.

mod flood;
mod member;
mod process;
mod recorder;
mod report;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::load_test::{duration, progress};
use super::{interruption, print};
use flood::KINDS;
use member::{Member, Target};
use process::Hub;
use recorder::{Recorder, Times};
use report::{Mark, Phase, Report};

/// Members of a room unless the number of rooms is given: a room like those of most users.
const ROOM_MEMBERS: usize = 100;

/// Open files that this process needs beside its connections.
const FILES_BESIDE: u64 = 64;

/// How long members that joined last may take to be told of all the others.
const SETTLE: Duration = Duration::from_secs(2);

/// Time between two looks whether all have joined.
const LOOK: Duration = Duration::from_millis(200);

/// Puts many members on one hub, at a steady rate, and measures what they cost it: the hub in a
/// process of its own, this one's cost told apart. The members prove identities and ping like
/// agents, and have no links. Prints Markdown. Ends with code 1 if a member is not admitted or does
/// not stay.
///
/// Example: mesh hub-test --members 1000 --rate 200 --hold 30s
#[derive(Clone, Debug, Args)]
pub(crate) struct HubTest {
    /// Members in all.
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    members: u32,
    /// Rooms that they join in turn [default: one for each 100 members].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rooms: Option<u32>,
    /// Members that join in a second.
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long they stay when all have joined: 90s, 5m.
    #[arg(long, default_value = "30s", value_parser = duration)]
    hold: Duration,
    /// Then so many hostile clients come, and go on for as long again: a sixth of them are silent,
    /// a sixth each make a request without an end, prove no identity, send as fast as they can,
    /// read nothing, or end no text.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000))]
    flood: u32,
    /// A signaling server that runs already; without it one is started. It should know no limit of
    /// connections for this address, as on this machine.
    #[arg(long, value_name = "URL")]
    signaling: Option<String>,
    /// The id of that server's process, if it is on this machine: its memory and processor time are
    /// read from there.
    #[arg(long, value_name = "PID", requires = "signaling")]
    hub_process: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The members, and what hostile clients there are.
type Clients = JoinSet<()>;

/// What all parts of a test share.
struct Test<'a> {
    target: Arc<Target>,
    recorder: Arc<Recorder>,
    hub: &'a Hub,
    bar: &'a ProgressBar,
}

impl HubTest {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        self.check_files()?;
        let hub = match &self.signaling {
            Some(url) => Hub::elsewhere(url.clone(), self.hub_process),
            None => Hub::start().await?,
        };
        let bar = progress();
        let report = tokio::select! {
            report = self.measure(&hub, &bar) => report,
            by = interruption() => {
                bar.finish_and_clear();
                tracing::warn!("interrupted: nothing was measured");
                return Ok(by.exit_code().into());
            }
        };
        bar.finish_and_clear();
        let report = report?;
        print(&if self.json {
            format!("{}\n", serde_json::to_string(&report)?)
        } else {
            report.markdown()
        })?;
        if let Some(failed) = report.failed() {
            bail!("{failed}");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Each connection is a file; too few would look like a fault of the hub.
    fn check_files(&self) -> anyhow::Result<()> {
        let limit = rlimit::increase_nofile_limit(u64::MAX);
        let limit = limit.context("the limit of open files cannot be raised")?;
        let wanted = u64::from(self.members) + u64::from(self.flood) + FILES_BESIDE;
        if limit < wanted {
            bail!(
                "this process may open {limit} files, and {} connections take {wanted}: raise the \
                 limit (ulimit -n, as root), or test fewer members",
                self.members + self.flood
            );
        }
        Ok(())
    }

    fn rooms(&self) -> usize {
        let by_size = (self.members as usize).div_ceil(ROOM_MEMBERS);
        self.rooms.map_or(by_size, |rooms| rooms as usize)
    }

    async fn measure(&self, hub: &Hub, bar: &ProgressBar) -> anyhow::Result<Report> {
        let test = Test {
            target: Arc::new(Target::new(&hub.url).await?),
            recorder: Arc::new(Recorder::new()),
            hub,
            bar,
        };
        let mut clients = Clients::new();
        let empty = test.mark();
        self.join(&mut clients, &test).await?;
        let joined = test.mark();
        bar.set_message("at rest");
        sleep(SETTLE).await;
        test.recorder.take_pings();
        let at_rest = test.mark();
        test.wait(self.hold).await;
        let rested = test.mark();
        let idle = Phase::between(&at_rest, &rested, test.recorder.take_pings());
        let flooded = if self.flood == 0 {
            None
        } else {
            bar.set_message("flooded");
            self.flood(&mut clients, &test.target);
            test.wait(self.hold).await;
            let pings = test.recorder.take_pings();
            Some(Phase::between(&rested, &test.mark(), pings))
        };
        let report = Report {
            members: self.members,
            rooms: self.rooms(),
            rate: self.rate,
            admitted: test.recorder.counts().0,
            failures: test.recorder.failures(),
            joins_a_second: self.joins_a_second(&test.recorder, &empty),
            join_times: test.recorder.joins(),
            memory_before: empty.memory(),
            joining: Phase::between(&empty, &joined, Times::default()),
            idle,
            flood: self.flood,
            flooded,
        };
        Ok(report)
    }

    /// Has the members join at their rate, whatever becomes of those before, and waits until none
    /// is on its way.
    async fn join(&self, clients: &mut Clients, test: &Test<'_>) -> anyhow::Result<()> {
        test.bar.set_message("joining");
        test.bar.set_length(self.members.into());
        let started = Instant::now();
        for n in 0..self.members {
            let due = started + Duration::from_secs(1) * n / self.rate;
            sleep_until(due.into()).await;
            let room = format!("room-{}", n as usize % self.rooms());
            let (target, recorder) = (Arc::clone(&test.target), Arc::clone(&test.recorder));
            clients.spawn(async move {
                let failure = match Member::join(&target, n as usize, &room).await {
                    Ok(member) => {
                        recorder.joined(due.elapsed());
                        member.stay(&recorder).await
                    }
                    Err(failure) => failure,
                };
                recorder.failed(failure);
            });
            test.bar.set_position(test.recorder.counts().0);
        }
        // Each member has a deadline of its own.
        loop {
            let (admitted, failed) = test.recorder.counts();
            test.bar.set_position(admitted);
            if admitted + failed >= self.members.into() {
                break;
            }
            sleep(LOOK).await;
        }
        let failures = test.recorder.failures();
        anyhow::ensure!(
            test.recorder.counts().0 > 0,
            "nothing was admitted: {failures:?}"
        );
        Ok(())
    }

    /// From when the first was to begin until the last was admitted.
    fn joins_a_second(&self, recorder: &Recorder, began: &Mark) -> f64 {
        let last = recorder.last_join();
        let seconds = last.map_or(0.0, |last| began.seconds_until(last));
        // The first begins at once.
        (recorder.counts().0 as f64 - 1.0).max(0.0) / seconds.max(1e-3)
    }

    fn flood(&self, clients: &mut Clients, target: &Arc<Target>) {
        for (n, kind) in (0..self.flood as usize).zip(KINDS.into_iter().cycle()) {
            let target = Arc::clone(target);
            clients.spawn(async move { match kind.attack(&target, n).await {} });
        }
    }
}

impl Test<'_> {
    fn mark(&self) -> Mark {
        Mark::now(self.hub.process.as_ref(), self.recorder.all_read())
    }

    async fn wait(&self, time: Duration) {
        self.bar.set_length(time.as_secs());
        self.bar.set_position(0);
        let until = Instant::now() + time;
        while Instant::now() < until {
            let second = Instant::now() + Duration::from_secs(1);
            sleep_until(second.min(until).into()).await;
            self.bar.inc(1);
        }
    }
}
