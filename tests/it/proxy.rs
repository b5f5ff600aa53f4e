//! A TCP proxy that a test can cut: what a relay sees when its database goes away and comes back.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Passes connections on to a server until it is cut.
pub struct Proxy {
    /// The server's URL, with the proxy's address in the place of its own.
    pub url: String,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(PartialEq)]
enum Way {
    Open,
    Cut,
    Gone,
}

struct State {
    way: Way,
    /// Both ends of every connection.
    ends: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy before the server of this URL, `scheme://user:password@host:port/path`.
    pub fn before(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let (user, upstream) = authority.rsplit_once('@').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { way: Way::Open, ends: Vec::new() }));
        let (upstream, shared) = (upstream.to_owned(), state.clone());
        thread::spawn(move || accept(&listener, &upstream, &shared));
        Self { url: format!("{scheme}://{user}@{address}/{path}"), address, state }
    }

    /// Closes every connection, and every new one at once.
    pub fn cut(&self) {
        self.close(Way::Cut);
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.state.lock().unwrap().way = Way::Open;
    }

    fn close(&self, way: Way) {
        let mut state = self.state.lock().unwrap();
        state.way = way;
        for end in state.ends.drain(..) {
            // It may be closed already.
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close(Way::Gone);
        // Wakes the listener, so that it sees it.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, upstream: &str, state: &Mutex<State>) {
    for client in listener.incoming() {
        // The lock is held until both ends are listed: a cut gets all of them.
        let mut state = state.lock().unwrap();
        match (&state.way, client) {
            (Way::Gone, _) => return,
            (Way::Open, Ok(client)) => {
                if let Ok(ends) = join(client, upstream) {
                    state.ends.extend(ends);
                }
            }
            (Way::Cut, _) | (_, Err(_)) => {}
        }
    }
}

/// Passes on both ways, each by a thread that ends when either end is closed.
fn join(client: TcpStream, upstream: &str) -> io::Result<[TcpStream; 2]> {
    let server = TcpStream::connect(upstream)?;
    let ends = [client.try_clone()?, server.try_clone()?];
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from_client, server));
    thread::spawn(move || pass(from_server, client));
    Ok(ends)
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        drop(end.shutdown(Shutdown::Both));
    }
}
