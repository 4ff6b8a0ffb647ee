//! What a connection says of itself to its other end, in the first round and in further ones.

use std::cell::{Cell, RefCell};

use mesh_core::agent::{LinkEnd, LinkFact};
use mesh_core::{LinkSignal, Tracks, lean};
use wasm_bindgen::prelude::{Closure, JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    RtcIceCandidateInit, RtcIceGatheringState, RtcOfferOptions, RtcPeerConnection,
    RtcPeerConnectionState, RtcSdpType,
};

use super::tracks::ConnectionTracks;
use super::{Tell, add_early, description};
use crate::clock::set_timeout;
use crate::error::describe;

/// How long candidates gather before the description is sent with those found; later ones trickle.
pub(super) const GATHERING_MS: f64 = 100.0;

/// What is described.
pub(crate) enum Opening {
    /// A connection, to its other end: with sections for so many tracks of that.
    Offer(Tracks),
    /// One that looks for another path.
    Restart,
    /// The answer to this offer.
    Answer(String),
}

/// Makes our description, waits a moment for candidates, tells it, and lets later ones trickle.
pub(super) async fn describe_locally(
    connection: &RtcPeerConnection,
    opening: Opening,
    early: &RefCell<Option<Vec<RtcIceCandidateInit>>>,
    described: &Cell<bool>,
    tell: &Tell,
    tracks: &ConnectionTracks,
) -> Result<(), LinkEnd> {
    let ours = |thrown: JsValue| LinkEnd::NotDescribed(describe(&thrown));
    let theirs = |thrown: JsValue| LinkEnd::BadDescription(describe(&thrown));
    let answering = matches!(opening, Opening::Answer(_));
    let created = match opening {
        Opening::Offer(theirs) => {
            tracks.offer(theirs).await.map_err(ours)?;
            JsFuture::from(connection.create_offer())
                .await
                .map_err(ours)?
        }
        Opening::Restart => {
            let options = RtcOfferOptions::new();
            options.set_ice_restart(true);
            tracks.offer(Tracks::default()).await.map_err(ours)?;
            let created = connection.create_offer_with_rtc_offer_options(&options);
            JsFuture::from(created).await.map_err(ours)?
        }
        Opening::Answer(sdp) => {
            let remote = description(RtcSdpType::Offer, &sdp);
            let set = JsFuture::from(connection.set_remote_description(&remote));
            set.await.map_err(theirs)?;
            add_early(connection, early);
            tracks.answer(&sdp).await.map_err(ours)?;
            tracks.agreed(&sdp);
            JsFuture::from(connection.create_answer())
                .await
                .map_err(ours)?
        }
    };
    let set = JsFuture::from(connection.set_local_description(created.unchecked_ref()));
    set.await.map_err(ours)?;
    gathered(connection).await.map_err(ours)?;
    let Some(local) = connection.local_description() else {
        return Ok(()); // Closed meanwhile.
    };
    let sdp = lean(&local.sdp());
    tell(LinkFact::Signal(if answering {
        LinkSignal::Answer { sdp }
    } else {
        LinkSignal::Offer { sdp }
    }));
    described.set(true);
    match has_failed(connection) {
        true => Err(LinkEnd::NoPath),
        false => Ok(()),
    }
}

pub(super) fn has_failed(connection: &RtcPeerConnection) -> bool {
    connection.connection_state() == RtcPeerConnectionState::Failed
}

/// Completes when candidates have been gathered, or after a moment.
async fn gathered(connection: &RtcPeerConnection) -> Result<(), JsValue> {
    if connection.ice_gathering_state() == RtcIceGatheringState::Complete {
        return Ok(());
    }
    let done = js_sys::Promise::new(&mut |resolve, _reject| {
        set_timeout(&resolve, GATHERING_MS);
        let gathering = connection.clone();
        let on_change = Closure::<dyn FnMut()>::new(move || {
            if gathering.ice_gathering_state() == RtcIceGatheringState::Complete {
                let _ = resolve.call0(&JsValue::NULL); // Resolving twice does no harm.
            }
        });
        // The browser's garbage collector frees it with the connection.
        let on_change = on_change.into_js_value();
        connection.set_onicegatheringstatechange(Some(on_change.unchecked_ref()));
    });
    JsFuture::from(done).await?;
    connection.set_onicegatheringstatechange(None);
    Ok(())
}
