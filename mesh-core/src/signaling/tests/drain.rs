//! A hub that is about to stop.

use super::*;

#[test]
fn members_are_asked_to_move_and_whoever_comes_is_turned_away() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    clients.admit(2, &identity(2), "b");
    clients.connect(3);
    clients.connect(4);
    clients.say(4, &hello(identity(4).peer(), "a", Shards::WHOLE));
    clients.hub.drain(Duration::from_secs(4), clients.now);
    let told = clients.drain();
    let asked = HubMessage::Move { within_ms: 4_000 };
    assert_eq!(&told[..2], [(1, asked.clone()), (2, asked)]);
    for (client, sent) in [(3, &told[2..3]), (4, &told[3..])] {
        assert_eq!(sent[0].0, client);
        assert_eq!(error_code(sent), Some(ErrorCode::Draining), "{client}");
    }
    let late = clients.connect(5);
    assert_eq!(error_code(&late), Some(ErrorCode::Draining));
    let stats = clients.hub.stats();
    assert_eq!((stats.clients, stats.members), (2, 2));
}

#[test]
fn who_moves_has_not_left_for_those_who_are_yet_to_move() {
    let mut clients = Clients::new(HubConfig::default());
    for n in 1..=3 {
        clients.admit(n, &identity(n as u8), "a");
    }
    clients.wait(Duration::from_secs(1));
    clients.hub.drain(Duration::from_secs(4), clients.now);
    clients.drain();
    let closed = HubInput::ClientClosed(ClientId(2));
    clients.hub.handle_input(closed, clients.now);
    assert_eq!(clients.wait(Duration::from_secs(2)), []);
    let stats = clients.hub.stats();
    assert_eq!((stats.clients, stats.members), (2, 2));
    let message = ClientMessage::Signal {
        to: identity(2).peer(),
        message: prove(&identity(1), "a", "any statement"),
    };
    let told = clients.say(1, &message);
    assert_eq!(error_code(&told), Some(ErrorCode::UnknownPeer));
    clients.say(3, &ClientMessage::Leave);
    let told = clients.wait(Duration::from_secs(1));
    let [(1, HubMessage::Members { left, .. })] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(left[..], [identity(3).peer()], "it said goodbye");
}

#[test]
fn members_are_served_until_they_leave() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    clients.hub.drain(Duration::from_secs(4), clients.now);
    clients.drain();
    let answer = clients.say(1, &ClientMessage::Ping);
    assert_eq!(answer, [(1, pong())]);
    clients.say(1, &ClientMessage::Leave);
    assert_eq!(clients.hub.stats().clients, 0);
}
