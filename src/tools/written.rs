//! For tests: the conversations that docs/tools.md shows, and those that are held.

use serde_json::Value;
use tokio::select;

use crate::webrtc::{Channel, Message};

/// What the first example under this heading says: on the left, and on the right.
pub(super) fn written(heading: &str) -> (Vec<Value>, Vec<Value>) {
    let document = include_str!("../../docs/tools.md");
    let section = document.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let example = section.split("```").nth(1).unwrap();
    let messages = example.lines().filter_map(|line| line.find('{').map(|at| (at, &line[at..])));
    let (left, right): (Vec<_>, Vec<_>) = messages.partition(|(at, _)| *at == 0);
    let read = |side: Vec<(usize, &str)>| {
        side.into_iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect()
    };
    (read(left), read(right))
}

/// Carries what is said between two channels until one of them ends. What each side said, but for `more`.
pub(super) async fn overhear(mut near: Channel, mut far: Channel) -> (Vec<Value>, Vec<Value>) {
    let (mut of_near, mut of_far) = (Vec::new(), Vec::new());
    loop {
        let (message, said, to) = select! {
            message = near.next() => (message, &mut of_near, &far),
            message = far.next() => (message, &mut of_far, &near),
        };
        let Some(message) = message else { return (of_near, of_far) };
        if let Message::Text(text) = &message {
            said.push(serde_json::from_str(text).unwrap());
        }
        if to.send(message).await.is_err() {
            return (of_near, of_far);
        }
    }
}
