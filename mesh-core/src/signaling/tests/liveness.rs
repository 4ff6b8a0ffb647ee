//! Clients that are silent, slow or too fast.

use super::*;

#[test]
fn the_silent_and_the_slow_are_turned_away() {
    let mut clients = Clients::new(HubConfig::default());
    clients.connect(1);
    let late = clients.wait(Duration::from_secs(12));
    assert_eq!(error_code(&late), Some(ErrorCode::AdmissionTimeout));
    clients.admit(2, &identity(2), "a");
    clients.wait(Duration::from_secs(40));
    clients.say(2, &ClientMessage::Ping);
    assert_eq!(error_code(&clients.wait(Duration::from_secs(40))), None);
    let silent = clients.wait(Duration::from_secs(10));
    assert_eq!(error_code(&silent), Some(ErrorCode::Silent));
}

/// Which clients are pinged until then, by the second.
fn pinged(clients: &mut Clients, until: u64) -> Vec<(u64, u64)> {
    let mut pinged = Vec::new();
    while let Some(at) = clients.hub.poll_timeout() {
        let second = (at.as_micros()) / 1_000_000;
        if second > until {
            break;
        }
        clients.now = at;
        clients.hub.handle_timeout(at);
        while let Some(output) = clients.hub.poll_output() {
            if let HubOutput::Ping(ClientId(client)) = output {
                pinged.push((client, second));
            }
        }
    }
    pinged
}

#[test]
fn a_silent_member_is_pinged_and_its_answer_is_a_sign_of_life() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    clients.admit(2, &identity(2), "a");
    clients.connect(3);
    assert_eq!(pinged(&mut clients, 17), []);
    clients.say(2, &ClientMessage::Ping);
    assert_eq!(pinged(&mut clients, 30), [(1, 18), (1, 27)]);
    let answered = HubInput::ClientAnswered(ClientId(1));
    clients.hub.handle_input(answered, clients.now);
    assert_eq!(pinged(&mut clients, 47), [(2, 35), (2, 44)]);
    assert_eq!(clients.hub.stats().members, 2);
    let silent = clients.wait(Duration::from_secs(16));
    assert_eq!(error_code(&silent), Some(ErrorCode::Silent), "client 2");
    assert_eq!(clients.hub.stats().members, 1);
}

#[test]
fn answers_to_pings_are_limited_as_texts_are() {
    let mut clients = Clients::new(HubConfig {
        burst: 5,
        ..HubConfig::default()
    });
    clients.admit(1, &identity(1), "a");
    for _ in 0..4 {
        let answered = HubInput::ClientAnswered(ClientId(1));
        clients.hub.handle_input(answered, clients.now);
    }
    assert_eq!(error_code(&clients.drain()), Some(ErrorCode::RateLimited));
}

#[test]
fn the_sender_of_a_dropped_signal_is_told_and_both_stay() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    clients.admit(2, &identity(2), "a");
    let (from, to) = (clients.hub.session(ClientId(1)), ClientId(2));
    let dropped = HubInput::SignalDropped { from, to };
    clients.hub.handle_input(dropped.clone(), clients.now);
    let told = clients.drain();
    assert!(
        matches!(&told[..], [(1, HubMessage::Error { code: ErrorCode::Busy, peer, .. })]
            if *peer == Some(identity(2).peer())),
        "{told:?}"
    );
    assert_eq!(clients.hub.stats().clients, 2);
    clients.say(2, &ClientMessage::Leave);
    clients.hub.handle_input(dropped, clients.now);
    assert_eq!(clients.drain(), [], "there is nobody to wait for");
}
