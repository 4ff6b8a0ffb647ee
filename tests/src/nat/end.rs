//! An end of a pair: an agent in a process or in a tab, on its host.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use mesh_native::core::PeerId;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{HUB_PAGE, HUB_URL, Side};
use crate::agents::AgentProcess;
use crate::browser::{Addresses, Browser, Window};
use crate::member::Member;

const ROOM: &str = "nat";

/// What an agent runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// A process of its own.
    Native,
    /// A tab.
    Tab(Browser),
}

impl Runtime {
    /// As the tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tab(Browser::Chrome) => "Chromium",
            Self::Tab(Browser::Firefox) => "Firefox",
        }
    }
}

/// A place for agents, one after the other.
#[derive(Debug)]
pub(super) enum Seat {
    /// For processes on the host.
    Native,
    /// For pages of a browser on the host.
    Tab(Box<Window>),
}

impl Seat {
    /// Starts what agents need there: the browser takes longer than all else.
    pub(super) async fn prepare(runtime: Runtime, side: &Side) -> Result<Self> {
        let Runtime::Tab(browser) = runtime else {
            return Ok(Self::Native);
        };
        let window = Window::open_on(&side.host, browser, Addresses::Hidden, "about:blank");
        Ok(Self::Tab(Box::new(window.await?)))
    }

    /// Loads the page, where there is one.
    pub(super) async fn load(&self) -> Result<()> {
        if let Self::Tab(window) = self {
            window.goto(HUB_PAGE).await?;
            let script = concat!("return (async () => {", include_str!("tab.js"), "})();");
            window.evaluate(script, &[]).await?;
        }
        Ok(())
    }

    /// Joins.
    pub(super) async fn join<'a>(&'a self, side: &Side, name: &str) -> Result<End<'a>> {
        match self {
            Self::Native => {
                let joining = AgentProcess::join_on(&side.host, HUB_URL, ROOM, name, &[]);
                Ok(End::Process(Box::new(joining.await?)))
            }
            Self::Tab(window) => {
                let options = json!({ "signaling": HUB_URL, "room": ROOM, "name": name });
                let script = "return window.end.join(arguments[0])";
                let id = window.evaluate(script, &[options]).await?;
                let id = id.as_str().context("the tab has no id")?.parse()?;
                Ok(End::Tab(window, id))
            }
        }
    }

    /// Ends what runs there.
    pub(super) async fn close(self) -> Result<()> {
        match self {
            Self::Native => Ok(()),
            Self::Tab(window) => window.close().await,
        }
    }
}

/// An agent that has joined.
pub(super) enum End<'a> {
    Process(Box<AgentProcess>),
    Tab(&'a Window, PeerId),
}

impl End<'_> {
    pub(super) fn id(&self) -> PeerId {
        match self {
            Self::Process(agent) => agent.id(),
            Self::Tab(_, id) => *id,
        }
    }

    /// Whether its link opens in time.
    pub(super) async fn opens(&self, within: Duration) -> Result<bool> {
        match self {
            Self::Process(agent) => {
                let opened = agent.line("the link opens", |line| line["type"] == "linkOpened");
                timeout(within, opened)
                    .await
                    .map_or(Ok(false), |opened| opened.map(|_| true))
            }
            Self::Tab(window, _) => {
                let script = "return window.end.opened(arguments[0])";
                let within = json!(within.as_millis() as u64);
                let opened = window.evaluate(script, &[within]).await?;
                opened.as_bool().context("the tab tells nothing")
            }
        }
    }

    /// Asks the other end so many times, one after the other.
    pub(super) async fn ask(&self, other: PeerId, times: usize) -> Result<()> {
        match self {
            Self::Process(agent) => {
                for _ in 0..times {
                    agent.request(other, "which way?").await?;
                }
            }
            Self::Tab(window, _) => {
                let script = "return window.end.ask(...arguments)";
                window
                    .evaluate(script, &[json!(other), json!(times)])
                    .await?;
            }
        }
        Ok(())
    }

    /// The events that its application was told, for a person to read.
    pub(super) async fn told(&self) -> Result<Vec<Value>> {
        match self {
            Self::Process(agent) => Ok(agent.printed()),
            Self::Tab(window, _) => {
                let told = window.evaluate("return window.end.told", &[]).await?;
                Ok(serde_json::from_value(told)?)
            }
        }
    }
}

impl fmt::Debug for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("End").field(&self.id()).finish()
    }
}
