//! What the commands do over a session: a pipe, files, TCP ports (docs/tools.md).

pub(crate) mod files;
mod flow;
pub(crate) mod forward;
pub(crate) mod job;
pub(crate) mod pipe;
#[cfg(test)]
mod written;

/// Words of the other side: no more than a person reads, and on one line.
fn quoted(words: &str) -> String {
    words.chars().take(300).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
