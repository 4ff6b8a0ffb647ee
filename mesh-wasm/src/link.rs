//! One link: the browser's peer connection with the mesh's three data channels.
//!
//! Owns its event handlers and detaches them when dropped, so that nothing of a closed link runs or
//! stays in memory. What happens to it comes back as [`LinkFact`]s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use js_sys::{Reflect, Uint8Array};
use mesh_core::agent::{Allowance, LinkEnd, LinkFact, MEASURED_BYTES};
use mesh_core::{Channel, IceConfig, LinkSignal, Tracks};
use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    MessageEvent, RtcDataChannel, RtcDataChannelInit, RtcDataChannelState, RtcDataChannelType,
    RtcIceCandidate, RtcIceCandidateInit, RtcIceConnectionState, RtcPeerConnection,
    RtcPeerConnectionIceEvent, RtcSdpType, RtcSessionDescriptionInit,
};

use crate::clock::set_timeout;
use crate::error::describe;
use crate::media::PeerMedia;
use configuration::configuration;
pub(crate) use describe::Opening;
use describe::{GATHERING_MS, describe_locally, has_failed};
use tasks::Tasks;
use tracks::ConnectionTracks;

mod configuration;
mod describe;
mod path;
mod tasks;
#[cfg(test)]
mod tests;
mod tracks;

/// `bufferedAmount` tells of those bytes alone that wait.
const ALLOWANCE: Allowance = Allowance::UNCOUNTED;

/// Bytes that may come before all channels of a link are open, 64 of the largest frames: the
/// channels open within a round trip, and no honest peer has as much to say until then.
const HELD_BYTES_MAX: usize = 1 << 20;

/// What one of these frames counts for at least, in bytes, so that empty ones are bounded too.
const HELD_BYTES_MIN: usize = 1_024;

type Tell = Rc<dyn Fn(LinkFact)>;

/// One link to one peer. Dropping it closes it.
pub(crate) struct Link {
    connection: RtcPeerConnection,
    tell: Tell,
    channels: [RtcDataChannel; 3],
    congested: Rc<Cell<bool>>,
    /// Bytes sent since it was measured how much waits.
    unmeasured: Cell<usize>,
    /// Candidates that came before the remote description is set; browsers refuse them until then.
    early: Rc<RefCell<Option<Vec<RtcIceCandidateInit>>>>,
    /// The description was told: candidates found later follow one by one.
    described: Rc<Cell<bool>>,
    handlers: Vec<Closure<dyn FnMut(JsValue)>>,
    tasks: Tasks,
    tracks: ConnectionTracks,
}

/// What the channels of one link share until all are open.
struct Channels {
    missing: Cell<usize>,
    held: RefCell<Vec<(Channel, Bytes)>>,
    held_bytes: Cell<usize>,
}

impl Link {
    /// Starts a link.
    ///
    /// # Errors
    /// The cause, where the browser refuses a peer connection: it allows some hundreds a page.
    pub(crate) fn open(
        opening: Opening,
        ice: &IceConfig,
        (link, media): (u64, Rc<PeerMedia>),
        tell: impl Fn(LinkFact) + 'static,
    ) -> Result<Self, LinkEnd> {
        let connection = RtcPeerConnection::new_with_configuration(&configuration(ice))
            .map_err(|thrown| LinkEnd::NotMade(describe(&thrown)))?;
        let channels = Channel::ALL.map(|channel| create_channel(&connection, channel));
        let tracks = ConnectionTracks::new(link, media, connection.clone());
        let mut link = Self {
            connection,
            tell: Rc::new(tell),
            channels,
            congested: Rc::default(),
            unmeasured: Cell::default(),
            early: Rc::new(RefCell::new(Some(Vec::new()))),
            described: Rc::default(),
            handlers: Vec::new(),
            tasks: Tasks::default(),
            tracks,
        };
        link.listen_to_connection();
        link.listen_to_channels();
        link.describe(opening);
        Ok(link)
    }

    /// Gathers candidates with this from its next round on.
    pub(crate) fn configure(&self, ice: &IceConfig) {
        // A closed connection, or servers that the core has not checked: it goes on with those that
        // it has.
        let _ = self
            .connection
            .set_configuration_with_configuration(&configuration(ice));
    }

    /// Restarts ICE and offers: the path is away, perhaps with the address that it began at.
    pub(crate) fn restart(&self) {
        self.describe(Opening::Restart);
    }

    /// Offers a further round, for the tracks that there are and so many of the peer's.
    pub(crate) fn negotiate(&self, tracks: Tracks) {
        self.describe(Opening::Offer(tracks));
    }

    /// Makes an offer or an answer, and tells it.
    fn describe(&self, opening: Opening) {
        self.described.set(false);
        let (connection, early) = (self.connection.clone(), Rc::clone(&self.early));
        let (described, tell) = (Rc::clone(&self.described), Rc::clone(&self.tell));
        let tracks = self.tracks.clone();
        self.tasks.spawn(async move {
            if let Err(end) =
                describe_locally(&connection, opening, &early, &described, &tell, &tracks).await
            {
                tell(LinkFact::Closed(end));
            }
        });
    }

    /// Hands the peer's answer or candidate to the connection, or its offer of a restart.
    pub(crate) fn apply(&self, signal: LinkSignal) {
        match signal {
            LinkSignal::Offer { sdp } => self.describe(Opening::Answer(sdp)),
            LinkSignal::Answer { sdp } => {
                let answer = description(RtcSdpType::Answer, &sdp);
                let set = self.connection.set_remote_description(&answer);
                let (connection, early) = (self.connection.clone(), Rc::clone(&self.early));
                let (tell, tracks) = (Rc::clone(&self.tell), self.tracks.clone());
                self.tasks.spawn(async move {
                    if let Err(thrown) = JsFuture::from(set).await {
                        let end = LinkEnd::BadDescription(describe(&thrown));
                        tell(LinkFact::Closed(end));
                        return;
                    }
                    add_early(&connection, &early);
                    tracks.agreed(&sdp);
                });
            }
            LinkSignal::Candidate {
                candidate,
                mid,
                line,
            } => {
                let init = RtcIceCandidateInit::new(&candidate);
                init.set_sdp_mid(mid.as_deref());
                init.set_sdp_m_line_index(line);
                match &mut *self.early.borrow_mut() {
                    Some(early) => early.push(init), // The core bounds them.
                    None => add_candidate(&self.connection, &init),
                }
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Why the link has ended, if the browser does not take it.
    pub(crate) fn transmit(&self, channel: Channel, frame: &[u8]) -> Result<(), LinkEnd> {
        let channel = &self.channels[usize::from(channel.id())];
        if let Err(thrown) = channel.send_with_u8_array(frame) {
            return Err(match channel.ready_state() {
                RtcDataChannelState::Closing | RtcDataChannelState::Closed => LinkEnd::ByPeer,
                _ => LinkEnd::NotSent(describe(&thrown)),
            });
        }
        self.unmeasured.update(|bytes| bytes + frame.len());
        if self.unmeasured.get() >= MEASURED_BYTES {
            self.unmeasured.set(0);
            let is_congested = buffered(&self.channels) >= ALLOWANCE.congested_at();
            if is_congested && !self.congested.replace(true) {
                (self.tell)(LinkFact::Congested);
            }
        }
        Ok(())
    }

    fn handler(&mut self, handle: impl FnMut(JsValue) + 'static) -> js_sys::Function {
        let closure = Closure::<dyn FnMut(JsValue)>::new(handle);
        let function = closure.as_ref().unchecked_ref::<js_sys::Function>().clone();
        self.handlers.push(closure);
        function
    }

    /// Failure, and candidates: those found before the description is sent are inside it.
    fn listen_to_connection(&mut self) {
        let (described, told) = (Rc::clone(&self.described), Rc::clone(&self.tell));
        let on_candidate = self.handler(move |event| {
            let candidate = event
                .unchecked_into::<RtcPeerConnectionIceEvent>()
                .candidate();
            if let Some(candidate) = candidate.filter(|_| described.get()) {
                told(LinkFact::Signal(signal_of(&candidate)));
            }
        });
        self.connection.set_onicecandidate(Some(&on_candidate));
        let (connection, told) = (self.connection.clone(), Rc::clone(&self.tell));
        let described = Rc::clone(&self.described);
        let on_state = self.handler(move |_| {
            // At the start of a round, where the round before found no path, Chrome says so too for
            // a moment: it is looked at again when the round is described.
            if described.get() && has_failed(&connection) {
                told(LinkFact::Closed(LinkEnd::NoPath));
            }
        });
        self.connection.set_onconnectionstatechange(Some(&on_state));
        let (connection, told) = (self.connection.clone(), Rc::clone(&self.tell));
        let tasks = self.tasks.clone();
        let on_ice_state = self.handler(move |_| {
            if connection.ice_connection_state() == RtcIceConnectionState::Connected {
                told(LinkFact::Reached);
                tell_path(&connection, &told, &tasks);
            }
        });
        self.connection
            .set_oniceconnectionstatechange(Some(&on_ice_state));
    }

    fn listen_to_channels(&mut self) {
        let opening = Rc::new(Channels {
            missing: Cell::new(Channel::ALL.len()),
            held: RefCell::default(),
            held_bytes: Cell::default(),
        });
        for channel in Channel::ALL {
            let data_channel = self.channels[usize::from(channel.id())].clone();
            let (state, told) = (Rc::clone(&opening), Rc::clone(&self.tell));
            let (connection, tasks) = (self.connection.clone(), self.tasks.clone());
            let on_open = self.handler(move |_| {
                if state.opened(&told) {
                    tell_path(&connection, &told, &tasks); // ICE may have found a better one since.
                }
            });
            data_channel.set_onopen(Some(&on_open));

            let (state, told) = (Rc::clone(&opening), Rc::clone(&self.tell));
            let on_message = self.handler(move |event| {
                let data = event.unchecked_into::<MessageEvent>().data();
                state.received(channel, &data, &told);
            });
            data_channel.set_onmessage(Some(&on_message));

            let told = Rc::clone(&self.tell);
            let on_close = self.handler(move |_| told(LinkFact::Closed(LinkEnd::ByPeer)));
            data_channel.set_onclose(Some(&on_close));

            let (congested, told) = (Rc::clone(&self.congested), Rc::clone(&self.tell));
            let channels = self.channels.clone();
            let on_low = self.handler(move |_| {
                let has_drained = buffered(&channels) <= ALLOWANCE.drained_at();
                if has_drained && congested.replace(false) {
                    told(LinkFact::Drained);
                }
            });
            data_channel.set_buffered_amount_low_threshold(ALLOWANCE.low_water_of(channel));
            data_channel.set_onbufferedamountlow(Some(&on_low));
        }
    }
}

impl Channels {
    /// One more is open. Returns whether all are.
    fn opened(&self, tell: &Tell) -> bool {
        if self.is_full() {
            return false; // It has ended.
        }
        self.missing.set(self.missing.get().saturating_sub(1));
        let all = self.missing.get() == 0;
        if all {
            tell(LinkFact::Opened);
            for (channel, frame) in self.held.take() {
                tell(LinkFact::FrameReceived { channel, frame });
            }
        }
        all
    }

    fn received(&self, channel: Channel, data: &JsValue, tell: &Tell) {
        // A text is no frame: the core rejects the empty frame for it. All else is an ArrayBuffer,
        // of another realm than the module at times, as in sandboxes of Firefox.
        let frame = match data.is_object() {
            true => Bytes::from(Uint8Array::new(data).to_vec()),
            false => Bytes::new(),
        };
        if self.missing.get() == 0 {
            tell(LinkFact::FrameReceived { channel, frame });
            return;
        }
        if self.is_full() {
            return;
        }
        let bytes = frame.len().max(HELD_BYTES_MIN);
        self.held_bytes.update(|held| held.saturating_add(bytes));
        if self.is_full() {
            self.held.take();
            tell(LinkFact::Closed(LinkEnd::TooEarly));
        } else {
            self.held.borrow_mut().push((channel, frame));
        }
    }

    /// Whether more has come than may before the link is open.
    fn is_full(&self) -> bool {
        self.held_bytes.get() > HELD_BYTES_MAX
    }
}

/// Tells the way that a connection takes, as soon as the browser knows it.
fn tell_path(connection: &RtcPeerConnection, tell: &Tell, tasks: &Tasks) {
    let (connection, tell) = (connection.clone(), Rc::clone(tell));
    tasks.spawn(async move {
        if let Some(path) = path::path(&connection).await {
            tell(LinkFact::Path(path));
        }
    });
}

/// Bytes that wait in all channels.
fn buffered(channels: &[RtcDataChannel; 3]) -> usize {
    let waiting = channels
        .iter()
        .map(|channel| channel.buffered_amount() as usize);
    waiting.sum()
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.abort();
        self.tracks.end();
        self.connection.set_onconnectionstatechange(None);
        self.connection.set_oniceconnectionstatechange(None);
        self.connection.set_onicecandidate(None);
        self.connection.set_onicegatheringstatechange(None);
        for channel in &self.channels {
            channel.set_onopen(None);
            channel.set_onmessage(None);
            channel.set_onclose(None);
            channel.set_onbufferedamountlow(None);
        }
        close_gently(self.connection.clone(), self.channels.clone());
    }
}

/// Closes a connection when what was sent has left, or after a moment: a goodbye may be among it.
/// A page that is being hidden has no such moment, and with an open connection the browser would
/// not keep it for the Back button.
fn close_gently(connection: RtcPeerConnection, channels: [RtcDataChannel; 3]) {
    let waiting = |channel: &RtcDataChannel| {
        channel.ready_state() == RtcDataChannelState::Open && channel.buffered_amount() > 0
    };
    if page_is_hiding() || !channels.iter().any(waiting) {
        connection.close();
        return;
    }
    let close = Closure::once_into_js(move || connection.close());
    set_timeout(close.unchecked_ref(), GATHERING_MS);
}

/// Whether this is called, however indirectly, by a listener to `pagehide`.
fn page_is_hiding() -> bool {
    let of = |object: &JsValue, key: &str| Reflect::get(object, &key.into());
    let event = of(&js_sys::global(), "event");
    let kind = event.and_then(|event| of(&event, "type")); // Fails where there is no event.
    kind.is_ok_and(|kind| kind.as_string().as_deref() == Some("pagehide"))
}

fn create_channel(connection: &RtcPeerConnection, channel: Channel) -> RtcDataChannel {
    let init = RtcDataChannelInit::new();
    init.set_negotiated(true);
    init.set_id(channel.id());
    if channel == Channel::Stream {
        init.set_ordered(false);
        init.set_max_retransmits(0);
    }
    let created = connection.create_data_channel_with_data_channel_dict(channel.label(), &init);
    created.set_binary_type(RtcDataChannelType::Arraybuffer);
    created
}

fn description(kind: RtcSdpType, sdp: &str) -> RtcSessionDescriptionInit {
    let init = RtcSessionDescriptionInit::new(kind);
    init.set_sdp(sdp);
    init
}

/// Adds the candidates that waited for the remote description; later ones need not wait.
fn add_early(connection: &RtcPeerConnection, early: &RefCell<Option<Vec<RtcIceCandidateInit>>>) {
    for candidate in early.take().unwrap_or_default() {
        add_candidate(connection, &candidate);
    }
}

fn add_candidate(connection: &RtcPeerConnection, candidate: &RtcIceCandidateInit) {
    let added = connection.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(candidate));
    spawn_local(async move {
        let _ = JsFuture::from(added).await; // A candidate of no use is as none.
    });
}

fn signal_of(candidate: &RtcIceCandidate) -> LinkSignal {
    LinkSignal::Candidate {
        candidate: candidate.candidate(),
        mid: candidate.sdp_mid(),
        line: candidate.sdp_m_line_index(),
    }
}
