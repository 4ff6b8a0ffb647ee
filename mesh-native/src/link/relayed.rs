//! What goes through a relay goes at once.
//!
//! In each turn the library's driver sends what the TURN client has, hands that client what the
//! connection has to send, hands the connection what the client has received, and sleeps. So what
//! came in is answered one turn later, and any answer, as all that the application sends, leaves
//! yet another turn later. Turns come with timers and datagrams: 240 KB there and back took more
//! than 20 seconds. So the driver takes the turns that are missing instead of sleeping.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::early::is_relayed;

/// Turns after that in which something was received, until its answer is on the way: it reaches the
/// connection, which tells of it or has it read, and so has something to send; that reaches the
/// TURN client; it leaves.
const TURNS_AFTER_RECEIVING: u8 = 3;

/// Turns after that in which the application has sent, or has read and made room.
const TURNS_AFTER_WAKING: u8 = 2;

/// How long a link counts as relayed after something came through a relay: consent is renewed over
/// the path in use, every ten seconds at most.
const RELAYED_FOR: Duration = Duration::from_secs(30);

/// The turns that the driver of one connection has to take.
#[derive(Debug, Default)]
pub(super) struct Relayed(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    missing: u8,
    /// The last turn was one of those, and nothing else woke the driver in it.
    alone: bool,
    /// When something last came through a relay.
    heard_at: Option<Instant>,
}

/// In the place of a sleep: over at once, unless the driver has something else to do.
pub(super) struct AnotherTurn(Arc<Relayed>);

impl Relayed {
    /// Looks at a datagram that is handed over.
    pub(super) fn note(&self, datagram: &[u8]) {
        if is_relayed(datagram) {
            let mut turns = self.lock();
            turns.missing = TURNS_AFTER_RECEIVING;
            turns.heard_at = Some(Instant::now());
        }
    }

    /// What the driver, which is about to sleep, has to take first; nothing if it may sleep.
    pub(super) fn another_turn(self: &Arc<Self>) -> Option<AnotherTurn> {
        let mut turns = self.lock();
        if !std::mem::take(&mut turns.alone)
            && (turns.heard_at).is_some_and(|at| at.elapsed() < RELAYED_FOR)
        {
            // Something woke it, and may have given it something to send.
            turns.missing = turns.missing.max(TURNS_AFTER_WAKING);
        }
        turns.missing = turns.missing.checked_sub(1)?;
        Some(AnotherTurn(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for AnotherTurn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0.lock().alone = true;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// The turns that the driver takes before it sleeps, if nothing else wakes it.
    fn turns(relayed: &Arc<Relayed>) -> usize {
        let mut taken = 0;
        while let Some(mut turn) = relayed.another_turn() {
            let mut context = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut turn).poll(&mut context).is_ready());
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_link_that_is_not_relayed_takes_no_more_turns() {
        let relayed = Arc::new(Relayed::default());
        relayed.note(&[23, 254, 253]);
        assert_eq!([turns(&relayed), turns(&relayed)], [0, 0]);
    }

    #[test]
    fn what_is_received_and_what_is_sent_through_a_relay_gets_the_turns_that_it_needs() {
        let relayed = Arc::new(Relayed::default());
        assert_eq!(turns(&relayed), 0);
        relayed.note(&[0x40, 0, 0, 1, 7]);
        assert_eq!(turns(&relayed), 3, "received");
        assert_eq!([turns(&relayed), turns(&relayed)], [2, 2], "perhaps sent");
        relayed.lock().heard_at = None;
        assert_eq!(turns(&relayed), 0, "no longer relayed");
    }

    #[test]
    fn what_wakes_the_driver_between_its_turns_gets_turns_of_its_own() {
        let relayed = Arc::new(Relayed::default());
        relayed.note(&[0x40, 0, 0, 1, 7]);
        for _ in 0..5 {
            drop(
                relayed
                    .another_turn()
                    .expect("something else happens in it"),
            );
        }
        assert_eq!(turns(&relayed), 2);
    }
}
