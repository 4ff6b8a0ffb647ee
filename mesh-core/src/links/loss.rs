//! How much of what is sent over a link the path loses.
//!
//! A link's other channels send again what was lost, so that it does not show. On `stream` nothing
//! is sent again, neither a ping nor its answer: if a later ping is answered and this one is not,
//! one of them was lost.

use crate::stats::PingCounts;

/// Pings before a share is told: fewer would say more of chance than of the path.
const TOLD_AFTER: u32 = 8;

/// Pings that the share is the mean of: each new one has this part of the weight once there are so
/// many. Enough to tell one loss in 32, and few enough to follow a path that changes.
const SMOOTHED_OVER: u32 = 32;

/// The fates of a link's pings on a channel that sends nothing again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    share: f64,
    pings: u32,
    new: PingCounts,
}

impl Loss {
    /// A ping was answered, or lost.
    pub(super) fn judge(&mut self, is_lost: bool) {
        self.pings = self.pings.saturating_add(1);
        let weight = f64::from(self.pings.min(SMOOTHED_OVER));
        let fate = if is_lost { 1.0 } else { 0.0 };
        self.share += (fate - self.share) / weight;
        match is_lost {
            true => self.new.lost += 1,
            false => self.new.answered += 1,
        }
    }

    /// The share of pings that was lost of late, from 0 to 1, once it is credible.
    pub(super) fn share(&self) -> Option<f64> {
        // In thousandths: no more is known.
        (self.pings >= TOLD_AFTER).then(|| (self.share * 1e3).round() / 1e3)
    }

    /// The share of another path is to be told. The pings so far have been, all the same.
    pub(super) fn path_changed(&mut self) {
        *self = Self {
            new: self.new,
            ..Self::default()
        };
    }

    /// Those judged since this was last asked.
    pub(super) fn take_new(&mut self) -> PingCounts {
        std::mem::take(&mut self.new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_the_mean_of_late_and_told_once_it_is_credible() {
        let mut loss = Loss::default();
        for ping in 0..TOLD_AFTER {
            assert_eq!(loss.share(), None);
            loss.judge(ping % 4 == 0);
        }
        assert_eq!(loss.share(), Some(0.25));
        let all = PingCounts {
            answered: 6,
            lost: 2,
        };
        assert_eq!(loss.take_new(), all);
        assert_eq!(loss.take_new(), PingCounts::default());
        // A path that has become good is told as that after a while.
        (0..SMOOTHED_OVER * 4).for_each(|_| loss.judge(false));
        assert!(loss.share() < Some(0.01), "{loss:?}");
    }

    #[test]
    fn another_path_has_a_share_of_its_own_and_no_ping_is_forgotten() {
        let mut loss = Loss::default();
        (0..TOLD_AFTER).for_each(|_| loss.judge(true));
        loss.path_changed();
        assert_eq!(loss.share(), None);
        assert_eq!(loss.take_new().lost, u64::from(TOLD_AFTER));
        (0..TOLD_AFTER).for_each(|_| loss.judge(false));
        assert_eq!(loss.share(), Some(0.0));
    }
}
