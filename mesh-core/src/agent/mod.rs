//! One agent as both bindings run it: a [`Mesh`], and around it all that a driver would otherwise
//! have to know.
//!
//! Readers of events, replies that are awaited, callers that wait for room, which WebSockets are
//! still heard, the outcome of a join, and the end of all of it are here, once. A driver keeps
//! sockets, timers, locks and promises only: it tells [`LinkFact`]s and [`SocketFact`]s, carries
//! out what [`AgentState::poll_output`] returns, and polls for the callers that wait.

mod address;
mod admission;
mod events;
mod facts;
mod flow;
mod options;
mod replies;
#[cfg(test)]
mod tests;
mod tracks;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};
use std::time::Duration;

pub use self::address::{AddressError, HubAddress};
pub use self::admission::{AdmissionError, AdmissionStep, Finding};
pub use self::events::{EVENT_BYTES_MAX, EVENTS_MAX, EventQueue, Reader};
pub use self::facts::{LinkEnd, LinkFact, SocketEnd, SocketFact};
pub use self::flow::{Allowance, MEASURED_BYTES};
pub use self::options::{AgentOptions, JOIN_TIMEOUT};
pub use self::replies::TransferStep;
pub use self::tracks::{PeerTracks, TrackEnds};
pub use self::waiting::{Line, Ticket};

use self::admission::Admission;
use self::replies::Replies;
use self::waiting::Callers;
use crate::error::{MeshError, SendError};
use crate::id::{LinkId, MessageId, PeerId, SocketId};
use crate::io::{Event, Input, Output};
use crate::link_report::LinkReport;
use crate::mesh::Mesh;
use crate::payload::{Payload, SendOptions};
use crate::samples::Sample;
use crate::signaling::HubMessage;
use crate::time::{Instant, UnixTime};

/// Characters of an address, or of a text from elsewhere, that an error repeats: host and beginning
/// of the path, enough to recognise either.
const QUOTED_CHARS: usize = 80;

/// An agent, and all that its binding's handles wait for.
#[derive(Debug)]
pub struct AgentState<R> {
    mesh: Mesh,
    stage: Stage,
    /// Orders that go before the mesh's.
    orders: VecDeque<Output>,
    /// The WebSockets that the mesh has ordered and that have not closed.
    sockets: BTreeMap<SocketId, Socket>,
    readers: Vec<R>,
    callers: Callers,
    replies: Replies,
    admission: Admission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// It leaves, or has left of its own accord: what the mesh has ordered is still carried out.
    Leaving,
    Ended,
}

/// A WebSocket to a signaling server.
#[derive(Debug)]
struct Socket {
    /// Which of the agent's addresses it leads to.
    hub: usize,
    /// Whether a text of it was one of a hub's.
    is_hub: bool,
}

impl<R: Reader> AgentState<R> {
    /// An agent that is about to join. The addresses of its signaling servers stand in the order
    /// of its configuration.
    pub fn new(mesh: Mesh, hubs: &[String]) -> Self {
        Self {
            mesh,
            stage: Stage::Open,
            orders: VecDeque::new(),
            sockets: BTreeMap::new(),
            readers: Vec::new(),
            callers: Callers::default(),
            replies: Replies::default(),
            admission: Admission::new(hubs),
        }
    }

    /// The mesh, to be asked.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Begins to join the room.
    pub fn join(&mut self, now: Instant) {
        self.mesh.join(now);
    }

    /// Leaves the mesh, for good. Leaving twice does no harm.
    pub fn leave(&mut self, now: Instant) {
        if self.is_open() {
            self.mesh.leave(now);
            self.stage = Stage::Leaving;
        }
    }

    /// Ends what handles wait for: the driver has stopped, and nothing comes any more.
    pub fn end(&mut self) {
        self.stage = Stage::Ended;
        self.callers.wake_all();
        self.replies.end();
        self.admission.end();
        for reader in self.readers.drain(..) {
            reader.with(EventQueue::end);
        }
    }

    /// Whether handles may call the mesh.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the agent has ended: the driver has stopped.
    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Has events told to one more reader from now on; none come of an agent that has left.
    pub fn subscribe(&mut self, reader: R) {
        if self.is_open() {
            self.readers.push(reader);
        } else {
            reader.with(EventQueue::end);
        }
    }

    /// Calls the mesh for a handle.
    ///
    /// # Errors
    /// [`MeshError::Closed`] once the agent has left.
    pub fn call<T>(&mut self, call: impl FnOnce(&mut Mesh) -> T) -> Result<T, MeshError> {
        match self.is_open() {
            true => Ok(call(&mut self.mesh)),
            false => Err(MeshError::Closed),
        }
    }

    /// Calls the mesh for a handle that waits while there is no room, or while others wait that
    /// came before it for the same: `Pending` registers the caller's waker, to call again.
    pub fn poll_call<T>(
        &mut self,
        ticket: &mut Ticket,
        context: &Context<'_>,
        call: impl FnOnce(&mut Mesh) -> Result<T, SendError>,
    ) -> Poll<Result<T, MeshError>> {
        if self.is_open() && !self.callers.is_next(ticket) {
            self.callers.wait(ticket, context);
            return Poll::Pending;
        }
        match self.call(call) {
            Ok(Err(error)) if error.is_passing() => {
                self.callers.wait(ticket, context);
                Poll::Pending
            }
            Ok(result) => {
                self.callers.leave(ticket);
                Poll::Ready(result.map_err(MeshError::Send))
            }
            Err(closed) => Poll::Ready(Err(closed)),
        }
    }

    /// As [`AgentState::poll_call`], for a request: its reply is kept for
    /// [`AgentState::poll_reply`], until that has told it or [`AgentState::forget_reply`] is
    /// called.
    pub fn poll_request(
        &mut self,
        ticket: &mut Ticket,
        context: &Context<'_>,
        (to, payload): (PeerId, &Payload),
        deadline: Option<Duration>,
        now: Instant,
    ) -> Poll<Result<MessageId, MeshError>> {
        let sent = self.poll_call(ticket, context, |mesh| {
            mesh.request(to, payload.clone(), deadline, now)
        });
        if let Poll::Ready(Ok(id)) = sent {
            self.replies.expect(id);
        }
        sent
    }

    /// As [`AgentState::poll_call`], for a message. Of a large one, which the result says it is,
    /// what becomes of it is kept for [`AgentState::poll_transfer`], until that has told it or
    /// [`AgentState::forget_reply`] is called.
    pub fn poll_send(
        &mut self,
        ticket: &mut Ticket,
        context: &Context<'_>,
        (to, payload): (PeerId, &Payload),
        options: SendOptions,
        now: Instant,
    ) -> Poll<Result<(MessageId, bool), MeshError>> {
        let is_large = payload.is_large();
        let sent = self.poll_call(ticket, context, |mesh| {
            mesh.send(to, payload.clone(), options, now)
        });
        if let Poll::Ready(Ok(id)) = sent
            && is_large
        {
            self.replies.expect(id);
        }
        sent.map_ok(|id| (id, is_large))
    }

    /// What has become of a large message, or how far it has come; `Pending` registers the caller's
    /// waker.
    pub fn poll_transfer(&mut self, id: MessageId, context: &Context<'_>) -> Poll<TransferStep> {
        self.replies.poll_transfer(id, context)
    }

    /// A large message is given up, if it is still under way.
    pub fn cancel(&mut self, id: MessageId, now: Instant) {
        self.replies.forget(id);
        let _ = self.call(|mesh| mesh.cancel(&id, now)); // A closed agent sends nothing.
    }

    /// A caller waits for room no longer.
    pub fn give_up(&mut self, ticket: &Ticket) {
        self.callers.leave(ticket);
    }

    /// What became of a request: how far a large one has come, and at last its reply. `Pending`
    /// registers the caller's waker.
    pub fn poll_reply(
        &mut self,
        request: MessageId,
        context: &Context<'_>,
    ) -> Poll<TransferStep<Payload>> {
        self.replies.poll_request(request, context)
    }

    /// As [`AgentState::poll_call`], for a question to a member about its link to another: see
    /// [`Mesh::explain_link`]. The answer is kept for [`AgentState::poll_report`], until that has
    /// told it or [`AgentState::forget_reply`] is called.
    pub fn poll_explain(
        &mut self,
        ticket: &mut Ticket,
        context: &Context<'_>,
        (of, about): (PeerId, PeerId),
        deadline: Option<Duration>,
        now: Instant,
    ) -> Poll<Result<MessageId, MeshError>> {
        let asked = self.poll_call(ticket, context, |mesh| {
            mesh.explain_link(of, about, deadline, now)
        });
        if let Poll::Ready(Ok(id)) = asked {
            self.replies.expect(id);
        }
        asked
    }

    /// How the member sees its link; `Pending` registers the caller's waker.
    pub fn poll_report(
        &mut self,
        question: MessageId,
        context: &Context<'_>,
    ) -> Poll<Result<LinkReport, MeshError>> {
        self.replies.poll_report(question, context)
    }

    /// The reply to a request is awaited no longer.
    pub fn forget_reply(&mut self, request: MessageId) {
        self.replies.forget(request);
    }

    /// What a join waits for; `Pending` registers the caller's waker. There is one caller.
    pub fn poll_admission(&mut self, context: &Context<'_>) -> Poll<AdmissionStep> {
        self.admission.poll(context)
    }

    /// What the driver has found at an address, as [`AdmissionStep::Look`] asks.
    pub fn found(&mut self, hub: usize, finding: Finding) {
        self.admission.found(hub, finding);
    }

    /// The time that a join may take is over: it fails as soon as each address has been tried.
    pub fn join_is_late(&mut self) {
        self.admission.is_late();
    }

    /// Something happened to a link.
    pub fn link_fact(&mut self, link: LinkId, fact: LinkFact, now: Instant) {
        if let LinkFact::Closed(_) = fact {
            // The driver drops what it holds of it.
            self.orders.push_back(Output::CloseLink { link });
        }
        self.mesh.handle_input(fact.into_input(link), now);
    }

    /// Something happened to a WebSocket. Of one that was given up nothing is heard.
    pub fn socket_fact(&mut self, socket: SocketId, fact: SocketFact, now: Instant) {
        let Some(known) = self.sockets.get_mut(&socket) else {
            return;
        };
        let fact = match fact {
            SocketFact::Opened => {
                self.admission.opened(known.hub);
                SocketFact::Opened
            }
            // Anything may be served over a WebSocket.
            SocketFact::Received(text) if !known.is_hub => {
                known.is_hub = serde_json::from_str::<HubMessage>(&text).is_ok();
                match known.is_hub {
                    true => SocketFact::Received(text),
                    false => SocketFact::Closed(self.admission.speaks_otherwise(known.hub, &text)),
                }
            }
            fact => fact,
        };
        if let SocketFact::Closed(_) = fact {
            self.sockets.remove(&socket);
            self.orders.push_back(Output::CloseSignaling { socket });
        }
        self.mesh.handle_input(fact.into_input(socket), now);
    }

    /// The addresses of this machine have changed, or the browser is online again.
    pub fn network_changed(&mut self, now: Instant) {
        self.mesh.handle_input(Input::NetworkChanged, now);
    }

    /// The system's clock: see [`Mesh::set_unix_time`].
    pub fn set_unix_time(&mut self, now: Instant, unix_now: UnixTime) {
        self.mesh.set_unix_time(now, unix_now);
    }

    /// When [`AgentState::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.mesh.poll_timeout().map(|(at, _)| at)
    }

    /// Does what is due by now, if anything is.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.mesh.handle_timeout(now);
        }
    }

    /// Whether the driver should carry orders out before it tells more facts.
    pub fn wants_drain(&self) -> bool {
        self.mesh.wants_drain()
    }

    /// The next order, until there is none. What [`Output::Emit`] and [`Output::Writable`] stand
    /// for is done: events are told to their readers, callers woken. A driver may log them.
    pub fn poll_output(&mut self) -> Option<Output> {
        let own = self.orders.pop_front();
        let output = own.or_else(|| self.mesh.poll_output())?;
        match &output {
            &Output::OpenSignaling { socket, hub } => {
                let is_hub = false;
                self.sockets.insert(socket, Socket { hub, is_hub });
                self.admission.dialled(hub);
            }
            Output::CloseSignaling { socket } => {
                self.sockets.remove(socket);
            }
            Output::Writable => self.callers.wake(),
            Output::Emit(event) => self.tell(event),
            Output::ConfigureLink { .. }
            | Output::RestartLink { .. }
            | Output::NegotiateTracks { .. }
            | Output::SendSignaling { .. }
            | Output::OpenLink { .. }
            | Output::ApplySignal { .. }
            | Output::Transmit { .. }
            | Output::CloseLink { .. } => {}
        }
        Some(output)
    }

    /// The next measured piece of work: see [`Mesh::poll_sample`].
    pub fn poll_sample(&mut self) -> Option<Sample> {
        self.mesh.poll_sample()
    }

    /// Tells an event to all readers that want it: the mesh's, and what the driver alone knows of
    /// tracks.
    pub fn tell(&mut self, event: &Event) {
        self.replies.settle(event);
        self.admission.hear(event);
        self.readers.retain(|reader| {
            let told = reader.with(|queue| {
                queue.push(event);
                !queue.is_ended()
            });
            told.unwrap_or(false)
        });
        // The mesh may leave of its own accord: when another agent has taken its identity.
        if matches!(event, Event::Left) && self.is_open() {
            self.stage = Stage::Leaving;
        }
    }
}
