//! Proxies by the environment, and a proxy of the tests that says what it is told to.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The proxies of an environment with these variables.
fn told(variables: &[(&str, &str)]) -> Proxies {
    Proxies::read(|wanted| {
        let set = variables.iter().find(|(name, _)| *name == wanted);
        set.map(|(_, value)| (*value).to_owned())
    })
}

/// How a host is reached: the proxy's address with its variable, or nothing.
fn way(proxies: &Proxies, host: &str, port: u16) -> Option<String> {
    let proxy = proxies.to(host, port).expect("the setting is fine");
    proxy.map(ToString::to_string)
}

#[test]
fn the_first_variable_that_is_set_names_the_proxy() {
    for (variables, expected) in [
        (&[][..], None),
        (&[("HTTPS_PROXY", " ")][..], None),
        (&[("ALL_PROXY", "http://a:1")][..], Some("a:1 (ALL_PROXY)")),
        (
            &[("ALL_PROXY", "a:1"), ("HTTPS_PROXY", "b")][..],
            Some("b:80 (HTTPS_PROXY)"),
        ),
        (
            &[("https_proxy", "http://[::1]:8/"), ("HTTPS_PROXY", "b")][..],
            Some("[::1]:8 (https_proxy)"),
        ),
    ] {
        let way = way(&told(variables), "hub.example", 443);
        assert_eq!(way.as_deref(), expected, "{variables:?}");
    }
}

#[test]
fn this_machine_and_the_hosts_of_no_proxy_are_reached_without_one() {
    let exempt = "corp.example, .lab.example:8443,10.0.0.0/8,2001:db8::1,";
    let proxies = told(&[("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", exempt)]);
    for (host, port, direct) in [
        ("localhost", 443, true),
        ("127.0.0.1", 443, true),
        ("::1", 443, true),
        ("corp.example", 443, true),
        ("Hub.Corp.Example", 9600, true),
        ("notcorp.example", 443, false),
        ("hub.lab.example", 8443, true),
        ("hub.lab.example", 443, false),
        ("10.1.2.3", 443, true),
        ("11.1.2.3", 443, false),
        ("2001:db8::1", 443, true),
        ("hub.example", 443, false),
    ] {
        assert_eq!(way(&proxies, host, port).is_none(), direct, "{host}:{port}");
    }
    let none = told(&[("HTTPS_PROXY", "proxy:3128"), ("no_proxy", "*")]);
    assert_eq!(way(&none, "hub.example", 443), None);
}

#[test]
fn a_setting_that_cannot_work_is_named_and_shows_no_password() {
    for (value, cause) in [
        ("socks5://user:secret@proxy:1080", "only http:"),
        ("http://user:secret@", "no URL"),
        ("http://user:secret@proxy:99999", "no URL"),
    ] {
        let proxies = told(&[("ALL_PROXY", value)]);
        let error = proxies.to("hub.example", 443).expect_err(value);
        let text = error.to_string();
        assert!(text.contains(cause) && text.contains("ALL_PROXY"), "{text}");
        assert!(!text.contains("secret") && error.is_final(), "{text}");
        assert_eq!(way(&proxies, "localhost", 443), None);
    }
    let proxies = told(&[("ALL_PROXY", "http://user:secret@proxy:1")]);
    assert!(!format!("{proxies:?}").contains("secret"));
}

/// A proxy that reads one request, answers with these bytes, and returns the request.
async fn proxy(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        stream.write_all(answer.as_bytes()).await.expect("answered");
        String::from_utf8(request).expect("text")
    });
    (port, serving)
}

async fn through(url: &str, host: &str) -> Result<TcpStream, ConnectError> {
    connect(&told(&[("HTTPS_PROXY", url)]), host, 443, None).await
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_what_follows_its_answer_is_the_servers() {
    let (port, serving) = proxy("HTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello").await;
    let url = format!("http://us%65r:p%40ss@127.0.0.1:{port}");
    let mut stream = through(&url, "2001:db8::7").await.expect("connected");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("read");
    assert_eq!(rest, "hello");
    let request = serving.await.expect("it served");
    let expected = "CONNECT [2001:db8::7]:443 HTTP/1.1\r\nHost: [2001:db8::7]:443\r\n\
                    Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n";
    assert_eq!(request, expected);
}

#[tokio::test]
async fn what_a_proxy_refuses_is_named_with_the_remedy() {
    for (answer, user, words) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "",
            "wants a user",
        ),
        ("HTTP/1.0 401 No\r\n\r\n", "a:b@", "does not take the user"),
        (
            "HTTP/1.1 403 Filtered\r\n\r\n",
            "",
            "answers 403 Filtered; have it allow",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "",
            "to hub.example:443: it answers 502",
        ),
        (
            "SSH-2.0-OpenSSH_9\r\n",
            "",
            "is no HTTP proxy: it answers \"SSH-2.0",
        ),
        ("", "", "it answers nothing"),
    ] {
        let (port, _serving) = proxy(answer).await;
        let url = format!("http://{user}127.0.0.1:{port}");
        let error = through(&url, "hub.example").await.expect_err(answer);
        let text = error.to_string();
        assert!(
            text.contains(words) && text.contains("HTTPS_PROXY"),
            "{text}"
        );
        assert_eq!(error.is_final(), text.contains("user:password"), "{text}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_with_the_variable() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let port = listener
        .expect("a port")
        .local_addr()
        .expect("bound")
        .port();
    let url = format!("127.0.0.1:{port}");
    let error = through(&url, "hub.example")
        .await
        .expect_err("nobody listens");
    let text = error.to_string();
    assert!(
        text.contains("cannot be reached") && text.contains("NO_PROXY"),
        "{text}"
    );
    assert!(text.contains("HTTPS_PROXY"), "{text}");
}
