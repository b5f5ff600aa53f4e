//! Sessions over real WebRTC: two apps in one process, a real relay, UDP on this machine.

use std::time::{Duration, Instant};

use connectoid::{
    client::{Client, Event, Keystore, ShareOptions},
    protocol::find_connectoid,
    webrtc::{Channel, Happening, Message, Node, NotSent, Options},
};
use tokio::runtime::Runtime;

use crate::{cli::relay, harness::Person};

/// An app on a device.
struct App {
    node: Node,
    events: Vec<Event>,
    words: Vec<String>,
    channels: Vec<Channel>,
}

impl App {
    fn open(person: &Person, options: Options) -> Self {
        let client = Client::open(Keystore::new(person.keys_file())).unwrap();
        Self { node: Node::new(client, options), events: Vec::new(), words: Vec::new(), channels: Vec::new() }
    }

    fn share(&mut self, relay: &str) -> String {
        let client = self.node.client();
        client.set_foreground(true).unwrap();
        client.share("Bob", ShareOptions::at([relay.parse().unwrap()])).unwrap().to_string()
    }

    fn connect(&mut self, link: &str) {
        let client = self.node.client();
        client.set_foreground(true).unwrap();
        client.connect(&find_connectoid(link).unwrap(), "Alice").unwrap();
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Event(event) => self.events.push(event),
            Happening::Channel { channel, .. } => self.channels.push(channel),
            Happening::Path { .. } => self.words.push("path".to_owned()),
            Happening::Interrupted { .. } => self.words.push("interrupted".to_owned()),
            Happening::Resumed { .. } => self.words.push("resumed".to_owned()),
            Happening::NoPath { why, .. } => self.words.push(why.to_string()),
            _ => {}
        }
    }

    fn is_connected(&self) -> bool {
        let connected = self.events.iter().filter(|event| matches!(event, Event::Connected { .. })).count();
        let ended = self.events.iter().filter(|event| matches!(event, Event::Disconnected { .. })).count();
        connected > ended
    }
}

/// Runs two apps until it is so.
async fn both(alice: &mut App, bob: &mut App, done: impl Fn(&App, &App) -> bool) {
    let running = async {
        while !done(alice, bob) {
            tokio::select! {
                came = alice.node.next() => alice.take(came.unwrap()),
                came = bob.node.next() => bob.take(came.unwrap()),
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(40), running).await;
    assert!(ended.is_ok(), "{:#?} {:?} {:#?} {:?}", alice.events, alice.words, bob.events, bob.words);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn two_apps_connect_and_channels_carry_what_is_sent() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    runtime().block_on(async {
        let (mut alice, mut bob) =
            (App::open(&alice, Options::default()), App::open(&bob, Options::default()));
        let link = alice.share(&relay.url);
        bob.connect(&link);
        both(&mut alice, &mut bob, |alice, bob| alice.is_connected() && bob.is_connected()).await;

        let mut own = bob.node.open("Alice", "test").unwrap();
        own.send(Message::Text("héllo".to_owned())).await.unwrap();
        own.send(Message::Binary(vec![7; 200_000])).await.unwrap();
        assert_eq!(own.send(Message::Binary(Vec::new())).await, Err(NotSent::Empty));
        assert_eq!(own.send(Message::Binary(vec![0; 262_145])).await, Err(NotSent::TooLarge));
        both(&mut alice, &mut bob, |alice, _| !alice.channels.is_empty()).await;
        let mut there = alice.channels.pop().unwrap();
        assert_eq!(there.label(), "test");
        assert_eq!(there.next().await, Some(Message::Text("héllo".to_owned())));
        assert_eq!(there.next().await, Some(Message::Binary(vec![7; 200_000])));
        there.send(Message::Text("and back".to_owned())).await.unwrap();
        assert_eq!(own.next().await, Some(Message::Text("and back".to_owned())));
        there.send(Message::Text("the last".to_owned())).await.unwrap();
        drop(there);
        assert_eq!(own.next().await, Some(Message::Text("the last".to_owned())));
        assert_eq!(own.next().await, None);

        bob.node.client().disconnect("Alice").unwrap();
        both(&mut alice, &mut bob, |alice, bob| !alice.is_connected() && !bob.is_connected()).await;
        alice.node.client().reconnect("Bob").unwrap();
        both(&mut alice, &mut bob, |alice, bob| alice.is_connected() && bob.is_connected()).await;
    });
}

#[test]
fn a_session_without_app_data_closes_and_can_be_made_again() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    runtime().block_on(async {
        let idle = Options { idle: Some(Duration::from_secs(1)), ..Options::default() };
        let (mut alice, mut bob) = (App::open(&alice, Options::default()), App::open(&bob, idle));
        let link = alice.share(&relay.url);
        bob.connect(&link);
        both(&mut alice, &mut bob, |alice, bob| alice.is_connected() && bob.is_connected()).await;
        let begun = Instant::now();
        both(&mut alice, &mut bob, |alice, bob| !alice.is_connected() && !bob.is_connected()).await;
        assert!(begun.elapsed() > Duration::from_millis(500), "not before it was idle");
        alice.node.client().reconnect("Bob").unwrap();
        both(&mut alice, &mut bob, |alice, bob| alice.is_connected() && bob.is_connected()).await;
    });
}
