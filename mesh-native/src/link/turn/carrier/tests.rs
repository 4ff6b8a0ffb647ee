//! Streams of one socket, with a server of the tests at the other end.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A STUN message without attributes; its transaction is told by one byte.
fn message(kind: u16, transaction: u8) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    bytes.extend([transaction; 12]);
    bytes
}

/// A socket's streams, the address of the stand-in, and the server.
async fn bench() -> (SocketStreams, SocketAddr, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let streams = Streams::new(Arc::default());
    let url = format!("turn:127.0.0.1:{port}?transport=tcp");
    streams.tell_stack(&url).expect("it can be used");
    let [stand_in, _] = super::super::stand_ins(0);
    let streams = SocketStreams::new(streams, Ipv4Addr::LOCALHOST.into());
    (streams, stand_in, listener)
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    let accepted = timeout(DEADLINE, listener.accept()).await;
    accepted.expect("it connects").expect("accepted").0
}

async fn read_exactly(stream: &mut TcpStream, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    let done = timeout(DEADLINE, stream.read_exact(&mut read)).await;
    done.expect("in time").expect("read");
    assert_eq!(read, expected);
}

async fn received(streams: &SocketStreams) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_000];
    let next = std::future::poll_fn(|context| streams.poll(context, &mut buffer));
    let (len, from) = timeout(DEADLINE, next).await.expect("a datagram");
    (buffer[..len].to_vec(), from)
}

#[tokio::test]
async fn datagrams_travel_on_one_stream_and_come_back_from_the_stand_in() {
    let (streams, stand_in, listener) = bench().await;
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 3478));
    assert!(
        !streams.send(elsewhere, &message(3, 1)),
        "that is for the socket"
    );
    let (request, answer) = (message(3, 1), message(0x0103, 1));
    for datagram in [&request, &request, &message(3, 2)] {
        assert!(streams.send(stand_in, datagram));
    }
    let mut server = accepted(&listener).await;
    let expected = [request, message(3, 2)].concat();
    read_exactly(&mut server, &expected).await;
    server.write_all(&answer).await.expect("written");
    server
        .write_all(b"\x40\x00\x00\x01a\x00\x00\x00")
        .await
        .expect("written");
    assert_eq!(received(&streams).await, (answer, stand_in));
    assert_eq!(
        received(&streams).await,
        (b"\x40\x00\x00\x01a".to_vec(), stand_in)
    );
    drop(streams);
    let end = timeout(DEADLINE, server.read_u8()).await.expect("in time");
    assert!(end.is_err(), "the stream ends with the socket");
}

#[tokio::test]
async fn a_stream_that_broke_is_opened_again_when_there_is_something_to_send() {
    let (streams, stand_in, listener) = bench().await;
    for transaction in 1..=2 {
        let request = message(3, transaction);
        let connected = async {
            // What is sent before the pause is over is lost, and sent again by the stack.
            loop {
                assert!(streams.send(stand_in, &request));
                if let Ok(accepted) = timeout(RECONNECT_MIN / 4, listener.accept()).await {
                    break accepted.expect("accepted").0;
                }
            }
        };
        let mut server = timeout(DEADLINE, connected).await.expect("it connects");
        read_exactly(&mut server, &request).await;
    }
}

#[tokio::test]
async fn a_server_that_takes_nothing_costs_no_more_than_the_queue() {
    let (streams, stand_in, listener) = bench().await;
    let mut data = vec![0x40, 0, 0x03, 0xfc];
    data.resize(1_024, 7);
    // Nothing is accepted or read before all of it was given: most of it finds the queue full.
    for _ in 0..4 * QUEUE_BYTES_MAX / data.len() {
        assert!(streams.send(stand_in, &data));
    }
    let queued = {
        let carriers = streams.carriers.lock().expect("not poisoned");
        carriers[&stand_in].queued.load(Ordering::Relaxed)
    };
    assert_eq!(queued, QUEUE_BYTES_MAX);
    let mut server = accepted(&listener).await;
    read_exactly(&mut server, &data).await;
}

#[tokio::test]
async fn what_is_no_turn_server_is_found_out_by_its_answer() {
    let (mut ours, theirs) = tokio::io::duplex(1_024);
    ours.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .expect("written");
    let (mut receiving, _received) = slim::channel(1);
    let [stand_in, _] = super::super::stand_ins(0);
    let trouble = timeout(DEADLINE, read(theirs, stand_in, &mut receiving)).await;
    assert_eq!(trouble.as_deref(), Ok("what answers is no TURN server"));
}
