//! `hello share RELAY_URL` in one terminal, `hello connect LINK` in another: both show the same emoji.
#![allow(clippy::print_stdout, clippy::unit_arg)]
mod tcp; // In place of WebRTC: it encrypts nothing.
use connectoid::client::{Client, Event, Keystore, ShareOptions, Signal};
use connectoid::protocol::find_connectoid;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    hello().await.unwrap_or_else(|error| println!("{error}"));
}
async fn hello() -> Result<(), Box<dyn std::error::Error>> {
    let [command, argument] = [1, 2].map(|place| std::env::args().nth(place).unwrap_or_default());
    let mut client = Client::open(Keystore::new(format!("hello-{command}.json").into()))?; // Its keys.
    match command.as_str() {
        "share" => println!("for Bob: {}", client.share("Bob", ShareOptions::at([argument.parse()?]))?),
        _ => client.connect(&find_connectoid(&argument)?, "Alice")?,
    }
    client.set_foreground(true)?; // Somebody is looking: wait at the relay.
    let mut tcp = tcp::Tcp::new();
    loop {
        let done = tokio::select! {
            signal = client.next() => match signal? {
                Signal::MakeOffer { session: id, .. } => client.local_offer(id, tcp.offer(id).await?),
                Signal::MakeAnswer { session: id, sdp, .. } => client.local_answer(id, tcp.answer(id, &sdp).await?),
                Signal::AcceptAnswer { session, sdp } => Ok(tcp.accept(session, &sdp).await),
                Signal::Frame { session, text } => Ok(tcp.send(session, &text)),
                Signal::Close { session } => Ok(tcp.close(session)),
                Signal::Event(Event::Connected { contact, sas, .. }) => Ok(println!("connected to {contact} {sas}")),
                _ => Ok(()), // docs/client.md says what else there is.
            },
            heard = tcp.next() => match heard {
                tcp::Heard::Open(session, certificate) => client.channel_open(session, Some(certificate)),
                tcp::Heard::Frame(session, text) => client.frame(session, &text),
                tcp::Heard::Closed(session) => client.channel_closed(session),
            },
        };
        done.unwrap_or_else(|error| println!("{error}")); // A session that is over, say: others go on.
    }
}
