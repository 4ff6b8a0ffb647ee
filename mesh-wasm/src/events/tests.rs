//! The async iterator, with events as the driver tells them.

use js_sys::{Function, JSON};
use mesh_core::{Delivery, EVENTS_MAX, MessageId, PeerId, Target};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use super::*;

wasm_bindgen_test_configure!(run_in_browser);

fn lost(reason: &str) -> Event {
    Event::SignalingLost {
        hub: 0,
        reason: reason.to_owned(),
        retry_in_ms: 1,
    }
}

fn message(payload: Payload) -> Event {
    let from = PeerId::from_bytes([7; 32]);
    Event::Message(Received {
        id: MessageId {
            author: from,
            incarnation: 1,
            target: Target::Room,
            sequence: 1,
        },
        from,
        name: "n".into(),
        topic: None,
        payload,
        delivery: Delivery::Reliable,
        wants_reply: false,
        hops: 1,
        latency_ms: 0.5,
    })
}

/// Has an event told. Returns whether the reader reads on.
fn tell(subscriber: &Subscriber, event: &Event) -> bool {
    let told = subscriber.with(|queue| {
        queue.push(event);
        !queue.is_ended()
    });
    told.unwrap_or(false)
}

/// The result of an iterator's promise, as JSON.
async fn settled(promise: Promise) -> String {
    let result = JsFuture::from(promise).await.expect("it never rejects");
    String::from(JSON::stringify(&result).expect("JSON"))
}

#[wasm_bindgen_test]
async fn pending_calls_of_next_are_served_in_order() {
    let (stream, subscriber) = EventStream::new(Media::default());
    let waiting: Vec<_> = (0..3).map(|_| stream.next()).collect();
    for reason in ["a", "b", "c", "d"] {
        assert!(tell(&subscriber, &lost(reason)));
    }
    for (promise, reason) in waiting.into_iter().zip(["a", "b", "c"]) {
        assert!(
            settled(promise)
                .await
                .contains(&format!(r#""reason":"{reason}""#))
        );
    }
    assert!(settled(stream.next()).await.contains(r#""reason":"d""#));
}

#[wasm_bindgen_test]
async fn return_ends_those_who_wait() {
    let (stream, subscriber) = EventStream::new(Media::default());
    let (first, second) = (stream.next(), stream.next());
    assert_eq!(settled(stream.end()).await, r#"{"done":true}"#);
    assert_eq!(settled(first).await, r#"{"done":true}"#);
    assert_eq!(settled(second).await, r#"{"done":true}"#);
    assert!(!tell(&subscriber, &lost("late")), "nobody reads it");
    assert_eq!(settled(stream.next()).await, r#"{"done":true}"#);
}

#[wasm_bindgen_test]
async fn calls_of_next_that_wait_are_bounded() {
    let (stream, subscriber) = EventStream::new(Media::default());
    let waiting: Vec<_> = (0..WAITING_MAX).map(|_| stream.next()).collect();
    let refused = JsFuture::from(stream.next())
        .await
        .expect_err("one too many");
    let code = Reflect::get(&refused, &"code".into()).expect("an error");
    assert_eq!(code.as_string().as_deref(), Some("too-many-pending"));
    for n in 0..WAITING_MAX {
        tell(&subscriber, &lost(&n.to_string()));
    }
    for (n, promise) in waiting.into_iter().enumerate() {
        assert!(
            settled(promise)
                .await
                .contains(&format!(r#""reason":"{n}""#))
        );
    }
}

#[wasm_bindgen_test]
async fn the_end_comes_after_what_was_told_before() {
    let (stream, subscriber) = EventStream::new(Media::default());
    tell(&subscriber, &Event::Left);
    subscriber.with(EventQueue::end);
    assert!(settled(stream.next()).await.contains(r#""type":"left""#));
    assert_eq!(settled(stream.next()).await, r#"{"done":true}"#);

    let (stream, subscriber) = EventStream::new(Media::default());
    let waiting = stream.next();
    subscriber.with(EventQueue::end);
    assert_eq!(settled(waiting).await, r#"{"done":true}"#);
}

#[wasm_bindgen_test]
async fn for_await_reads_the_stream() {
    let (stream, subscriber) = EventStream::new(Media::default());
    let read = Function::new_with_args(
        "stream",
        "return (async () => {
            const types = [];
            for await (const event of stream) types.push(event.type);
            return types.join();
        })();",
    );
    let types = read
        .call1(&JsValue::NULL, &stream.into_iterable())
        .expect("a promise");
    tell(&subscriber, &lost("a"));
    tell(&subscriber, &Event::SignalingRestored { hub: 0 });
    subscriber.with(EventQueue::end);
    let types = JsFuture::from(Promise::from(types)).await.expect("it ends");
    assert_eq!(
        types.as_string().as_deref(),
        Some("signalingLost,signalingRestored")
    );
}

#[wasm_bindgen_test]
async fn an_event_that_cannot_be_shown_is_told_of_and_ends_nothing() {
    let (stream, subscriber) = EventStream::new(Media::default());
    let ts = r#"{"ts":1795835072076000000}"#;
    tell(&subscriber, &message(Payload::Json("{bad".into())));
    tell(&subscriber, &message(Payload::Json(ts.into())));
    tell(&subscriber, &Event::Lagged { missed: u64::MAX });
    tell(&subscriber, &lost("after"));
    let warning = settled(stream.next()).await;
    assert!(
        warning.contains(r#""type":"warning","code":"event""#),
        "{warning}"
    );
    assert!(warning.contains("the message 0707"), "{warning}");
    let shown = settled(stream.next()).await;
    assert!(
        shown.contains(r#""payload":{"ts":1795835072076000000}"#),
        "{shown}"
    );
    let warning = settled(stream.next()).await;
    assert!(warning.contains(r#""type":"warning""#), "{warning}");
    assert!(settled(stream.next()).await.contains(r#""reason":"after""#));
}

#[wasm_bindgen_test]
async fn a_reader_that_is_too_slow_is_told_how_many_it_missed() {
    let (stream, subscriber) = EventStream::new(Media::default());
    for n in 0..EVENTS_MAX + 3 {
        tell(&subscriber, &lost(&n.to_string()));
    }
    for n in 0..EVENTS_MAX {
        let reason = format!(r#""reason":"{n}""#);
        assert!(settled(stream.next()).await.contains(&reason));
    }
    let lagged = settled(stream.next()).await;
    assert!(lagged.contains(r#""type":"lagged","missed":3"#), "{lagged}");
    tell(&subscriber, &lost("again"));
    assert!(settled(stream.next()).await.contains(r#""reason":"again""#));
}
