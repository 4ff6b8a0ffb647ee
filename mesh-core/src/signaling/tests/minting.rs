//! Credentials of TURN servers, made for each member and renewed.

use super::*;
use crate::ice::IceServer;
use crate::signaling::minting::tests::mint;
use crate::time::UnixTime;

const TTL: Duration = Duration::from_secs(60);
const START_S: u64 = 1_795_848_123;

/// A hub whose credentials hold for a minute, beside a server that asks for none.
fn clients() -> Clients {
    let mut turn = mint();
    turn.ttl = TTL;
    let mut clients = Clients::new(HubConfig {
        ice_servers: vec![stun()],
        turn: Some(turn),
        ..HubConfig::default()
    });
    tick(&mut clients);
    clients
}

fn stun() -> IceServer {
    IceServer {
        urls: vec!["stun:stun.example.org".to_owned()],
        ..IceServer::default()
    }
}

/// Tells the hub the civil time, as its driver does in each turn.
fn tick(clients: &mut Clients) {
    let unix = UnixTime::from_micros(START_S * 1_000_000 + clients.now.as_micros());
    clients.hub.set_unix_time(clients.now, unix);
}

/// Lets time pass, in which the client pings, and returns what the last pong brought.
fn ping_after(clients: &mut Clients, wait: Duration) -> Option<Vec<IceServer>> {
    clients.wait(wait);
    tick(clients);
    let sent = clients.say(1, &ClientMessage::Ping);
    let [(1, HubMessage::Pong { ice_servers, .. })] = &sent[..] else {
        panic!("a pong, not {sent:?}");
    };
    ice_servers.clone()
}

fn welcomed(sent: &[(u64, HubMessage)]) -> &[IceServer] {
    let servers = sent.iter().find_map(|(_, message)| match message {
        HubMessage::Welcome { ice_servers, .. } => Some(&ice_servers[..]),
        _ => None,
    });
    servers.expect("a welcome")
}

/// Until when the credentials of the last server hold, and whose they are.
fn user(servers: &[IceServer]) -> (u64, String) {
    let username = servers.last().and_then(|server| server.username.as_deref());
    let (until, label) = username
        .and_then(|name| name.split_once(':'))
        .expect("a name");
    (until.parse().expect("seconds"), label.to_owned())
}

#[test]
fn each_member_gets_credentials_of_its_own_and_new_ones_when_half_of_the_time_is_over() {
    let mut clients = clients();
    let first = clients.admit(1, &identity(1), "room");
    let first = welcomed(&first).to_vec();
    assert_eq!(first[0], stun());
    let (until, label) = user(&first);
    assert_eq!(until, START_S + 60);
    let second = clients.admit(2, &identity(2), "room");
    let (_, other) = user(welcomed(&second));
    assert_ne!(label, other);

    let seconds = Duration::from_secs;
    assert_eq!(ping_after(&mut clients, seconds(29)), None);
    let renewed = ping_after(&mut clients, seconds(1)).expect("half of the time is over");
    assert_eq!(renewed[0], stun(), "all servers are told again");
    assert_eq!(user(&renewed), (START_S + 30 + 60, label));
    assert_ne!(renewed[1].credential, first[1].credential);
    assert_eq!(
        ping_after(&mut clients, seconds(15)),
        None,
        "not at each ping"
    );
    assert!(ping_after(&mut clients, seconds(15)).is_some());
}

#[test]
fn a_hub_that_does_not_know_the_time_makes_no_credentials() {
    let turn = Some(mint());
    let mut clients = Clients::new(HubConfig {
        turn,
        ..HubConfig::default()
    });
    let sent = clients.admit(1, &identity(1), "room");
    assert_eq!(welcomed(&sent), []);
}

#[test]
fn a_mint_that_cannot_work_is_refused_by_its_option() {
    let mut turn = mint();
    turn.urls.clear();
    turn.ttl = Duration::from_secs(1);
    turn.secret = TurnSecret::new("north".to_owned());
    let config = HubConfig {
        turn: Some(turn),
        ..HubConfig::default()
    };
    let told: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
    for (at, option) in ["turn_ttl: 1s", "turn_url", "turn_secret_file"]
        .iter()
        .enumerate()
    {
        assert!(told[at].starts_with(option), "{told:?}");
    }
    assert!(!format!("{told:?}").contains("north"));
}
