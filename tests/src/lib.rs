//! What the end-to-end tests share: hubs, native agents and browser tabs that tests start, kill and
//! question.
//!
//! Everything is started for one test on a port of its own and ends with it. Nothing sleeps to be
//! in time: [`wait::until`] looks again and again at a condition until a deadline, and
//! [`wait::Log`] wakes on each new entry. An agent, a child process and a tab are each a
//! [`member::Member`], so that a test can ask all of them the same.

pub mod agents;
pub mod away;
pub mod balancer;
pub mod browser;
pub mod child;
pub mod doctor;
mod driver;
pub mod exposition;
pub mod hosts;
pub mod http_proxy;
pub mod hub;
pub mod markdown;
pub mod member;
pub mod nat;
pub mod npm;
pub mod output;
pub mod page;
#[cfg(target_os = "linux")]
pub mod paths;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod recorder;
pub mod redis;
pub mod relayed;
pub mod script;
pub mod sentinels;
pub mod site;
pub mod soak;
pub mod streams;
mod tab_states;
pub mod tls;
pub mod turn;
pub mod wait;

/// Prints a figure or a warning of a test, for people who read its output.
pub fn report(text: &str) {
    #[expect(
        clippy::print_stdout,
        reason = "what a test measured is for its reader"
    )]
    {
        println!("    {text}");
    }
}
