//! What systemd and the relay tell each other: sockets that listen already, and how far the relay is.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Person, clean_environment, get};

/// The relay as systemd starts it.
struct Service {
    operator: Person,
    /// Where it tells how far it is.
    told: UnixDatagram,
}

impl Service {
    fn new() -> Self {
        let operator = Person::new();
        let told = UnixDatagram::bind(operator.path("notify")).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { operator, told }
    }

    /// Starts it with these sockets as its descriptors 3 and 4, as many as there are.
    fn start(&self, sockets: Vec<OwnedFd>, names: &str, args: &[&str]) -> Child {
        self.start_for("$$", sockets, names, args)
    }

    /// The same, for this process.
    fn start_for(&self, process: &str, sockets: Vec<OwnedFd>, names: &str, args: &[&str]) -> Child {
        let count = sockets.len().to_string();
        let mut sockets = sockets.into_iter();
        let mut next = || sockets.next().map_or_else(Stdio::null, Stdio::from);
        let mut command = Command::new("bash");
        // What comes as standard input and standard error is moved to where systemd has it. The process stays the same.
        let line = format!(r#"exec 3<&0 4<&2 </dev/null 2>>said; LISTEN_PID={process} exec "$0" serve "$@""#);
        command.args(["-c", &line]);
        command.arg(env!("CARGO_BIN_EXE_connectoid")).args(["--database", "sqlite://relay.db"]).args(args);
        clean_environment(&mut command);
        command.env("LISTEN_FDS", count).env("LISTEN_FDNAMES", names).env("CONNECTOID_LISTEN", "127.0.0.1:0");
        command.env("NOTIFY_SOCKET", self.operator.path("notify")).current_dir(self.operator.home.path());
        command.stdin(next()).stderr(next()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// What it told next.
    fn hears(&self) -> String {
        let mut text = [0; 1000];
        let length = self.told.recv(&mut text).expect("the relay says how far it is");
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.operator.path("said")).unwrap()
    }

    /// Stops it, and waits for the end.
    fn stop(&self, mut child: Child) {
        let status = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(status.success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", self.said());
    }
}

fn url(child: &mut Child) -> String {
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    url.trim_end().to_owned()
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A client that connects and asks, and has not been answered yet.
fn asks(url: &str) -> TcpStream {
    let mut client = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    client
}

fn is_answered(mut client: TcpStream) {
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
}

#[test]
fn nobody_is_refused_before_the_relay_is_there_and_while_it_is_started_again() {
    let (service, (socket, address)) = (Service::new(), listener());
    let given = || vec![OwnedFd::from(socket.try_clone().unwrap())];
    let early = asks(&address);
    let mut first = service.start(given(), "connectoid.socket", &[]);
    assert_eq!(url(&mut first), address);
    is_answered(early);
    // Those who are just coming in are answered by the one or by the other.
    let coming: Vec<TcpStream> = (0..20).map(|_| asks(&address)).collect();
    service.stop(first);
    let between = asks(&address);
    let mut second = service.start(given(), "connectoid.socket", &[]);
    assert_eq!(url(&mut second), address);
    is_answered(between);
    coming.into_iter().for_each(is_answered);
    assert!(service.said().contains(&format!("listens on {address} (systemd's socket), keeps")));
    service.stop(second);
}

#[test]
fn systemd_is_told_when_the_relay_is_ready_and_when_it_stops() {
    let service = Service::new();
    let mut child = service.start(vec![], "", &[]);
    let address = url(&mut child);
    let place = address.strip_prefix("http://").unwrap();
    assert_eq!(service.hears(), format!("READY=1\nSTATUS=listens on {place}\n"));
    assert_eq!(get(&format!("{address}/ready")).status, 200);

    // A second one on the same database is never ready.
    let mut other = service.start(vec![], "", &[]);
    assert_eq!(other.wait().unwrap().code(), Some(11));

    service.stop(child);
    assert_eq!(service.hears(), "STOPPING=1\nSTATUS=finishing what was accepted\n");
    service.told.set_nonblocking(true).unwrap();
    assert!(service.told.recv(&mut [0; 1]).is_err());
    assert!(!service.said().contains("systemd's socket"));
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_to_fail() {
    let service = Service::new();
    fs::remove_file(service.operator.path("notify")).unwrap();
    let mut child = service.start(vec![], "", &[]);
    assert_eq!(get(&format!("{}/ready", url(&mut child))).status, 200);
    service.stop(child);
    assert!(service.said().contains("systemd was not told how far the relay is (NOTIFY_SOCKET)"));
}

#[test]
fn the_metrics_have_a_socket_of_their_own() {
    let (service, (relay, address), (metrics, watched)) = (Service::new(), listener(), listener());
    // In whatever order they come.
    let args = ["--metrics-listen", "192.0.2.1:1", "--log-format", "json"];
    let mut child = service.start(vec![metrics.into(), relay.into()], "metrics:connectoid.socket", &args);
    assert_eq!(url(&mut child), address);
    assert_eq!(service.hears(), format!("READY=1\nSTATUS=listens on {}\n", &address["http://".len()..]));
    assert!(get(&format!("{watched}/metrics")).body.contains("connectoid_connections"));
    assert_eq!(get(&format!("{address}/metrics")).status, 404);
    assert_eq!(get(&format!("{address}/ready")).status, 200);
    service.stop(child);
    let said = service.said();
    let listening = said.lines().find(|line| line.contains("\"listening\"")).unwrap();
    assert!(listening.contains(r#""socket":"systemd's""#), "{listening}");

    // That alone leaves the relay its --listen.
    let (metrics, watched) = listener();
    let mut child = service.start(vec![metrics.into()], "metrics", &[]);
    assert_eq!(get(&format!("{}/ready", url(&mut child))).status, 200);
    assert_eq!(get(&format!("{watched}/health")).status, 200);
    service.stop(child);
}

#[test]
fn sockets_that_are_not_right_or_not_for_this_process() {
    let service = Service::new();
    let (udp, tcp) = (|| UdpSocket::bind("127.0.0.1:0").unwrap().into(), || listener().0.into());
    let connected = {
        let (listener, _) = listener();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    };
    let no_listener = "a socket that systemd gives is not one of TCP that listens";
    let two = "systemd can give two sockets: a socket unit with one ListenStream= for the relay, and one with \
               FileDescriptorName=metrics";
    for (sockets, names, what) in [
        (vec![udp()], "connectoid.socket", no_listener),
        (vec![connected.into()], "connectoid.socket", no_listener),
        (vec![tcp(), tcp()], "a:b", "systemd gives more than one socket for the relay"),
        (vec![tcp(), tcp()], "", "systemd gives more than one socket for the relay"),
        (vec![tcp(), tcp()], "metrics:metrics", "systemd gives more than one socket for the metrics"),
    ] {
        let mut child = service.start(sockets, names, &[]);
        assert_eq!(child.wait().unwrap().code(), Some(10));
        assert_eq!(service.said(), format!("connectoid: {what}; {two}\n"));
        fs::remove_file(service.operator.path("said")).unwrap();
    }
    assert!(!service.operator.path("relay.db").exists());

    // Those of another process, as the variables may have been inherited.
    let (socket, address) = listener();
    let mut child = service.start_for("1", vec![socket.into()], "connectoid.socket", &[]);
    assert_ne!(url(&mut child), address);
    service.stop(child);
}
