//! Asking a person at a terminal. A script says the answer with an option.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::OnceLock,
    thread,
};

use tokio::sync::{Mutex, mpsc};

use super::{Failure, without_controls};

/// What a person types behind these words; `None` if there is no terminal to ask on.
pub(super) fn ask(words: &str) -> Result<Option<String>, Failure> {
    if !is_somebody_there() {
        return Ok(None);
    }
    let mut err = io::stderr();
    drop(write!(err, "{} ", without_controls(words)).and_then(|()| err.flush()));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Failure::new)?;
    Ok(Some(answer.trim().to_lowercase()))
}

/// As [`ask`], while other things go on: it may be given up, and the answer that comes then is nobody's. `None` also at the end of the
/// input.
pub(super) async fn ask_meanwhile(words: &str) -> Option<String> {
    if !is_somebody_there() {
        return None;
    }
    // One thread reads for all questions, for reading cannot be given up.
    static LINES: OnceLock<Mutex<mpsc::UnboundedReceiver<String>>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let (read, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if read.send(line).is_err() {
                    break;
                }
            }
        });
        Mutex::new(lines)
    });
    let mut lines = lines.lock().await;
    // What was typed before is no answer to this.
    while lines.try_recv().is_ok() {}
    let mut err = io::stderr();
    drop(write!(err, "{} ", without_controls(words)).and_then(|()| err.flush()));
    Some(lines.recv().await?.trim().to_lowercase())
}

/// Goes on only if a person says yes; `unasked` says what to do where nobody can be asked.
pub(super) fn confirm(question: &str, unasked: &str) -> Result<(), Failure> {
    match ask(&format!("{question} [y/N]"))?.as_deref() {
        Some("y" | "yes") => Ok(()),
        Some(_) => Err(Failure::new("nothing was changed")),
        None => Err(Failure::new(format!("there is no terminal to ask on: {unasked}; nothing was changed"))),
    }
}

/// Whether there is a terminal to ask on.
pub(super) fn is_somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
