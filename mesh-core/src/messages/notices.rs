//! Notices of other agents that get stuck here: their authors do not repeat them, and without them
//! a message would be lost and nobody told. They wait by themselves, for what this agent sends to
//! the same target may have a way that they have not: a notice does not go back to the neighbour
//! that brought it, which takes this agent for its way. One of the two learns better soon, and it
//! need not be this one, so they are tried again though no path has changed here; and no sooner
//! where paths change often, or the two would use its `ttl` up between them.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Messages, Net};
use crate::error::LossReason;
use crate::io::Channel;
use crate::time::Instant;
use crate::timeout::TimeoutReason;
use crate::wire::Envelope;

/// Notices that wait here at most: an eighth of what one link's queue holds by default. Each has
/// about 200 bytes.
const NOTICES_MAX: usize = 128;

/// Time until one is tried again. A neighbour learns within less where it takes the wrong way, and
/// before its `ttl` is used up between the two it has been tried for 4 s.
const AGAIN: Duration = Duration::from_millis(250);

/// Those that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Notices(VecDeque<Notice>);

#[derive(Debug)]
struct Notice {
    envelope: Envelope,
    until: Instant,
    again_at: Instant,
}

impl Notices {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Everything, when the agent leaves.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Envelope> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|it| it.envelope)
    }
}

impl Messages {
    /// Has a notice wait for a way, if it may take another hop and not too many wait. Else it is
    /// given back.
    pub(super) fn keep_notice(&mut self, notice: Envelope, net: &Net<'_>) -> Option<Envelope> {
        if notice.ttl == 0 || self.notices.len() >= NOTICES_MAX {
            return Some(notice);
        }
        let (until, again_at) = (net.cx.now + net.cx.config.deadline_max, net.cx.now + AGAIN);
        self.notices.0.push_back(Notice {
            envelope: notice,
            until,
            again_at,
        });
        self.timers.arm(TimeoutReason::Waiting, again_at);
        None
    }

    /// Passes on what has a way now, and gives up what has waited in vain.
    pub(super) fn pass_notices(&mut self, net: &mut Net<'_>) {
        let now = net.cx.now;
        while let Some(notice) = self.notices.0.pop_front_if(|notice| notice.again_at <= now) {
            if notice.until <= now {
                self.undeliverable(&notice.envelope, LossReason::NoRoute, net);
            } else if let Err(stuck) = net.forward(notice.envelope, Channel::Control, None) {
                self.notices.0.push_back(Notice {
                    envelope: stuck.1,
                    again_at: now + AGAIN,
                    ..notice
                });
            }
        }
        if let Some(first) = self.notices.0.front() {
            self.timers.arm(TimeoutReason::Waiting, first.again_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::NOTICES_MAX;
    use crate::error::LossReason;
    use crate::id::Target;
    use crate::messages::tests::just_joined;
    use crate::sim::World;
    use crate::wire::{Content, Envelope};

    const SECOND: Duration = Duration::from_secs(1);

    /// A notice of the last agent for the first one, as it comes by at the second.
    fn notice(world: &mut World, number: u64) -> Envelope {
        let to = Target::Peer(world.agents()[0].id());
        world.command(2, |mesh, _| {
            mesh.with_net(|messages, net| {
                let content = Content::Undelivered {
                    message: (1, to, number),
                    count: 1,
                    reason: LossReason::NoRoute,
                };
                messages.sign(to, content, net)
            })
        })
    }

    #[test]
    fn notices_of_others_wait_for_a_way_but_not_many_of_them() {
        let mut world = just_joined(3);
        let notices: Vec<_> = (0..NOTICES_MAX as u64 * 2)
            .map(|number| notice(&mut world, number))
            .collect();
        let waiting = world.command(1, |mesh, _| {
            mesh.with_net(|messages, net| {
                for notice in notices {
                    messages.stranded(notice, LossReason::NoRoute, net);
                }
                messages.waiting_len()
            })
        });
        assert_eq!(waiting, NOTICES_MAX);
        let left = |world: &mut World| {
            world.command(1, |mesh, _| {
                mesh.with_net(|messages, _| messages.waiting_len())
            })
        };
        world.run_for(SECOND);
        assert_eq!(left(&mut world), 0, "they left with the first link");
    }
}
