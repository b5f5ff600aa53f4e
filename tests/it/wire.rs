//! A connection on which a test writes what it likes, and reads what comes back.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use tokio::net::TcpSocket;

use crate::harness::{Reply, TestRelay, block_on};

/// A connection on which a test writes what it likes.
pub struct Wire(pub TcpStream);

impl Wire {
    pub fn to(relay: &TestRelay) -> Self {
        Self::at(&relay.url)
    }

    pub fn at(url: &str) -> Self {
        Self::over(TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap())
    }

    /// From this address of this machine: all of 127.0.0.0/8 are.
    pub fn from(source: &str, url: &str) -> Self {
        let source = SocketAddr::new(source.parse().unwrap(), 0);
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let stream = block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(source).unwrap();
            socket.connect(address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> Self {
        // Only a relay that fails to answer is waited for so long.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        // A relay that refuses early need not read the rest.
        drop(self.0.write_all(bytes.as_ref()));
        self
    }

    /// Says that nothing more will come.
    pub fn end(&mut self) -> &mut Self {
        drop(self.0.shutdown(Shutdown::Write));
        self
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Reply {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            let read = self.0.read(&mut byte).unwrap();
            assert_eq!(read, 1, "closed without a reply: {}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        });
        let mut reply = Reply { status, headers: headers.collect(), body: String::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply.without_line_end()
    }

    /// Whether the relay closed the connection, and sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
