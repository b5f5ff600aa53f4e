//! Relays that are none, refuse, drip or cheat, and what the commands make of them.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cli::{relay, seen},
    harness::{Person, post},
    notes::{link, put, receive},
};

/// A server that answers every request with these bytes and closes.
pub fn evil(reply: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    evil_stream(move |body, stream| drop(stream.write_all(&reply(body))))
}

/// A server that does what it likes with every request's body and connection. Ends with the test process.
pub fn evil_stream(reply: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reply = Arc::new(reply);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, reply) = (stream.unwrap(), reply.clone());
            thread::spawn(move || {
                let body = read_request(&stream).unwrap_or_default();
                reply(&body, &mut stream);
            });
        }
    });
    url
}

/// Reads a request; its body.
pub fn read_request(stream: &TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

pub fn reply(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

/// What `send` and `receive` say about a relay; `URL` stands for its URL.
fn said_about(url: &str) -> [(i32, String, String); 2] {
    let (alice, bob) = (Person::new(), Person::new());
    let link = link(&alice, &[url], &[]);
    [seen(&bob.run(&["send", &link], "hello")), receive(&alice)]
        .map(|(code, out, err)| (code, out, err.replace(url, "URL")))
}

#[test]
fn relays_that_speak_something_else() {
    let elsewhere = evil(|_| panic!("a redirect was followed"));
    let redirect = move |status: &str| {
        format!(
            "HTTP/1.1 {status}\r\nlocation: {elsewhere}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .into_bytes()
    };
    let huge = || {
        let mut huge = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"ok\":true,\"x\":\"".to_vec();
        huge.resize(2 << 20, b'x');
        huge
    };
    let not_ours = "its reply is not one of the protocol's";
    for (bytes, reason) in [
        (reply("200 OK", "<html>hello</html>"), not_ours),
        (reply("200 OK", ""), not_ours),
        (reply("200 OK", "[]"), not_ours),
        (reply("200 OK", "{}"), not_ours),
        (reply("200 OK", r#"{"ok":"yes"}"#), not_ours),
        (reply("200 OK", r#"{"ok":false,"found":false}"#), not_ours),
        (
            reply("404 Not Found", "<html>not found</html>"),
            "it answered with status 404 Not Found: is this the URL of a relay?",
        ),
        (
            redirect("301 Moved Permanently"),
            "it redirects (status 301), and redirects are not followed: is this the URL of a relay?",
        ),
        (
            redirect("307 Temporary Redirect"),
            "it redirects (status 307), and redirects are not followed: is this the URL of a relay?",
        ),
        (huge(), "its reply is larger than 1 MiB"),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let url = evil(move |_| bytes.clone());
        let [sent, received] = said_about(&url);
        let misbehaves = format!("connectoid: URL misbehaves: {reason}\n");
        assert_eq!(
            sent,
            (6, String::new(), format!("{misbehaves}{NOT_SENT}")),
            "send, answered with {shown}"
        );
        assert_eq!(
            received,
            (
                6,
                String::new(),
                format!("{misbehaves}connectoid: nothing received: no relay of this link could be read\n")
            ),
            "receive, answered with {shown}"
        );
    }
}

/// What `send` ends with if no relay stored the note.
const NOT_SENT: &str = "connectoid: not sent: no relay of this link stored it\n";

#[test]
fn relays_that_refuse() {
    let url = evil(|_| {
        reply("403 Forbidden", r#"{"ok":false,"error":"Not allowed","detail":"ask the operator for a key"}"#)
    });
    let [sent, received] = said_about(&url);
    let refused = "connectoid: URL refused: Not allowed (ask the operator for a key)\n";
    assert_eq!(sent, (4, String::new(), format!("{refused}{NOT_SENT}")));
    assert_eq!((received.0, received.1.as_str()), (4, ""));
    assert!(received.2.starts_with(refused), "{}", received.2);
}

#[test]
fn a_relay_that_drips_is_given_up() {
    let first = AtomicBool::new(true);
    let url = evil_stream(move |_, stream| {
        if !first.swap(false, Ordering::Relaxed) {
            stream.write_all(&reply("200 OK", "")).unwrap();
            return;
        }
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while sent.is_ok() {
            thread::sleep(Duration::from_millis(100));
            sent = stream.write_all(b" ");
        }
    });
    let (alice, started) = (Person::new(), Instant::now());
    link(&alice, &[&url], &[]);
    // Asked again, it replies at once, so that this test need not wait for three times 10 seconds.
    assert_eq!(receive(&alice).0, 6);
    let took = started.elapsed();
    assert!((9..20).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_relay_that_passes_on_anothers_question_gets_no_answer() {
    let (honest, alice, bob) = (relay(), Person::new(), Person::new());
    let target = honest.url.clone();
    let named = evil(move |body| reply("200 OK", &post(&target, body).body));
    let target = honest.url.clone();
    let renamed = evil(move |body| {
        let check: Value = serde_json::from_str(body).unwrap();
        assert_eq!(check["action"], "check", "nothing else is said to this relay");
        let mine = check["relay"].as_str().unwrap();
        reply("200 OK", &post(&target, body).body.replace(&target, mine))
    });
    let for_bob = link(&alice, &[&named], &[]);
    let wanted = alice.ok(&["link", "--for", "Carol", "--relay", &renamed], "");
    for connectoid in [&for_bob, wanted.trim_end()] {
        put(&honest.url, &bob.ok(&["seal", connectoid], "hello"));
    }
    let end = "connectoid: nothing received: no relay of this link could be read\n";
    assert_eq!(
        receive(&alice),
        (
            6,
            String::new(),
            format!(
                "connectoid: {named} misbehaves: it asked a question that is bound to another relay\n{end}"
            )
        )
    );
    assert_eq!(
        seen(&alice.run(&["receive", "Carol"], "")),
        (
            6,
            String::new(),
            format!(
                "connectoid: {renamed} misbehaves: its question is none about this box; nothing was answered\n{end}"
            )
        )
    );
}

#[test]
fn a_relay_that_asks_with_a_stored_message_gets_no_answer() {
    let (alice, bob) = (Person::new(), Person::new());
    let (sealed_in, sealed_out) = std::sync::mpsc::channel::<String>();
    let sealed_out = std::sync::Mutex::new(sealed_out);
    let url = evil(move |body| {
        let check: Value = serde_json::from_str(body).unwrap();
        assert_eq!(check["action"], "check", "nothing else is said to this relay");
        let message = sealed_out.lock().unwrap().recv().unwrap();
        let asked = json!({"ok": true, "found": true, "question": message, "relay": check["relay"]});
        reply("200 OK", &asked.to_string())
    });
    let link = link(&alice, &[&url], &["--no-secret"]);
    let sealed: Value = serde_json::from_str(&bob.ok(&["seal", &link], "the plaintext")).unwrap();
    sealed_in.send(sealed["data"].as_str().unwrap().to_owned()).unwrap();
    let (code, out, err) = receive(&alice);
    assert_eq!((code, out.as_str()), (6, ""));
    assert!(err.contains("its question is none about this box; nothing was answered"), "{err}");
}
