//! The library's HTTP transport over real sockets: servers that redirect, never end, drip, hang up or say nothing.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    client::{
        exchange::{Done, Misbehaviour, NoReply},
        transport::Transport,
    },
    protocol::{At, RelayUrl, Request},
};

use crate::{
    cli::seen,
    evil::{evil, evil_stream, read_request, reply},
    harness::{KEY, Person, block_on},
    notes::link,
};

/// Long enough for whatever is to succeed.
const PATIENCE: Duration = Duration::from_secs(30);

fn send() -> Request {
    Request::Send { key: KEY.parse().unwrap(), ext: None, data: b"hello".to_vec() }
}

const SEND: &str = r#"{"pub":"A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw","ext":null,"action":"send","data":"aGVsbG8"}"#;

/// What comes of posting `hi` to this server.
fn posted(url: &str, patience: Duration) -> Result<(u16, String), NoReply> {
    let url: RelayUrl = url.parse().unwrap();
    let (status, body) = block_on(async { Transport::new().post(&url, b"hi".to_vec(), patience).await })?;
    Ok((status, String::from_utf8(body).unwrap()))
}

/// What is said of a send to this server.
fn said(url: &str) -> String {
    let relay: RelayUrl = url.parse().unwrap();
    let said = block_on(async { Transport::new().ask::<Done>(&relay, &send()).await });
    said.unwrap_err().to_string().replace(url, "URL")
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn what_a_request_says() {
    let (listener, url) = listener();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let mut length = 0;
        while !head[..length].ends_with(b"hi") {
            length += stream.read(&mut head[length..]).unwrap();
        }
        stream.write_all(&reply("202 Accepted", "seen")).unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    assert_eq!(posted(&format!("{url}/some/relay"), PATIENCE), Ok((202, "seen".into())));
    assert_eq!(
        server.join().unwrap(),
        format!(
            "POST /some/relay HTTP/1.1\r\ncontent-type: text/plain\r\nuser-agent: connectoid\r\nhost: {}\r\n\
             content-length: 2\r\n\r\nhi",
            &url["http://".len()..]
        )
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let (target, elsewhere) = listener();
    for status in [301, 302, 303, 307, 308] {
        let to = elsewhere.clone();
        let url = evil(move |_| {
            format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}/\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")
                .into_bytes()
        });
        assert_eq!(
            said(&url),
            format!(
                "URL misbehaves: it redirects (status {status}), and redirects are not followed: is this the URL of a relay?"
            )
        );
    }
    target.set_nonblocking(true).unwrap();
    assert_eq!(target.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came there");
}

#[test]
fn a_reply_without_an_end_is_not_read_to_its_end() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\n",
        "HTTP/1.1 500 Oops\r\n\r\n",
    ] {
        let (done, sent) = mpsc::channel();
        let url = evil_stream(move |_, stream| {
            stream.write_all(head.as_bytes()).unwrap();
            let mut sent = 0;
            while stream.write_all(&[b' '; 65_536]).is_ok() {
                sent += 65_536;
            }
            done.send(sent).unwrap();
        });
        let large = NoReply::Misbehaves(Misbehaviour::TooLarge);
        assert_eq!(posted(&url, PATIENCE), Err(large), "{head:?}");
        let sent = sent.recv_timeout(PATIENCE).expect("the connection is still open");
        // A mebibyte was read; the rest is in the buffers of two sockets.
        assert!((1 << 20..32 << 20).contains(&sent), "{sent} bytes after {head:?}");
    }
}

#[test]
fn exactly_a_mebibyte_is_read() {
    let body = "x".repeat(1_048_576);
    let url = evil({
        let body = body.clone();
        move |_| reply("200 OK", &body)
    });
    assert_eq!(posted(&url, PATIENCE), Ok((200, body)));
    let url = evil(|_| reply("200 OK", &"x".repeat(1_048_577)));
    assert_eq!(posted(&url, PATIENCE), Err(NoReply::Misbehaves(Misbehaviour::TooLarge)));
}

#[test]
fn a_relay_that_drips_has_the_whole_time_and_no_more() {
    for head in ["HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"] {
        let (done, ended) = mpsc::channel();
        let url = evil_stream(move |_, stream| {
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                thread::sleep(Duration::from_millis(10));
                sent = stream.write_all(b" ");
            }
            done.send(()).unwrap();
        });
        let started = Instant::now();
        let late = NoReply::Unreachable("no whole reply within 0.3 s".into());
        assert_eq!(posted(&url, Duration::from_millis(300)), Err(late), "{head:?}");
        assert!(started.elapsed() >= Duration::from_millis(300));
        ended.recv_timeout(PATIENCE).expect("the connection is still open");
    }
}

#[test]
fn a_wait_is_waited_for() {
    // Nothing is accepted here; the system connects by itself. The clock goes on whenever all wait.
    let (_silent, url) = listener();
    let relay: RelayUrl = url.parse().unwrap();
    for (wait, seconds) in [(0, 10), (25, 35)] {
        let key = KEY.parse().unwrap();
        let check = Request::Check { key, ext: None, at: At::START, ask: false, relay: None, wait };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let started = tokio::time::Instant::now();
            let said = Transport::new().ask::<Done>(&relay, &check).await.unwrap_err().to_string();
            assert_eq!(said, format!("{url} cannot be reached: no whole reply within {seconds} s"));
            assert_eq!(started.elapsed().as_secs(), seconds);
        });
    }
}

#[test]
fn a_connection_is_used_again_and_replaced() {
    let (listener, url) = listener();
    let (hang_up, to_hang_up) = mpsc::channel();
    let (hung_up, has_hung_up) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut bodies = Vec::new();
        for requests in [2, 1] {
            let (mut stream, _) = listener.accept().unwrap();
            for _ in 0..requests {
                bodies.push(read_request(&stream).unwrap());
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}").unwrap();
            }
            to_hang_up.recv().unwrap();
            drop(stream);
            hung_up.send(()).unwrap();
        }
        bodies
    });
    let (relay, transport) = (url.parse().unwrap(), Transport::new());
    block_on(async {
        for _ in 0..2 {
            assert_eq!(transport.clone().ask(&relay, &send()).await, Ok(Done { ok: true }));
        }
        hang_up.send(()).unwrap();
        has_hung_up.recv().unwrap();
        let again: Done = transport.ask_patiently(&relay, &send()).await.unwrap();
        assert!(again.ok);
    });
    hang_up.send(()).unwrap();
    assert_eq!(server.join().unwrap(), [SEND; 3]);
}

#[test]
fn a_request_that_is_dropped_closes_its_connection() {
    let dropped = |url: &str, asked: mpsc::Receiver<()>, left: mpsc::Receiver<usize>| {
        let relay: RelayUrl = url.parse().unwrap();
        block_on(async {
            let transport = Transport::new();
            let clone = transport.clone();
            let asking = tokio::spawn(async move { clone.ask::<Done>(&relay, &send()).await });
            asked.recv_timeout(PATIENCE).unwrap();
            asking.abort();
            assert!(asking.await.unwrap_err().is_cancelled());
            assert_eq!(left.recv_timeout(PATIENCE), Ok(0), "the end of the client's side");
            drop(transport);
        });
    };
    let (asking, asked) = mpsc::channel();
    let (leaving, left) = mpsc::channel();
    let url = evil_stream(move |body, stream| {
        assert_eq!(body, SEND);
        asking.send(()).unwrap();
        leaving.send(stream.read(&mut [0]).unwrap()).unwrap();
    });
    dropped(&url, asked, left);

    // One that has not even begun: the server is silent after the ClientHello.
    let (listener, url) = listener();
    let (asking, asked) = mpsc::channel();
    let (leaving, left) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        stream.read_exact(&mut vec![0; usize::from(head[3]) * 256 + usize::from(head[4])]).unwrap();
        asking.send(()).unwrap();
        leaving.send(stream.read(&mut [0]).unwrap()).unwrap();
    });
    dropped(&url.replace("http:", "https:"), asked, left);
}

#[test]
fn a_busy_relay_is_asked_again_with_the_same_bytes() {
    for (error, retry_after, times) in [("Busy", 0, 3), ("Busy", 6, 1), ("Too often", 0, 1)] {
        let (asked, bodies) = mpsc::channel();
        let url = evil(move |body| {
            asked.send(body.to_owned()).unwrap();
            let refusal = format!(r#"{{"ok":false,"error":"{error}","retryAfter":{retry_after}}}"#);
            reply("503 Service Unavailable", &refusal)
        });
        let relay: RelayUrl = url.parse().unwrap();
        let asking = async { Transport::new().ask_patiently::<Done>(&relay, &send()).await };
        assert_eq!(block_on(asking).unwrap_err().to_string(), format!("{url} refused: {error}"));
        assert_eq!(bodies.try_iter().collect::<Vec<_>>(), vec![SEND; times], "{error}, {retry_after}");
    }
}

#[test]
fn why_a_relay_was_not_reached() {
    let closed = listener().1;
    assert_eq!(said(&closed), "URL cannot be reached: nothing listens there (connection refused)");
    let https = closed.replace("http:", "https:");
    assert_eq!(said(&https), "URL cannot be reached: nothing listens there (connection refused)");

    let silent = evil_stream(|_, _| ());
    assert_eq!(said(&silent), "URL cannot be reached: it closed the connection without a whole reply");
    let cut = evil(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":".to_vec());
    assert_eq!(said(&cut), "URL cannot be reached: it closed the connection without a whole reply");
    let other = evil(|_| b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec());
    assert_eq!(said(&other), "URL cannot be reached: its reply is not HTTP");

    // A label of a name has at most 63 characters, so nobody is asked for these.
    let long = "x".repeat(64);
    let name = said(&format!("http://{long}.localhost"));
    assert!(name.starts_with("URL cannot be reached: failed to lookup address information: "), "{name}");
    assert_eq!(said(&format!("https://{long}.example")), "URL cannot be reached: invalid dns name");
}

#[test]
fn relays_whose_certificate_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    // It signed itself, as an authority and as none.
    for constraint in ["basicConstraints=CA:TRUE", "basicConstraints=CA:FALSE"] {
        let openssl = |line: &str| {
            let mut openssl = Command::new("openssl");
            openssl.args(line.split(' ')).current_dir(folder.path()).stderr(Stdio::null());
            openssl
        };
        let made = openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost -addext {constraint}"
        ))
        .status();
        assert!(made.unwrap().success());
        let mut server = openssl("s_server -accept 127.0.0.1:0 -cert cert -key key -www")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
        let said = said(&format!("https://{}", address.unwrap()));
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(said, "URL cannot be reached: its certificate is from no authority that is known here");
    }
    let plain = evil_stream(|_, stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let said = said(&plain.replace("http:", "https:"));
    assert_eq!(said, "URL cannot be reached: it does not speak TLS");
}

/// What a proxy of the environment is asked for by `connectoid send` to this relay, and what the sender is told.
fn through_a_proxy(relay: &str, answer: &'static [u8], variables: &str) -> (Vec<String>, String) {
    let (asked, lines) = mpsc::channel();
    let (listener, proxy) = listener();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            asked.send(String::from_utf8(head).unwrap()).unwrap();
            stream.write_all(answer).unwrap();
        }
    });
    let (alice, bob) = (Person::new(), Person::new());
    let link = link(&alice, &[relay], &[]);
    let variables = variables.replace("PROXY_URL", &proxy.replace("http://", "http://me:word@"));
    let unset: String = ["HTTP", "HTTPS", "ALL", "NO"]
        .map(|name| format!("-u {name}_PROXY -u {}_proxy ", name.to_lowercase()))
        .concat();
    let line = format!("echo hello | env {unset} {variables} connectoid send '{link}'");
    let (_, _, err) = seen(&bob.shell(&line));
    let said = err.lines().next().unwrap().to_owned();
    (lines.try_iter().collect(), said)
}

#[test]
fn the_proxy_of_the_environment_is_for_https() {
    const HTTPS: &str = "https://relay.invalid";
    let none = "nothing listens there (connection refused)";
    let tries = |relay: &str, variables: &str, connects: usize, reason: &str| {
        let (asked, said) = through_a_proxy(relay, b"HTTP/1.1 403 Forbidden\r\n\r\n", variables);
        assert_eq!(said, format!("connectoid: {relay} cannot be reached: {reason}"), "{variables}");
        let asked: Vec<String> = asked.iter().map(|head| head.to_ascii_lowercase()).collect();
        let connect = "connect relay.invalid:443 http/1.1\r\nhost: relay.invalid:443\r\n\
                       proxy-authorization: basic bwu6d29yza==\r\n\r\n";
        assert_eq!(asked, vec![connect; connects], "{variables}");
    };
    thread::scope(|scope| {
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            let reason = "through the environment's proxy: tunnel error: unsuccessful";
            scope.spawn(move || tries(HTTPS, &format!("{variable}=PROXY_URL"), 3, reason));
        }
        scope.spawn(|| tries("https://127.0.0.1:1", "HTTPS_PROXY=PROXY_URL NO_PROXY=127.0.0.1", 0, none));
        let all = "HTTP_PROXY=PROXY_URL http_proxy=PROXY_URL HTTPS_PROXY=PROXY_URL ALL_PROXY=PROXY_URL";
        scope.spawn(|| tries("http://127.0.0.1:1", all, 0, none));
        let reason = "the environment's proxy must be an http:// one";
        scope.spawn(|| tries(HTTPS, "HTTPS_PROXY=socks5://127.0.0.1:1", 0, reason));
    });
}
