//! What this relay keeps and for how long, from its settings: as a page and as a text.

use super::{
    template::{Row, Value, fill},
    words::in_words,
};
use crate::http::About;

const PRIVACY: &str = include_str!("privacy.html");

/// The page. `root` stands before the names of its files.
pub(super) fn page(url: &str, root: &str, about: &About) -> String {
    fill(
        PRIVACY,
        &[
            ("root", Value::Text(root)),
            ("home", Value::Text(if root.is_empty() { "." } else { root })),
            ("url", Value::Text(url)),
            ("kept", Value::Rows(&kept(about))),
            ("not_kept", Value::Rows(&not_kept(about))),
        ],
    )
}

/// The text.
pub(super) fn text(about: &About) -> String {
    let section = |title: &str, rows: &[Row]| {
        let rows: Vec<String> = rows.iter().map(|(label, text)| format!("{label}\n  {text}\n")).collect();
        format!("{title}\n\n{}", rows.join("\n"))
    };
    let kept = section("WHAT THIS RELAY KEEPS, AND FOR HOW LONG", &kept(about));
    let not_kept = section("WHAT IT DOES NOT KEEP", &not_kept(about));
    format!("{kept}\n{not_kept}")
}

/// What is kept, and for how long.
fn kept(about: &About) -> Vec<Row> {
    let message = in_words(about.keep.message_ttl.as_secs());
    let a_box = in_words(about.keep.box_ttl.as_secs());
    let mut rows = vec![(
        "Messages",
        format!(
            "{message}, or until the owner of the box deletes them. They are sealed: the relay keeps bytes that it \
             cannot read, and when they came."
        ),
    )];
    if about.keep.box_cap.is_some_and(|cap| cap.has_shares()) {
        rows.push((
            "A pseudonym of who sent",
            format!(
                "As long as the message, {message} at most. It is 8 bytes made from the sender’s address with a key that \
                 only the relay has, different for each box, so that one sender cannot fill a box for all others. It is \
                 not the address."
            ),
        ));
    }
    rows.push((
        "Boxes",
        format!(
            "{a_box} after the last check. Of a box the relay keeps its public key, the number of its last message, \
             and the day somebody last checked it. Its owner can delete it at once."
        ),
    ));
    if about.api_key {
        rows.push((
            "API keys",
            "As long as the operator keeps them: of each its name, a hash, when it was made and revoked, what it allows, \
             which boxes were made under it, and how many requests and bytes were used of it on which day."
                .to_owned(),
        ));
    }
    rows
}

/// What is not kept.
fn not_kept(about: &About) -> Vec<Row> {
    let row = |label, text: &str| (label, text.to_owned());
    vec![
        ("Addresses", addresses(about)),
        row("Logs", "They name no box, message, answer, API key or address."),
        row(
            "Cookies",
            "None; nothing is stored in the browser, and these pages load nothing from anywhere else.",
        ),
        row(
            "Keys and link secrets",
            "The relay never gets a private key or the secret of a link. What you make or take apart on its page stays in \
             your browser.",
        ),
        row(
            "Others",
            "This is what the program does. Its operator’s proxy, host or platform may log more, addresses and times for \
             instance: ask whoever runs this relay.",
        ),
    ]
}

/// A rate forgets an address when its bucket is full again, and the sweep notices.
fn addresses(about: &About) -> String {
    let counted = match about.rates.longest_memory() {
        Some(memory) => {
            let minutes = (memory + about.sweep_interval).as_millis().div_ceil(60_000);
            let seconds = u64::try_from(minutes * 60).unwrap_or(u64::MAX);
            let noticed = if about.sweep_with_requests { " (or until the next of anybody)" } else { "" };
            format!("and for at most {} after their last request{noticed}, ", in_words(seconds))
        }
        None => String::new(),
    };
    format!(
        "In memory only: counted while their connections are open, {counted}so that one cannot use up the relay. Never \
         written to the disk or to a log."
    )
}
