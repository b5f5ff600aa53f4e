//! How far a transfer of files is, on standard error: a bar on a terminal; elsewhere a line now and then, for logs.

use std::{
    io::{self, IsTerminal as _},
    sync::{Mutex, PoisonError},
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{say, without_controls};
use crate::tools::files::{Phase, Progress, Status};

const BAR: &str = "{prefix} {bar:20} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";

/// Shows how far a transfer is. Dropped, a bar is taken away; what is to stay is said by whoever has the outcome.
pub(super) struct Meter(Shown);

enum Shown {
    Bar(ProgressBar, Mutex<Drawn>),
    Lines(Mutex<Lines>),
}

/// What stands on the bar beside its numbers.
#[derive(Default)]
struct Drawn {
    path: String,
    phase: Option<Phase>,
    skipped: u64,
}

impl Meter {
    /// For a transfer that is `sending` or `receiving`.
    pub(super) fn new(doing: &'static str) -> Self {
        if io::stderr().is_terminal() {
            Self::bar(doing, ProgressDrawTarget::stderr())
        } else {
            Self(Shown::Lines(Mutex::new(Lines { doing, phase: None, tenths: None })))
        }
    }

    fn bar(doing: &'static str, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target).with_prefix(doing);
        // The template is right; with another nothing would be lost but looks.
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(Shown::Bar(bar, Mutex::default()))
    }

    /// Words for a person while a bar may be there, to standard error.
    pub(super) fn say(&self, line: &str) {
        match &self.0 {
            Shown::Bar(bar, _) => bar.suspend(|| say(line)),
            Shown::Lines(_) => say(line),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Shown::Bar(bar, _) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Meter {
    fn at(&self, status: &Status<'_>) {
        match &self.0 {
            Shown::Bar(bar, drawn) => {
                let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
                let Status { phase, path, bytes, total, skipped } = *status;
                bar.set_length(total);
                bar.set_position(bytes);
                if drawn.path != path || drawn.phase != Some(phase) {
                    path.clone_into(&mut drawn.path);
                    let checking = if phase == Phase::Checking { "checking " } else { "" };
                    bar.set_message(format!("{checking}{}", one_line(path)));
                }
                // What was there already is no measure of speed.
                if drawn.phase != Some(phase) || drawn.skipped != skipped {
                    (drawn.phase, drawn.skipped) = (Some(phase), skipped);
                    bar.reset_eta();
                }
            }
            Shown::Lines(lines) => {
                let line = lines.lock().unwrap_or_else(PoisonError::into_inner).next(status);
                if let Some(line) = line {
                    say(&line);
                }
            }
        }
    }
}

/// The lines where there is no terminal: at the start, at each tenth, at the end.
struct Lines {
    doing: &'static str,
    phase: Option<Phase>,
    tenths: Option<u64>,
}

impl Lines {
    fn next(&mut self, status: &Status<'_>) -> Option<String> {
        let Status { phase, path, bytes, total, .. } = *status;
        if phase == Phase::Checking {
            // Once; what it is in between files is too much for a log.
            let first = self.phase.is_none();
            self.phase = Some(phase);
            return first.then(|| format!("{}: checking what is there already", self.doing));
        }
        self.phase = Some(phase);
        let tenths = if total == 0 { 10 } else { (u128::from(bytes) * 10 / u128::from(total)) as u64 };
        if self.tenths.is_some_and(|told| told >= tenths) {
            return None;
        }
        self.tenths = Some(tenths);
        Some(format!("{}: {} % of {}, {}", self.doing, tenths * 10, HumanBytes(total), one_line(path)))
    }
}

/// A path that someone else chose: it stays on its line, and does not move the cursor.
fn one_line(path: &str) -> String {
    without_controls(path).replace(['\n', '\t'], "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indicatif::TermLike;

    use super::*;

    fn status(phase: Phase, bytes: u64, total: u64) -> Status<'static> {
        Status { phase, path: "photos/a\n\u{1b}[2J.jpg", bytes, total, skipped: 0 }
    }

    #[test]
    fn a_log_has_a_line_for_each_tenth() {
        let mut lines = Lines { doing: "sending", phase: None, tenths: None };
        let total = 100 * 1024 * 1024;
        let mut told = Vec::new();
        told.extend(lines.next(&status(Phase::Checking, 0, total)));
        for bytes in (0..=total).step_by(64 * 1024) {
            told.extend(lines.next(&status(Phase::Checking, bytes, total)));
            told.extend(lines.next(&status(Phase::Moving, bytes, total)));
        }
        let mut expected = vec!["sending: checking what is there already".to_owned()];
        for percent in ["0", "10", "20", "30", "40", "50", "60", "70", "80", "90", "100"] {
            expected.push(format!("sending: {percent} % of 100.00 MiB, photos/a\u{fffd}\u{fffd}[2J.jpg"));
        }
        assert_eq!(told, expected);

        let mut lines = Lines { doing: "receiving", phase: None, tenths: None };
        let line = "receiving: 100 % of 0 B, photos/a\u{fffd}\u{fffd}[2J.jpg";
        assert_eq!(lines.next(&status(Phase::Moving, 0, 0)).unwrap(), line);
        assert_eq!(lines.next(&status(Phase::Moving, 0, 0)), None);
    }

    /// A terminal that notes what is written to it.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(&format!("{line}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("|")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_says_how_much_and_of_which_file() {
        let paper = Paper::default();
        let meter = Meter::bar("sending", ProgressDrawTarget::term_like(Box::new(paper.clone())));
        meter.at(&status(Phase::Checking, 1024 * 1024, 4 * 1024 * 1024));
        meter.at(&status(Phase::Moving, 3 * 1024 * 1024, 4 * 1024 * 1024));
        let drawn = paper.0.lock().unwrap().clone();
        let checking = drawn.find("checking photos/a\u{fffd}\u{fffd}[2J.jpg").unwrap();
        let moving = drawn.rfind(" photos/a\u{fffd}\u{fffd}[2J.jpg").unwrap();
        assert!(checking < moving, "{drawn:?}");
        assert!(drawn.contains("sending ===============>     "), "{drawn:?}");
        assert!(drawn.contains(" 3.00 MiB/4.00 MiB "), "{drawn:?}");
        assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
        drop(meter);
        let last = paper.0.lock().unwrap().clone();
        assert!(last.ends_with('|'), "a bar that is over is taken away: {last:?}");
    }
}
