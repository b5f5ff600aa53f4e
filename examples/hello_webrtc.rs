//! `hello_webrtc share RELAY_URL` in one terminal, `hello_webrtc connect LINK` in another: a line of text goes each way.
#![allow(clippy::print_stdout)]
use connectoid::client::{Client, Event, Keystore, ShareOptions};
use connectoid::protocol::find_connectoid;
use connectoid::webrtc::{Channel, Happening, Message, Node, Options};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    hello().await.unwrap_or_else(|error| println!("{error}"));
}
async fn hello() -> Result<(), Box<dyn std::error::Error>> {
    let [command, argument] = [1, 2].map(|place| std::env::args().nth(place).unwrap_or_default());
    let mut client = Client::open(Keystore::new(format!("webrtc-{command}.json").into()))?; // Its keys.
    match command.as_str() {
        "share" => println!("for Bob: {}", client.share("Bob", ShareOptions::at([argument.parse()?]))?),
        _ => client.connect(&find_connectoid(&argument)?, "Alice")?,
    }
    client.set_foreground(true)?; // Somebody is looking: wait at the relay.
    let mut node = Node::new(client, Options::default());
    loop {
        match node.next().await? {
            Happening::Event(Event::Connected { contact, sas, may_exchange: true, .. }) => {
                println!("connected to {contact} {sas}");
                if command == "connect" {
                    tokio::spawn(talk(node.open(&contact, "hello")?, "Hello, Alice")); // One side opens the channel.
                }
            }
            Happening::Channel { channel, .. } => drop(tokio::spawn(talk(channel, "Hello, Bob"))),
            Happening::NoPath { contact, why } => println!("no way to {contact}: {why}"),
            _ => {} // docs/client.md says what else there is.
        }
    }
}
async fn talk(mut channel: Channel, words: &str) {
    let _ = channel.send(Message::Text(words.to_owned())).await; // An error if it is closed.
    while let Some(Message::Text(text)) = channel.next().await {
        println!("{}: {text}", channel.label());
    }
}
