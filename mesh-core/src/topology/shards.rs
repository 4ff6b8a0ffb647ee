//! How a large room is divided: shards of some hundreds of members, each a partial mesh of its own,
//! and a few links between any two of them.
//!
//! Members are told apart by a consistent hash (Lamping and Veach, *A Fast, Minimal Memory,
//! Consistent Hash Algorithm*, 2014): with one shard more, only those move that the new shard gets.
//! Each pair of shards is linked by [`GATEWAYS`] links of distinct members at both ends, chosen by
//! a hash that differs from pair to pair. So no shard and no member is in the middle: every message
//! crosses from one shard to another once, and the links between shards, which grow with their
//! number, are spread over all members.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Topology;
use super::pairs::PAIR;
use super::rings::mix;
use crate::id::PeerId;

/// Members of a shard, about, unless configured: few enough that all of them hold and verify the
/// link state of all others.
pub(crate) const SHARD_MEMBERS: usize = 250;

/// Links between two shards, of distinct members at both ends: two may fail at once.
pub(crate) const GATEWAYS: usize = 3;

/// Members that stand by for each gateway that cannot be reached: the hub lists them to the other
/// shard, and as many seldom leave at once.
const STANDBYS: usize = 5;

/// Tells the hashes of gateways from those of rings, whose numbers are below. The number of the
/// other shard is added.
const GATEWAY: usize = 1 << 16;

/// Shards of a room at most, whoever claims more: rooms of 250,000 members.
const SHARDS_MAX: u32 = 1_000;

const _: () = assert!(
    GATEWAY + (SHARDS_MAX as usize) < PAIR,
    "no two hashes are of one number"
);

/// Into how many shards a room is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Shards {
    count: u32,
}

impl From<Shards> for u32 {
    fn from(shards: Shards) -> Self {
        shards.count
    }
}

impl TryFrom<u32> for Shards {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        if (1..=SHARDS_MAX).contains(&count) {
            return Ok(Self { count });
        }
        Err(format!("{count} shards: a room has 1 to {SHARDS_MAX}"))
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Shards {
    /// The room is one mesh.
    pub const WHOLE: Self = Self { count: 1 };

    /// The shards of a room of so many members, which has about `shard_members` in each; a room of
    /// twice as many is still one mesh.
    pub fn of_room(members: usize, shard_members: usize) -> Self {
        if members <= shard_members.saturating_mul(2) {
            return Self::WHOLE;
        }
        let count = (members + shard_members / 2) / shard_members.max(1);
        Self {
            count: u32::try_from(count).map_or(SHARDS_MAX, |count| count.min(SHARDS_MAX)),
        }
    }

    /// The shards of a room that had these and now has so many members. They stay while they hold
    /// 0.8 to 1.2 times `shard_members` on average: a room whose size wavers is not divided to and
    /// fro.
    pub(crate) fn resized(self, members: usize, shard_members: usize) -> Self {
        let tenths = self.count().saturating_mul(shard_members);
        let fits = if self == Self::WHOLE {
            members <= shard_members.saturating_mul(2)
        } else {
            (tenths * 8..=tenths * 12).contains(&(members * 10))
        };
        if fits {
            self
        } else {
            Self::of_room(members, shard_members)
        }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count as usize
    }

    /// The shard of a member.
    pub fn of(self, member: PeerId) -> usize {
        self.of_prefix(member.prefix())
    }

    /// The shard of a member with this [prefix](PeerId::prefix).
    /// Whether two members are of the same shard.
    pub(crate) fn same(self, a: PeerId, b: PeerId) -> bool {
        self.of(a) == self.of(b)
    }

    pub(crate) fn of_prefix(self, prefix: u64) -> usize {
        if self.count == 1 {
            return 0;
        }
        let mut key = mix(prefix, GATEWAY);
        let (mut shard, mut next) = (0, 0);
        while next < i64::from(self.count) {
            shard = next;
            key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
            let share = (1u64 << 31) as f64 / ((key >> 33) + 1) as f64;
            next = ((shard + 1) as f64 * share) as i64;
        }
        shard as usize
    }

    /// The members by shard.
    pub fn divide(self, members: impl IntoIterator<Item = PeerId>) -> Vec<Vec<PeerId>> {
        let mut shards = vec![Vec::new(); self.count()];
        for member in members {
            shards[self.of(member)].push(member);
        }
        shards
    }

    /// The links out of its shard that fall to a member of a divided room: for each the members of
    /// the other shard that it may lead to, the first choice first. Of other shards the
    /// [`candidates`] are enough.
    pub(crate) fn crossings(self, this: PeerId, divided: &[Vec<PeerId>]) -> Vec<Vec<PeerId>> {
        let here = self.of(this);
        let mut crossings = Vec::new();
        for there in (0..divided.len()).filter(|&there| there != here) {
            let ours = gateways(&divided[here], there, GATEWAYS);
            let Some(rank) = ours.iter().position(|&gateway| gateway == this) else {
                continue;
            };
            let mut theirs = candidates(&divided[there], here);
            if rank >= theirs.len().min(GATEWAYS) {
                continue; // The other shard has too few members.
            }
            let partner = theirs.remove(rank);
            let standbys = theirs.split_off(theirs.len().min(GATEWAYS - 1));
            crossings.push(std::iter::once(partner).chain(standbys).collect());
        }
        crossings
    }
}

/// The members of a shard that another may be linked with, the first choice first.
pub(crate) fn candidates(shard: &[PeerId], other: usize) -> Vec<PeerId> {
    gateways(shard, other, GATEWAYS + STANDBYS)
}

/// The members of a shard that are linked with another first.
fn gateways(shard: &[PeerId], other: usize, count: usize) -> Vec<PeerId> {
    let rank = |member: &PeerId| (mix(member.prefix(), GATEWAY + 1 + other), *member);
    let mut ranked: Vec<_> = shard.iter().map(rank).collect();
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
        ranked.truncate(count);
    }
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, member)| member).collect()
}

impl Topology {
    /// Shards as the room's size asks for: partial meshes, and the links between them.
    pub fn sharded(members: &BTreeSet<PeerId>, k: usize) -> Self {
        let mut whole = Self::unlinked(members);
        let shards = Shards::of_room(members.len(), SHARD_MEMBERS);
        let divided = shards.divide(members.iter().copied());
        for shard in &divided {
            let mesh = Self::partial_mesh(&shard.iter().copied().collect(), k);
            for (a, b) in mesh.links() {
                whole.link_members(a, b);
            }
        }
        for (there, theirs) in divided.iter().enumerate() {
            for (here, ours) in divided[..there].iter().enumerate() {
                let ours = gateways(ours, there, GATEWAYS);
                for (a, b) in ours.into_iter().zip(gateways(theirs, here, GATEWAYS)) {
                    whole.link_members(a, b);
                }
            }
        }
        whole
    }

    fn link_members(&mut self, a: PeerId, b: PeerId) {
        let index = |peer| self.members.binary_search(&peer);
        if let (Ok(a), Ok(b)) = (index(a), index(b)) {
            self.link(a, b, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Analysis;

    #[test]
    fn shards_hold_two_to_three_hundred() {
        for members in [501, 700, 1_000, 2_000, 10_000] {
            let room = Topology::sample_members(members, 7);
            let shards = Shards::of_room(members, SHARD_MEMBERS).divide(room);
            let sizes: Vec<_> = shards.iter().map(Vec::len).collect();
            // The hash is fair, not exact.
            assert!(
                sizes.iter().all(|size| (180..=330).contains(size)),
                "{sizes:?}"
            );
        }
        assert_eq!(Shards::of_room(500, SHARD_MEMBERS), Shards::WHOLE);
    }

    #[test]
    fn a_room_whose_size_wavers_keeps_its_shards() {
        let resized = |count: u32, members| Shards { count }.resized(members, 250).count;
        let cases = [
            (1, 500, 1),
            (1, 501, 2),
            (2, 400, 2),
            (2, 600, 2),
            (2, 399, 1),
            (2, 601, 2),
            (2, 626, 3),
            (4, 1_200, 4),
            (4, 1_201, 5),
            (4, 700, 3),
            (40, 300, 1),
        ];
        for (count, members, after) in cases {
            assert_eq!(
                resized(count, members),
                after,
                "{count} shards, {members} members"
            );
        }
        assert!(serde_json::from_str::<Shards>("0").is_err());
        assert!(serde_json::from_str::<Shards>("1001").is_err());
    }

    #[test]
    fn a_new_shard_takes_its_members_from_all_others_and_nobody_else_moves() {
        let room = Topology::sample_members(4_000, 3);
        let (before, after) = (Shards { count: 15 }, Shards { count: 16 });
        let moved: Vec<_> = room
            .iter()
            .filter(|member| before.of(**member) != after.of(**member))
            .collect();
        assert!((200..=300).contains(&moved.len()), "{} moved", moved.len());
        assert!(moved.iter().all(|member| after.of(**member) == 15));
    }

    #[test]
    fn any_two_shards_are_linked_thrice_by_distinct_members_who_agree() {
        let room = Topology::sample_members(1_500, 5);
        let shards = Shards::of_room(room.len(), SHARD_MEMBERS);
        let divided = shards.divide(room.iter().copied());
        let mut links = BTreeSet::new();
        for &member in &room {
            for crossing in shards.crossings(member, &divided) {
                let theirs = shards.crossings(crossing[0], &divided);
                assert!(theirs.iter().any(|crossing| crossing[0] == member));
                assert_eq!(crossing.len(), 1 + STANDBYS);
                links.insert((shards.of(member), shards.of(crossing[0]), member));
            }
        }
        let pairs = shards.count() * (shards.count() - 1);
        assert_eq!(links.len(), pairs * GATEWAYS);
    }

    #[test]
    fn a_sharded_room_is_one_mesh_that_survives_any_two_links() {
        let room = Topology::sample_members(1_000, 2);
        let analysis = Analysis::of(&Topology::sharded(&room, 30).graph());
        assert_eq!(analysis.components, 1);
        assert!(analysis.edge_connectivity >= GATEWAYS, "{analysis:?}");
        assert!(analysis.articulation_points.is_empty());
        assert!(analysis.diameter <= 6, "{analysis:?}");
        let small = Topology::sample_members(100, 2);
        assert_eq!(Topology::sharded(&small, 20).links().count(), 1_000);
    }

    #[test]
    fn a_join_touches_few_links_of_a_sharded_room() {
        let mut room = Topology::sample_members(1_001, 9);
        let after: BTreeSet<_> = Topology::sharded(&room, 30).links().collect();
        let newcomer = *room.iter().nth(500).expect("a member");
        room.remove(&newcomer);
        let before: BTreeSet<_> = Topology::sharded(&room, 30).links().collect();
        let touched = before.symmetric_difference(&after).count();
        assert!(touched <= 60 + 4 * GATEWAYS, "{touched}");
    }
}
