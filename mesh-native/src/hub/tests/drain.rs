//! A server that is told to stop while it has clients.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// A server that can be told to stop, and told again.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    force: Option<oneshot::Sender<()>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(time: Duration) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = HubServer::bind(any, HubConfig::default()).expect("a port");
        let address = server.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let (force, forced) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let forced = async { drop(forced.await) };
        Self {
            address,
            stop: Some(stop),
            force: Some(force),
            serving: tokio::spawn(server.serve_and_drain(stopped, time, forced)),
        }
    }

    /// SIGTERM.
    fn stop(&mut self) {
        drop(self.stop.take());
    }

    async fn ended(self) {
        let ended = timeout(DEADLINE, self.serving).await;
        ended.expect("it ends").expect("no panic").expect("well");
    }
}

async fn is_ready(server: SocketAddr) -> bool {
    get(server, "/readyz").await.status == 200
}

#[tokio::test]
async fn readiness_goes_first_then_clients_are_asked_to_move_and_no_others_are_let_in() {
    let mut server = Server::start(DEADLINE / 10);
    let address = server.address;
    until("it is ready", async || is_ready(address).await).await;
    let mut member = Client::join(address, "a").await;
    server.stop();
    until("it is not ready", async || !is_ready(address).await).await;
    // Whoever a load balancer still sends is let in, and asked to move with the others.
    let mut late = Client::join(address, "a").await;
    for client in [&mut member, &mut late] {
        let asked = client.hear("move").await;
        assert_eq!(asked["withinMs"], 1_500, "{asked}");
    }
    let refused = get(address, "/signal").await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("about to stop"), "{refused:?}");
    assert_eq!(get(address, "/healthz").await.status, 200, "it lives");
    assert_eq!(
        get(address, "/readyz").await.text(),
        r#"{"status":"draining"}"#
    );
    member.say(&json!({ "type": "ping" })).await;
    member.hear("pong").await;
    drop(late);
    let left = Instant::now();
    drop(member);
    server.ended().await;
    assert!(
        left.elapsed() < Duration::from_secs(1),
        "it waits for nobody"
    );
}

#[tokio::test]
async fn whoever_does_not_move_is_cut_off_when_the_time_is_over() {
    let mut server = Server::start(Duration::from_secs(2));
    let mut member = Client::join(server.address, "a").await;
    let since = Instant::now();
    server.stop();
    server.ended().await;
    assert!(since.elapsed() >= Duration::from_secs(2));
    member.hear("move").await;
    let rest = async {
        while let Some(Ok(message)) = member.socket.next().await {
            assert!(message.is_close(), "{message:?}");
        }
    };
    timeout(DEADLINE, rest).await.expect("it is closed");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_so_does_nobody_to_wait_for() {
    let mut server = Server::start(DEADLINE * 10);
    let address = server.address;
    let _member = Client::join(address, "a").await;
    server.stop();
    until("it is not ready", async || !is_ready(address).await).await;
    drop(server.force.take());
    server.ended().await;

    let mut server = Server::start(DEADLINE * 10);
    server.stop();
    server.ended().await;
}
