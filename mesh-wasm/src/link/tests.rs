//! Real peer connections between two links of one page.

use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{Either, select};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use super::*;

wasm_bindgen_test_configure!(run_in_browser);

const DEADLINE_MS: f64 = 10_000.0;

/// A link and its facts.
struct End {
    link: Link,
    facts: mpsc::UnboundedReceiver<LinkFact>,
}

impl End {
    fn open(offer: Option<String>) -> Self {
        let (tell, facts) = mpsc::unbounded();
        let teller = move |fact| {
            let _ = tell.unbounded_send(fact); // After the test nobody listens.
        };
        let opening = offer.map_or(Opening::Offer(Tracks::default()), Opening::Answer);
        let media = PeerMedia::of_no_agent();
        let link = Link::open(opening, &IceConfig::default(), (0, media), teller)
            .expect("the browser has WebRTC");
        Self { link, facts }
    }

    /// The next fact, but for ICE having found a path: before the answer is even sent, perhaps.
    async fn next(&mut self) -> LinkFact {
        loop {
            match next(&mut self.facts).await.expect("the sender lives") {
                LinkFact::Reached | LinkFact::Path(_) => {}
                fact => return fact,
            }
        }
    }

    /// The local description; candidates that come meanwhile are kept out of it.
    async fn described(&mut self) -> LinkSignal {
        match self.next().await {
            LinkFact::Signal(signal) => signal,
            other => panic!("a description, not {other:?}"),
        }
    }

    fn transmit(&self, channel: Channel, frame: &[u8]) {
        self.link.transmit(channel, frame).expect("open");
    }

    /// The next fact that is not a trickled candidate.
    async fn next_but_candidates(&mut self, other: &Self) -> LinkFact {
        loop {
            match self.next().await {
                LinkFact::Signal(signal) => other.link.apply(signal),
                fact => return fact,
            }
        }
    }
}

/// The next fact, soon; none if nobody can tell any more.
async fn next(facts: &mut mpsc::UnboundedReceiver<LinkFact>) -> Option<LinkFact> {
    let timeout = js_sys::Promise::new(&mut |resolve, _| {
        set_timeout(&resolve, DEADLINE_MS);
    });
    match select(facts.next(), JsFuture::from(timeout)).await {
        Either::Left((fact, _)) => fact,
        Either::Right(_) => panic!("nothing happened for {DEADLINE_MS} ms"),
    }
}

async fn pair() -> (End, End) {
    let mut a = End::open(None);
    let LinkSignal::Offer { sdp } = a.described().await else {
        panic!("an offer");
    };
    let mut b = End::open(Some(sdp));
    a.link.apply(b.described().await);
    assert!(matches!(a.next_but_candidates(&b).await, LinkFact::Opened));
    assert!(matches!(b.next_but_candidates(&a).await, LinkFact::Opened));
    (a, b)
}

#[wasm_bindgen_test]
async fn frames_travel_both_ways_on_every_channel_in_order() {
    let (mut a, mut b) = pair().await;
    for channel in Channel::ALL {
        for n in 0..50u8 {
            a.transmit(channel, &[n, 1]);
            b.transmit(channel, &[n, 2]);
        }
        for n in 0..50u8 {
            let at_a = a.next_but_candidates(&b).await;
            let at_b = b.next_but_candidates(&a).await;
            for (fact, from) in [(at_a, 2), (at_b, 1)] {
                let LinkFact::FrameReceived {
                    channel: got,
                    frame,
                } = fact
                else {
                    panic!("a frame");
                };
                assert_eq!((got, &frame[..]), (channel, &[n, from][..]));
            }
        }
    }
}

#[wasm_bindgen_test]
async fn the_other_end_notices_a_close_and_the_closed_end_is_quiet() {
    let (a, mut b) = pair().await;
    let End { link, mut facts } = a;
    b.transmit(Channel::Data, b"last words");
    while facts.try_recv().is_ok() {} // Told while the link was open: its path, candidates.
    drop(link);
    while !matches!(b.next().await, LinkFact::Closed(_)) {} // Candidates may come first.
    // Handlers are detached and tasks ended: the senders are gone, and nothing was told since.
    let told = next(&mut facts).await;
    assert!(told.is_none(), "{told:?}");
}

#[wasm_bindgen_test]
async fn nobody_waits_for_a_link_dropped_while_it_negotiates() {
    let mut a = End::open(None);
    let LinkSignal::Offer { sdp } = a.described().await else {
        panic!("an offer");
    };
    let mut b = End::open(Some(sdp));
    a.link.apply(b.described().await); // The browser's promise will not settle any more.
    for End { link, mut facts } in [a, b, End::open(None)] {
        drop(link);
        while let Some(fact) = next(&mut facts).await {
            assert!(!matches!(fact, LinkFact::Closed(_)), "{fact:?}");
        }
    }
}

#[wasm_bindgen_test]
async fn an_answer_with_another_fingerprint_never_opens() {
    let mut a = End::open(None);
    let LinkSignal::Offer { sdp } = a.described().await else {
        panic!("an offer");
    };
    let mut b = End::open(Some(sdp));
    let LinkSignal::Answer { sdp } = b.described().await else {
        panic!("an answer");
    };
    let at = sdp.find("a=fingerprint:sha-256 ").expect("a fingerprint") + 22;
    let swapped = if &sdp[at..at + 2] == "00" { "01" } else { "00" };
    let forged = format!("{}{swapped}{}", &sdp[..at], &sdp[at + 2..]);
    a.link.apply(LinkSignal::Answer { sdp: forged });
    let fact = a.next_but_candidates(&b).await;
    assert!(matches!(fact, LinkFact::Closed(_)), "{fact:?}");
}

#[wasm_bindgen_test]
async fn rubbish_instead_of_an_offer_closes_the_link() {
    let mut end = End::open(Some("v=rubbish".into()));
    assert!(matches!(end.next().await, LinkFact::Closed(_)));
}

#[wasm_bindgen_test]
async fn a_flooded_link_is_congested_and_drains() {
    let (mut a, mut b) = pair().await;
    let frame = vec![7; 16 * 1024];
    let frames = 64; // 1 MiB: far over the high watermark
    for _ in 0..frames {
        a.transmit(Channel::Data, &frame);
    }
    let fact = a.next_but_candidates(&b).await;
    assert!(matches!(fact, LinkFact::Congested), "{fact:?}");
    for _ in 0..frames {
        let fact = b.next_but_candidates(&a).await;
        assert!(matches!(fact, LinkFact::FrameReceived { .. }), "{fact:?}");
    }
    let fact = a.next_but_candidates(&b).await;
    assert!(matches!(fact, LinkFact::Drained), "{fact:?}");
}

/// The frame, as a data channel hands it over.
fn buffer(bytes: usize) -> JsValue {
    Uint8Array::new_with_length(u32::try_from(bytes).expect("small"))
        .buffer()
        .into()
}

#[wasm_bindgen_test]
fn a_frame_of_another_realm_is_one_and_a_text_is_none() {
    let open = Channels {
        missing: Cell::new(0),
        held: RefCell::default(),
        held_bytes: Cell::default(),
    };
    let facts = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&facts);
    let tell: Tell = Rc::new(move |fact| told.borrow_mut().push(fact));
    let of_a_frame = "document.body.append(document.createElement('iframe')); \
                      new window[0].Uint8Array([1, 2]).buffer";
    let buffer = js_sys::eval(of_a_frame).expect("a page with a frame");
    assert!(!buffer.is_instance_of::<js_sys::ArrayBuffer>());
    open.received(Channel::Data, &buffer, &tell);
    open.received(Channel::Data, &"text".into(), &tell);
    let frames = [&[1, 2][..], &[]].map(|bytes| LinkFact::FrameReceived {
        channel: Channel::Data,
        frame: Bytes::from_static(bytes),
    });
    assert_eq!(facts.take(), frames);
}

#[wasm_bindgen_test]
fn frames_that_come_before_all_channels_are_open_wait_up_to_a_bound() {
    let opening = || Channels {
        missing: Cell::new(2),
        held: RefCell::default(),
        held_bytes: Cell::default(),
    };
    let facts = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&facts);
    let tell: Tell = Rc::new(move |fact| told.borrow_mut().push(fact));
    let frame = 16 * 1024;

    let keen = opening();
    keen.opened(&tell);
    for _ in 0..HELD_BYTES_MAX / frame {
        keen.received(Channel::Control, &buffer(frame), &tell);
    }
    assert_eq!(facts.take(), []);
    keen.opened(&tell);
    let told = facts.take();
    assert_eq!((told.len(), &told[0]), (65, &LinkFact::Opened));

    for (bytes, frames) in [(frame, 64), (0, 1_024)] {
        let hostile = opening();
        for _ in 0..frames {
            hostile.received(Channel::Control, &buffer(bytes), &tell);
        }
        assert_eq!(facts.take(), []);
        (0..3).for_each(|_| hostile.received(Channel::Data, &buffer(bytes), &tell));
        assert!(!(0..2).any(|_| hostile.opened(&tell)));
        assert_eq!(facts.take(), [LinkFact::Closed(LinkEnd::TooEarly)]);
        assert!(hostile.held.borrow().is_empty(), "nothing is kept");
    }
}
