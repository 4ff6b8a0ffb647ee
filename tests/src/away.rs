//! Members that are away for a while, and come back by themselves: tabs that are hidden, frozen,
//! reloaded, left and gone back to, and processes that stand still as on a machine that sleeps.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use mesh_native::JoinOptions;
use mesh_native::core::PeerId;
use tokio::time::{Instant, sleep_until};

use crate::agents::{AgentProcess, Native};
use crate::browser::{Browser, Tab, Window};
use crate::hub::HubProcess;
use crate::member::{Member, stats, until_complete};
use crate::output::progress;
use crate::tab_states::Hidden;
use crate::wait::{SOON, until};

const ROOM: &str = "away";

/// Agents that stay: fewer than an agent keeps links, so that the member has one to each.
const OTHERS: usize = 4;

/// Time between two requests to a member that is away.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// How long one of these requests, and those after the return, may take.
const ANSWER: Duration = Duration::from_millis(250);

/// How soon after its return a member answers: what a fault that heals may take, and a page that
/// loads anew.
const BACK_S: f64 = 5.0;

/// Has a page note whether it was ever hidden.
const NOTE_HIDDEN: &str = "
    addEventListener('visibilitychange', () => { window.wasHidden ||= document.hidden });";

/// A way of being away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// A tab behind another.
    Hidden,
    /// A tab whose timers and events the browser stops.
    Frozen,
    /// A browser with all its processes stopped (SIGSTOP), as on a machine that sleeps.
    Asleep,
    /// A tab at another page; then the Back button.
    Left,
    /// A tab whose page is loaded anew, at the end of the time.
    Reloaded,
}

impl Absence {
    /// All of a browser. Firefox has no command that freezes a tab.
    fn all(browser: Browser) -> Vec<Self> {
        let all = [
            Self::Hidden,
            Self::Frozen,
            Self::Asleep,
            Self::Left,
            Self::Reloaded,
        ];
        let known = |absence: &Self| browser == Browser::Chrome || *absence != Self::Frozen;
        all.into_iter().filter(known).collect()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Hidden => "tab hidden behind another",
            Self::Frozen => "tab frozen by the browser",
            Self::Asleep => "browser stopped (SIGSTOP)",
            Self::Left => "tab at another page, then Back",
            Self::Reloaded => "tab reloaded",
        }
    }
}

/// What became of a member.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// Requests of others that it answered while it was away, of so many.
    pub answered: (usize, usize),
    /// Seconds from its return until it answered.
    pub messages: f64,
    /// Seconds from its return until it had all links.
    pub links: f64,
    /// Whether it is the same agent as before.
    pub same: bool,
}

/// Has tabs of these browsers and a process be away for so long, each in each way. Returns a table,
/// and whether all came back in time.
///
/// # Errors
/// If one does not come back.
pub async fn measured(browsers: &[Browser], lasts: Duration) -> Result<(String, bool)> {
    let room = Room::form().await?;
    let mut table = "| | requests answered meanwhile | answers again after | all links after | \
                     the same agent | |\n|---|---:|---:|---:|---|---|\n"
        .to_owned();
    let mut all_met = true;
    let mut enter = |name: &str, back: Return| {
        let met = back.is_in_time();
        all_met &= met;
        let (answered, asked) = back.answered;
        let row = format!(
            "| {name} | {answered} of {asked} | {:.2} s | {:.2} s | {} | {} |",
            back.messages,
            back.links,
            if back.same { "yes" } else { "no" },
            if met { "met" } else { "**missed**" }
        );
        progress(&row);
        let _ = writeln!(table, "{row}"); // A string takes all.
    };
    for &browser in browsers {
        for absence in Absence::all(browser) {
            let name = format!("{browser:?}: {}", absence.name());
            let returned = room.tab(browser, absence, lasts).await;
            enter(&name, returned.with_context(|| name.clone())?);
        }
    }
    enter("process stopped (SIGSTOP)", room.process(lasts).await?);
    Ok((table, all_met))
}

impl Return {
    fn is_in_time(self) -> bool {
        self.messages < BACK_S
    }
}

/// A room of agents that stay.
#[derive(Debug)]
pub struct Room {
    hub: HubProcess,
    others: Vec<Native>,
}

impl Room {
    /// Forms it.
    ///
    /// # Errors
    /// If it does not form.
    pub async fn form() -> Result<Self> {
        let hub = HubProcess::start().await?;
        hub.require_page().await?;
        let url = hub.url();
        let joining = (0..OTHERS).map(|number| {
            let options = JoinOptions::new(&url, ROOM, &format!("agent-{number}"));
            Native::join(options)
        });
        let others = try_join_all(joining).await?;
        Ok(Self { hub, others })
    }

    /// Opens a tab, has it be away for so long, and waits until it is back.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn tab(&self, browser: Browser, absence: Absence, lasts: Duration) -> Result<Return> {
        let page = self.hub.page(&format!("room={ROOM}&name=tab"));
        let tab = Tab::open(browser, &page).await?;
        self.until_linked(&tab).await?;
        let hidden = self.leave(tab.window(), absence).await?;
        let answered = self.ask_for(lasts, tab.id()).await?;
        let came_back = Instant::now();
        Self::come_back(tab.window(), absence, hidden).await?;
        let returned = self.until_back(&tab, answered, came_back).await?;
        tab.close().await?;
        Ok(returned)
    }

    async fn leave(&self, window: &Window, absence: Absence) -> Result<Option<Hidden>> {
        match absence {
            Absence::Hidden => {
                window.evaluate(NOTE_HIDDEN, &[]).await?;
                return Ok(Some(window.hide().await?));
            }
            Absence::Frozen => window.freeze(true).await?,
            Absence::Asleep => window.signal("STOP").await?,
            Absence::Left => {
                let elsewhere = format!("http://127.0.0.1:{}/icon.svg", self.hub.port());
                window.goto(&elsewhere).await?;
            }
            Absence::Reloaded => {}
        }
        Ok(None)
    }

    async fn come_back(window: &Window, absence: Absence, hidden: Option<Hidden>) -> Result<()> {
        match absence {
            Absence::Hidden => {
                window.show(hidden.context("it was hidden")?).await?;
                let hidden = window.evaluate("return window.wasHidden", &[]).await?;
                ensure!(hidden == true, "the browser has not hidden the tab");
                Ok(())
            }
            Absence::Frozen => window.freeze(false).await,
            Absence::Asleep => window.signal("CONT").await,
            Absence::Left => window.back().await,
            Absence::Reloaded => window.reload().await,
        }
    }

    /// Has a native agent stand still for so long, and waits until it is back.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn process(&self, lasts: Duration) -> Result<Return> {
        let agent = AgentProcess::join(&self.hub.url(), ROOM, "process", &[]).await?;
        self.until_linked(&agent).await?;
        agent.signal("STOP").await?;
        let answered = self.ask_for(lasts, agent.id()).await?;
        let came_back = Instant::now();
        agent.signal("CONT").await?;
        self.timed(&agent, agent.id(), answered, came_back).await
    }

    async fn until_linked(&self, member: &dyn Member) -> Result<()> {
        let others = self.others.iter().map(|other| other as &dyn Member);
        let all: Vec<_> = others.chain([member]).collect();
        until_complete(&all, SOON).await?;
        has_all_links(member).await
    }

    /// Asks the member again and again, as long as this lasts. Returns how often it answered, of so
    /// many times.
    async fn ask_for(&self, lasts: Duration, member: PeerId) -> Result<(usize, usize)> {
        let end = Instant::now() + lasts;
        let (mut answered, mut asked) = (0, 0);
        while Instant::now() < end {
            let next = Instant::now() + ASKED_EVERY;
            asked += 1;
            answered += usize::from(self.ask(asked, member).await.is_ok());
            sleep_until(next.min(end)).await;
        }
        Ok((answered, asked))
    }

    async fn ask(&self, turn: usize, member: PeerId) -> Result<()> {
        let agent = self.others[turn % OTHERS].agent();
        agent.request(member, "there?", Some(ANSWER)).await?;
        Ok(())
    }

    /// Waits until the tab's page, which may be another life of it, is a member again.
    async fn until_back(
        &self,
        tab: &Tab,
        answered: (usize, usize),
        came_back: Instant,
    ) -> Result<Return> {
        tab.until_joined().await?;
        let id = tab.evaluate("return window.mesh.id", &[]).await?;
        let id = id.as_str().context("the tab has no id")?.parse()?;
        self.timed(tab, id, answered, came_back).await
    }

    async fn timed(
        &self,
        member: &dyn Member,
        id: PeerId,
        answered: (usize, usize),
        came_back: Instant,
    ) -> Result<Return> {
        until("it answers each of the others", SOON, async || {
            for turn in 0..OTHERS {
                self.ask(turn, id).await?;
            }
            Ok(())
        })
        .await?;
        let messages = came_back.elapsed().as_secs_f64();
        has_all_links(member).await?;
        Ok(Return {
            answered,
            messages,
            links: came_back.elapsed().as_secs_f64(),
            same: id == member.id(),
        })
    }
}

async fn has_all_links(member: &dyn Member) -> Result<()> {
    until("it has all links", SOON, async || {
        let open = stats(member).await?.links.open;
        ensure!(open == OTHERS, "{open} of {OTHERS} are open");
        Ok(())
    })
    .await
}
