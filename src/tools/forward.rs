//! `--forward LOCAL:REMOTE`: a TCP port here leads to one that the other side can reach, and allows.
//!
//! For each TCP connection a channel `connectoid.tcp`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    flow::{Broken, Inflow, Outflow, PIECE, Piece, flow},
    quoted,
};
use crate::webrtc::Channel;

/// How long a TCP connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the other side may take to say whether it was: longer than that.
const ANSWER: Duration = Duration::from_secs(25);

/// A TCP port somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A port here that leads to one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Where it listens.
    pub(crate) local: Target,
    pub(crate) remote: Target,
}

/// What is said on the channel of a TCP connection.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
enum Said {
    /// Connect to this.
    Connect { v: u32, to: Target },
    /// It is connected.
    Ok,
    /// It is not.
    Refused { why: String },
    /// No more data in this direction.
    End,
}

/// Why a TCP connection was not carried, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCarried {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("the other side refused {to}: {why}")]
    Refused { to: Target, why: String },
    #[error("{0}")]
    Tcp(#[from] std::io::Error),
    #[error("the other side closed it")]
    Closed,
    #[error("the other side said nothing for {} s", ANSWER.as_secs())]
    Silent,
    #[error("the other side said what makes no sense here")]
    NotUnderstood,
}

/// Carries a TCP connection that was made to a port here.
pub(crate) async fn carry(tcp: TcpStream, to: &Target, channel: Channel) -> Result<(), NotCarried> {
    let (out, mut into) = flow(channel);
    out.control(&Said::Connect { v: 1, to: to.clone() }).await?;
    match timeout(ANSWER, into.next()).await.map_err(|_| NotCarried::Silent)?? {
        Some(Piece::Control(Said::Ok)) => join(tcp, out, into).await,
        Some(Piece::Control(Said::Refused { why })) => {
            Err(NotCarried::Refused { to: to.clone(), why: quoted(&why) })
        }
        None => Err(NotCarried::Closed),
        Some(_) => Err(NotCarried::NotUnderstood),
    }
}

/// Serves a TCP connection that the other side wants: to one of these ports, and no other.
pub(crate) async fn serve(channel: Channel, allowed: &[Target]) -> Result<(), NotCarried> {
    let (out, mut into) = flow(channel);
    let wanted = timeout(ANSWER, into.next()).await.map_err(|_| NotCarried::Silent)??;
    let Some(Piece::Control(Said::Connect { to, .. })) = wanted else {
        return Err(NotCarried::NotUnderstood);
    };
    let connected = if allowed.contains(&to) {
        let connecting = timeout(PATIENCE, TcpStream::connect((to.host.as_str(), to.port))).await;
        connecting
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|error| error.to_string())
    } else {
        Err(format!("it is not allowed there: --allow {to}"))
    };
    match connected {
        Ok(tcp) => {
            out.control(&Said::Ok).await?;
            join(tcp, out, into).await
        }
        Err(why) => {
            out.control(&Said::Refused { why }).await?;
            // Until it is read there.
            while into.next::<Said>().await.is_ok_and(|piece| piece.is_some()) {}
            Ok(())
        }
    }
}

async fn join(mut tcp: TcpStream, out: Outflow, into: Inflow) -> Result<(), NotCarried> {
    // What is typed is not to wait for more.
    tcp.set_nodelay(true)?;
    // Cut off, however that comes, it is not to end as after the last byte.
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
    both_ways(&mut tcp, out, into).await?;
    SockRef::from(&tcp).set_linger(None)?;
    Ok(())
}

async fn both_ways(tcp: &mut TcpStream, mut out: Outflow, mut into: Inflow) -> Result<(), NotCarried> {
    let (mut read, mut write) = tcp.split();
    let up = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match read.read(&mut buffer).await? {
                0 => break,
                length => out.data(buffer[..length].to_vec()).await?,
            }
        }
        out.control(&Said::End).await?;
        Ok::<(), NotCarried>(())
    };
    let down = async {
        loop {
            match into.next().await? {
                Some(Piece::Data(data)) => {
                    write.write_all(&data).await?;
                    into.taken(data.len()).await?;
                }
                Some(Piece::Control(Said::End)) => break write.shutdown().await?,
                Some(Piece::Control(_)) => return Err(NotCarried::NotUnderstood),
                // It was cut off there.
                None => return Err(NotCarried::Closed),
            }
        }
        Ok(())
    };
    tokio::try_join!(up, down)?;
    // The channel closes behind what is still on its way.
    Ok(())
}

impl Forward {
    pub(crate) async fn listen(&self) -> std::io::Result<TcpListener> {
        TcpListener::bind((self.local.host.as_str(), self.local.port)).await
    }
}

impl FromStr for Target {
    type Err = String;

    /// `PORT`, `HOST:PORT` or `[IPV6]:PORT`; without a host the machine itself.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port),
            None => ("localhost", text),
        };
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
            None => Some(host).filter(|host| !host.contains(':')),
        };
        let host = host.filter(|host| {
            !host.is_empty()
                && host.len() <= 253
                && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c))
        });
        let port = port.parse().ok().filter(|port| *port > 0);
        match (host, port) {
            (Some(host), Some(port)) => Ok(Self { host: host.to_ascii_lowercase(), port }),
            _ => Err("expected a port as 22, or host and port as nas.lan:22 or [fd00::7]:22".to_owned()),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Forward {
    type Err = String;

    /// `[HOST:]PORT:[HOST:]PORT`: local, then remote.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "expected LOCAL:REMOTE, as 2222:22, 8080:nas.lan:80 or 0.0.0.0:2222:localhost:22".to_owned();
        let colons = text.match_indices(':').map(|(at, _)| at);
        // The first way to take it apart in which both sides make sense: without a host of its own if there is one.
        let mut ways = colons.filter_map(|at| {
            let (local, remote) = (&text[..at], &text[at + 1..]);
            Some(Self { local: local.parse().ok()?, remote: remote.parse().ok()? })
        });
        ways.next().ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::written::{overhear, written};

    fn forward(text: &str) -> String {
        let Forward { local, remote } = text.parse().unwrap();
        format!("{local} {remote}")
    }

    #[test]
    fn ports_here_and_there() {
        assert_eq!(forward("2222:22"), "localhost:2222 localhost:22");
        assert_eq!(forward("8080:nas.lan:80"), "localhost:8080 nas.lan:80");
        assert_eq!(forward("0.0.0.0:2222:22"), "0.0.0.0:2222 localhost:22");
        assert_eq!(forward("0.0.0.0:2222:NAS:22"), "0.0.0.0:2222 nas:22");
        assert_eq!(forward("[::]:2222:[fd00::7]:22"), "[::]:2222 [fd00::7]:22");
        assert_eq!(forward("2222:[fd00::7]:22"), "localhost:2222 [fd00::7]:22");
        for wrong in ["", "22", ":22", "22:", "2222:0", "70000:22", "a b:22:22", "2222:fd00::7:22", "x:y"] {
            assert!(wrong.parse::<Forward>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_carried_both_ways() {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Target { host: "127.0.0.1".to_owned(), port: there.local_addr().unwrap().port() };
        let echo = async {
            let (mut tcp, _) = there.accept().await.unwrap();
            let mut all = Vec::new();
            tcp.read_to_end(&mut all).await.unwrap();
            all.reverse();
            tcp.write_all(&all).await.unwrap();
        };
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = async {
            let mut tcp = TcpStream::connect(here.local_addr().unwrap()).await.unwrap();
            // More than the window, and half closed afterwards.
            tcp.write_all(&vec![7; 6_000_000]).await.unwrap();
            tcp.write_all(b"end").await.unwrap();
            tcp.shutdown().await.unwrap();
            let mut all = Vec::new();
            tcp.read_to_end(&mut all).await.unwrap();
            (all.len(), String::from_utf8_lossy(&all[..3]).into_owned())
        };
        let (one, other) = Channel::pair("connectoid.tcp");
        let (allowed, wanted) = ([to.clone()], to.clone());
        let carried = async {
            let (tcp, _) = here.accept().await.unwrap();
            carry(tcp, &wanted, one).await
        };
        let (answer, (), carried, served) = tokio::join!(asker, echo, carried, serve(other, &allowed));
        assert_eq!(answer, (6_000_003, "dne".to_owned()));
        assert!(carried.is_ok() && served.is_ok());
    }

    #[tokio::test]
    async fn the_conversation_is_the_one_in_the_document() {
        let there = TcpListener::bind("localhost:0").await.unwrap();
        let to = Target { host: "localhost".to_owned(), port: there.local_addr().unwrap().port() };
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = async {
            let mut tcp = TcpStream::connect(here.local_addr().unwrap()).await.unwrap();
            tcp.write_all(b"hello").await.unwrap();
            tcp.shutdown().await.unwrap();
            tcp.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let other_end = async {
            let (mut tcp, _) = there.accept().await.unwrap();
            tcp.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let ((one, near), (far, other)) = (Channel::pair("connectoid.tcp"), Channel::pair("connectoid.tcp"));
        let (allowed, wanted) = ([to.clone()], to.clone());
        let carried = async {
            let (tcp, _) = here.accept().await.unwrap();
            carry(tcp, &wanted, one).await.unwrap();
        };
        let (mut said, (), (), (), served) =
            tokio::join!(overhear(near, far), asker, other_end, carried, serve(other, &allowed));
        served.unwrap();
        assert_eq!(said.0[0]["to"], to.to_string());
        said.0[0]["to"] = "localhost:22".into();
        assert_eq!(said, written("TCP ports"));
    }

    #[tokio::test]
    async fn only_what_is_allowed_is_reached() {
        let here = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = TcpStream::connect(here.local_addr().unwrap());
        let (one, other) = Channel::pair("connectoid.tcp");
        let carried = async {
            let (tcp, _) = here.accept().await.unwrap();
            carry(tcp, &"nas.lan:22".parse().unwrap(), one).await.unwrap_err().to_string()
        };
        let allowed = ["22".parse().unwrap()];
        let (_asker, refused, served) = tokio::join!(asker, carried, serve(other, &allowed));
        assert_eq!(refused, "the other side refused nas.lan:22: it is not allowed there: --allow nas.lan:22");
        assert!(served.is_ok());
    }
}
