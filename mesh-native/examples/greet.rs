//! The example of the README: joins, greets, asks each member, and answers.
#![expect(clippy::print_stdout, reason = "an example shows what it hears")]

use mesh_native::core::Event;
use mesh_native::{Agent, JoinOptions};

const HUB: &str = "ws://localhost:9600/signal";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::join(JoinOptions::new(HUB, "demo", "agent-1")).await?;
    let mut events = agent.events();
    agent.broadcast("greetings", "hello").await?;
    for peer in agent.peers()? {
        let reply = agent.request(peer.id, "how are you?", None).await?;
        println!("{} says {reply:?}", peer.name);
    }
    while let Some(event) = events.next().await {
        match event {
            Event::Message(message) if message.wants_reply => agent.reply(message.id, "fine")?,
            event => println!("{event:?}"),
        }
    }
    Ok(())
}
