//! A page that a test brings its own scripts to, beside a native agent in the same room.

use anyhow::{Context, Result, ensure};
use mesh_native::core::{Event, PeerId, Received};
use mesh_native::{Agent, Events, JoinOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::browser::{Browser, Tab};
use crate::hub::HubProcess;
use crate::wait::{SOON, until};

const ROOM: &str = "page";

/// What every script begins with: the package, and how the page joins.
const PRELUDE: &str = "
    const { default: init, Mesh } = await import('/pkg/mesh_wasm.js');
    await init();
    const signaling = `ws://${location.host}/signal`;
    const options = { signaling, room: 'page', name: 'page' };
    const told = async (promise) => {
        try {
            return { ok: await promise };
        } catch (error) {
            return { name: error?.name, code: error?.code, message: error?.message ?? error };
        }
    };";

/// Keeps the connections that the package makes from now on, to be asked for their statistics.
pub const KEEP_CONNECTIONS: &str = "
    const Connection = RTCPeerConnection;
    window.connections = [];
    window.RTCPeerConnection = class extends Connection {
        constructor(...given) { super(...given); window.connections.push(this); }
    };";

/// A hub, a native agent in the room, and a page that does nothing by itself.
#[derive(Debug)]
pub struct Stage {
    /// The hub that both are at.
    pub hub: HubProcess,
    /// The native agent.
    pub agent: Agent,
    events: Events,
    /// The page.
    pub tab: Tab,
}

impl Stage {
    /// Sets it.
    ///
    /// # Errors
    /// If the hub, the agent or the browser does not start.
    pub async fn set(browser: Browser) -> Result<Self> {
        let hub = HubProcess::start().await?;
        hub.require_page().await?;
        let options = JoinOptions::new(&hub.url(), ROOM, "native");
        let (agent, events) = Agent::join_with_events(options).await?;
        let url = format!("http://127.0.0.1:{}/drive.html", hub.port());
        let tab = Tab::load(browser, &url).await?;
        Ok(Self {
            hub,
            agent,
            events,
            tab,
        })
    }

    /// Runs the body of an async function: `Mesh`, `options` and `told` are there, and `agent` is
    /// the id of the native agent.
    ///
    /// # Errors
    /// What it throws.
    pub async fn run(&self, script: &str) -> Result<Value> {
        let script = format!(
            "const agent = arguments[0];
            return (async () => {{ {PRELUDE} {script} }})();"
        );
        self.tab.evaluate(&script, &[json!(self.agent.id())]).await
    }

    /// Looks at an expression of the page until it is what is wanted.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn until(&self, expression: &str, wanted: Value) -> Result<()> {
        until(expression, SOON, async || {
            let value = self
                .tab
                .evaluate(&format!("return {expression}"), &[])
                .await?;
            ensure!(value == wanted, "it is {value}");
            Ok(())
        })
        .await
    }

    /// The next message to the native agent.
    ///
    /// # Errors
    /// If none comes soon.
    pub async fn message(&mut self) -> Result<Received> {
        let next = async {
            while let Some(event) = self.events.next().await {
                if let Event::Message(message) = event {
                    return Some(message);
                }
            }
            None
        };
        let message = timeout(SOON, next).await.context("no message came")?;
        message.context("the agent has left")
    }

    /// Waits until so many others are in the room, and returns them.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn others(&self, count: usize) -> Result<Vec<PeerId>> {
        until("others in the room", SOON, async || {
            let peers = self.agent.peers()?;
            ensure!(peers.len() == count, "there are {}", peers.len());
            Ok(peers.iter().map(|peer| peer.id).collect())
        })
        .await
    }
}
