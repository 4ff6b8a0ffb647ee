//! What goes wrong in a world: processes die, networks lie, neighbours are hostile.

use std::time::Duration;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use super::relay::pair;
use super::relay::turn_server;
use super::trace::Fault;
use super::{EPOCH, World};
use crate::config::HubConfig;
use crate::id::PeerId;
use crate::io::{Channel, Input};
use crate::signaling::Hub;
use crate::time::{Instant, UnixTime};
use crate::trust::Identity;
use crate::wire::{FrameWriter, LinkEntry, LinkState, Record};

impl World {
    /// Ends an agent's process without a word, as SIGKILL does.
    pub fn crash(&mut self, agent: usize) {
        self.record(Fault::Crash, agent);
        self.died_with_forwarders += self.agents[agent].mesh.messages_held();
        self.agents[agent].alive = false;
        self.agents[agent].life += 1;
        self.close_sockets(agent);
        for connection in &mut self.connections {
            connection.lose_end(agent);
        }
    }

    /// Starts a crashed agent again with the same identity, its clock set back by so much.
    pub fn restart(&mut self, agent: usize, clock_behind: Duration) {
        self.record(Fault::Restart, agent);
        let seed = self.draw_seed();
        // Here all times are round, and two lives would start at the same microsecond.
        let unix = self.unix(false, clock_behind + Duration::from_micros(1));
        self.agents[agent].restart(seed, self.now, unix);
        let signatures = self.signatures.clone();
        let records = self.records.clone();
        self.agents[agent].mesh.share_signatures(signatures);
        self.agents[agent].mesh.share_records(records);
        self.command(agent, |mesh, now| mesh.join(now));
    }

    /// Cuts the direct connection of two agents; both notice after a while.
    pub fn cut(&mut self, a: usize, b: usize) {
        let cut: Vec<_> = (0..self.connections.len())
            .filter(|&c| self.connections[c].joins(a, b))
            .collect();
        for connection in cut {
            self.connections[connection].up = false;
        }
    }

    /// Makes the direct connection of two agents slower by so much each way.
    pub fn slow_down(&mut self, a: usize, b: usize, by: Duration) {
        for connection in &mut self.connections {
            if connection.joins(a, b) {
                connection.delay = by;
            }
        }
    }

    /// Starts the hub, as a new process without memory.
    pub fn start_hub(&mut self) {
        let seed = self.draw_seed();
        let config = HubConfig {
            shard_members: self.config.shard_members,
            ice_servers: Vec::from_iter(self.config.turn.then(turn_server)),
            ..HubConfig::default()
        };
        self.hub = Some(Hub::new(config, seed));
    }

    /// Ends the hub's process: every WebSocket closes.
    pub fn crash_hub(&mut self) {
        self.record(Fault::HubCrash, 0);
        self.hub = None;
        self.hub_life += 1;
        let sockets: Vec<_> = std::mem::take(&mut self.hub_sockets)
            .into_values()
            .collect();
        for (agent, socket) in sockets {
            self.agents[agent].sockets.remove(&socket);
            let reason = "connection reset".to_owned();
            self.input_later(agent, Input::SignalingClosed { socket, reason });
        }
    }

    /// Has the hub change texts before it passes them on.
    pub fn tamper_with_signals(&mut self, tamper: Option<fn(&mut String)>) {
        self.tamper = tamper;
    }

    /// Has the hub refuse signals as it does while their targets, or the hubs of those, have too
    /// much to take.
    #[cfg(test)]
    pub(crate) fn set_hub_busy(&mut self, busy: bool) {
        self.hub_is_busy = busy;
    }

    /// Has an agent leave the room, and ends its process.
    pub fn leave(&mut self, agent: usize) {
        // What it has sent last may be on a connection that is broken: nobody will send it again.
        self.died_with_forwarders += self.agents[agent].mesh.messages_held();
        let now = self.now;
        self.agents[agent].mesh.leave(now);
        self.drain(agent); // However late its driver was.
        self.agents[agent].alive = false;
        self.agents[agent].life += 1;
    }

    /// Stops an agent's process, as SIGSTOP does, or a machine that sleeps: nothing is lost, and
    /// nothing done.
    pub fn freeze(&mut self, agent: usize) {
        self.record(Fault::Freeze, agent);
        self.agents[agent].frozen = true;
        self.agents[agent].was_late = true;
    }

    /// Lets a process go on: all that has reached it meanwhile is there at once.
    pub fn thaw(&mut self, agent: usize) {
        self.record(Fault::Thaw, agent);
        self.agents[agent].frozen = false;
        for input in std::mem::take(&mut self.agents[agent].held) {
            let now = self.now;
            self.agents[agent].mesh.handle_input(input, now);
        }
        self.command(agent, |mesh, now| mesh.handle_timeout(now));
    }

    /// Gives an agent another address: its connections and its WebSocket carry nothing any more,
    /// and nothing says so.
    pub fn change_address(&mut self, agent: usize) {
        self.record(Fault::Address, agent);
        for client in std::mem::take(&mut self.agents[agent].sockets).into_values() {
            self.hub_sockets.remove(&client);
        }
        let others: Vec<_> = (0..self.agents.len())
            .filter(|&other| other != agent)
            .collect();
        others.into_iter().for_each(|other| self.cut(agent, other));
    }

    /// Takes the way to the hub from an agent: its WebSocket closes, and no other opens.
    pub fn cut_off_hub(&mut self, agent: usize) {
        self.record(Fault::NoHub, agent);
        self.agents[agent].no_hub = true;
        let sockets: Vec<_> = self.agents[agent].sockets.keys().copied().collect();
        for socket in sockets {
            self.close_socket(agent, socket);
            let reason = "no route to host".to_owned();
            self.input_later(agent, Input::SignalingClosed { socket, reason });
        }
    }

    /// Whether the hub lives.
    pub fn has_hub(&self) -> bool {
        self.hub.is_some()
    }

    /// Closes one end of the direct connection of two agents without telling the other.
    pub fn half_open(&mut self, a: usize, b: usize) {
        let now = self.now;
        let Some(link) = self.agents[a].mesh.link_to(self.agents[b].id()) else {
            return;
        };
        if let Some((connection, _)) = self.agents[a].links.remove(&link) {
            self.connections[connection].lose_end(a);
            let reason = "it broke here alone".to_owned();
            let input = Input::LinkClosed { link, reason };
            self.agents[a].mesh.handle_input(input, now);
            self.after_call(a);
        }
    }

    /// Holds up everything that travels directly from one agent to another, but not back.
    pub fn block(&mut self, from: usize, to: usize) {
        for connection in &mut self.connections {
            connection.block(from, to);
        }
    }

    /// No path leads from one agent to another any more: what travels is held up, and no connection
    /// opens.
    pub fn part(&mut self, a: usize, b: usize) {
        self.block(a, b);
        self.block(b, a);
        self.parted.insert(pair([a, b]));
    }

    /// No path leads from one agent to another any more, but one leads back: what travels so is
    /// held up, and no connection opens.
    pub fn part_one_way(&mut self, from: usize, to: usize) {
        self.block(from, to);
        self.parted.insert(pair([from, to]));
    }

    /// From now on no connection opens but those with this agent, as where everybody but one is
    /// behind a NAT; `None` lets all open again.
    pub fn connect_only_through(&mut self, agent: Option<usize>) {
        self.only_through = agent;
    }

    /// Lets everything travel again; what was held up arrives, as it would by retransmission.
    pub fn unblock_all(&mut self) {
        self.parted.clear();
        for connection in 0..self.connections.len() {
            if self.connections[connection].restart.is_some() {
                continue; // It has no path until that is done.
            }
            for (at, held) in self.connections[connection].unblock() {
                self.queue_at(at.max(self.now), held);
            }
            self.unstick(connection);
        }
    }

    /// The civil time, on a clock that is wrong by so much.
    pub(super) fn unix(&self, ahead: bool, by: Duration) -> UnixTime {
        let true_time = EPOCH + self.now.since(Instant::default());
        if ahead {
            return true_time + by;
        }
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        UnixTime::from_micros(true_time.as_micros().saturating_sub(by))
    }

    /// Sets an agent's civil clock ahead or behind.
    pub fn set_clock(&mut self, agent: usize, ahead: bool, by: Duration) {
        let unix = self.unix(ahead, by);
        self.command(agent, |mesh, now| mesh.set_unix_time(now, unix));
    }

    /// Has a neighbour send an agent what it likes. Does nothing if the two are not linked.
    pub fn send_raw(&mut self, from: usize, to: usize, channel: Channel, frame: Bytes) {
        let from: PeerId = self.agents[from].id();
        if let Some(link) = self.agents[to].mesh.link_to(from) {
            let input = Input::FrameReceived {
                link,
                channel,
                frame,
            };
            self.inject(to, input);
        }
    }

    /// A frame of random bytes.
    pub fn noise(&mut self) -> Bytes {
        let length = 1 + self.rng.next_u32() as usize % 200;
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes[0] = 1; // Past the version, where it gets interesting.
        bytes.into()
    }

    /// A frame that travelled lately between any two agents, if there was one.
    pub fn recording(&mut self) -> Option<(Channel, Bytes)> {
        let count = self.recordings.len();
        let choice = self.rng.next_u32() as usize;
        (count > 0).then(|| self.recordings[choice % count].clone())
    }

    /// A record by which a liar withdraws all links of another agent, or by which somebody who is
    /// not in the room claims to be linked with everybody.
    pub fn forged_link_state(&mut self, liar: usize, victim: usize) -> Bytes {
        let boast = self.rng.next_u32().is_multiple_of(2);
        let everybody = self.agents.iter().map(|agent| agent.id());
        let links = everybody.map(LinkEntry::unmeasured).collect();
        let state = LinkState {
            version: self.unix(true, Duration::ZERO).as_micros(),
            name: "liar".to_owned(),
            departed: !boast,
            lacks: 0,
            links: if boast { links } else { Vec::new() },
        };
        let record = Record::LinkState(if boast {
            let stranger = [self.rng.next_u32() as u8; 32];
            Identity::from_secret(stranger).sign("sim", &state)
        } else {
            let signed = self.agents[liar].identity().sign("sim", &state);
            signed.claimed_by(self.agents[victim].id())
        });
        let mut writer = FrameWriter::default();
        writer.push(&FrameWriter::encode(&record));
        writer.finish()
    }
}
