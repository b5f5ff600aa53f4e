//! `connectoid answer`: from the reply of `check` to the request of `receive`, for pipes of curl.

use std::io::{self, Read as _};

use clap::Args;

use super::{API_KEY, Failure, Home, known, link::api_key, mailbox, print_json};
use crate::{
    protocol::{At, Checked, Ext, RefusalBody, RelayUrl, Request, Upto, limits::MAX_REPLY_BYTES},
    seal::{self, BoxKey, question::open_question},
};

/// Turn the reply to `check` into the `receive` request, for curl
///
/// Reads the reply on standard input, opens the question, and writes the whole next request:
///
///   curl -s URL -d '{…"action":"check"…}' | connectoid answer --for Bob | curl -s URL -d @-
///
/// If nothing was found it writes nothing and exits with 3.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Answer {
    #[command(flatten)]
    home: Home,
    /// Whose link was checked
    #[arg(long = "for", value_name = "NAME", required_unless_present = "example")]
    name: Option<String>,

    /// Use the published example key that `connectoid serve` shows; its box is everybody's
    #[arg(long, conflicts_with = "name")]
    example: bool,

    /// The API key to ask with in the example's name; a link of yours carries its own
    #[arg(long, env = API_KEY, value_name = "KEY", value_parser = api_key, hide_env_values = true, allow_hyphen_values = true)]
    api_key: Option<Ext>,

    /// Which relay replied, if the link has several: its question must be its own
    #[arg(long, value_name = "URL")]
    relay: Option<RelayUrl>,

    /// What was received already: the `at` of the last reply to `receive`
    #[arg(long, value_parser = cursor, default_value = "0")]
    at: At,

    /// How many messages to ask for, 1 to 32
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=32), default_value = "1")]
    limit: u32,

    /// Write a `delete` request instead: up to this `at`, or `all` for the whole box. Check with "ask":true for it
    #[arg(long, value_name = "AT|all", value_parser = upto)]
    delete: Option<Upto>,
}

fn cursor(text: &str) -> Result<At, String> {
    At::from_digits(text).ok_or_else(|| "expected an integer: Unix time in microseconds".to_owned())
}

fn upto(text: &str) -> Result<Upto, String> {
    if text == "all" { Ok(Upto::All) } else { cursor(text).map(Upto::At) }
}

impl Answer {
    pub(super) fn run(self) -> Result<(), Failure> {
        let checked: Checked = read_reply("check")?;
        let Asked { key, relays, ext } = self.asked()?;
        if !checked.found && (self.delete.is_none() || checked.question.is_none()) {
            return Err(Failure::with(Failure::NOTHING, "nothing new"));
        }
        let misbehaves = |reason: &str| Failure::with(Failure::MISBEHAVES, reason);
        let question = checked.question.ok_or_else(|| misbehaves("the relay's reply holds no question"))?;
        let relay = whose_question(checked.relay.as_deref(), self.relay.as_ref(), relays.as_deref())?;
        let answer = open_question(&key, &relay, &question).map_err(|_| {
            misbehaves("the question was not asked by this relay about this box; nothing is answered")
        })?;
        let key = key.public();
        print_json(&match self.delete {
            Some(upto) => Request::Delete { key, ext, answer, upto },
            None => Request::Receive { key, ext, answer, at: self.at, limit: self.limit },
        })
    }

    fn asked(&self) -> Result<Asked, Failure> {
        let Some(name) = &self.name else {
            let key = seal::derive_box_key(&[0xA1; 48]).map_err(Failure::new)?;
            return Ok(Asked { key, relays: None, ext: self.api_key.clone() });
        };
        let keys = self.home.keystore()?.load()?;
        let own = mailbox(known(&keys, name)?)?;
        Ok(Asked { key: own.key.clone(), relays: Some(own.relays.clone()), ext: own.ext.clone() })
    }
}

/// Whose box was checked.
struct Asked {
    key: BoxKey,
    /// The relays of the link; any, for the example.
    relays: Option<Vec<RelayUrl>>,
    /// What the link carries for the relays.
    ext: Option<Ext>,
}

/// The relay that the question must be bound to: the one that was asked, so that none can pass on another's question.
fn whose_question(
    named: Option<&str>,
    asked: Option<&RelayUrl>,
    relays: Option<&[RelayUrl]>,
) -> Result<RelayUrl, Failure> {
    let asked = match (asked, relays) {
        (Some(asked), _) => asked.clone(),
        (None, Some([only])) => only.clone(),
        (None, Some(_)) => {
            return Err(Failure::with(
                2,
                "this link has several relays: say with --relay URL which one replied",
            ));
        }
        // The example's box is at every relay.
        (None, None) => named
            .unwrap_or_default()
            .parse()
            .map_err(|error| Failure::with(Failure::MISBEHAVES, format!("the question's relay: {error}")))?,
    };
    match named {
        Some(named) if named != asked.as_str() => Err(Failure::with(
            Failure::MISBEHAVES,
            format!(
                "the question is bound to {named}, not to {asked}: if that is the same relay, it belongs into the link"
            ),
        )),
        _ => Ok(asked),
    }
}

/// Reads a relay's reply from standard input.
pub(super) fn read_reply<T: serde::de::DeserializeOwned>(action: &str) -> Result<T, Failure> {
    let mut text = Vec::new();
    io::stdin().take(MAX_REPLY_BYTES + 1).read_to_end(&mut text).map_err(Failure::new)?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::new("standard input is empty: is the relay running?"));
    }
    if let Ok(RefusalBody { ok: false, error, detail, .. }) = serde_json::from_slice(&text) {
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        return Err(Failure::with(Failure::REFUSED, format!("the relay refused: {error}{detail}")));
    }
    serde_json::from_slice(&text).map_err(|_| {
        Failure::new(format!(
            "standard input is not a relay's reply to {action}: pipe curl's output into this"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_key_is_the_published_one() {
        assert_eq!(seal::derive_box_key(&[0xA1; 48]).unwrap().public().to_string(), seal::EXAMPLE_PUB);
    }
}
