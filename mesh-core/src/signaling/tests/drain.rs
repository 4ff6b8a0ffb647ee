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
fn members_are_served_until_they_leave() {
    let mut clients = Clients::new(HubConfig::default());
    clients.admit(1, &identity(1), "a");
    clients.hub.drain(Duration::from_secs(4), clients.now);
    clients.drain();
    let pong = clients.say(1, &ClientMessage::Ping);
    assert_eq!(pong, [(1, HubMessage::Pong { time_ms: None })]);
    clients.say(1, &ClientMessage::Leave);
    assert_eq!(clients.hub.stats().clients, 0);
}
