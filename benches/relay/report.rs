//! What was measured, as lines with what must be and what is the goal; for the terminal and for docs/performance.md.

use crate::figures::number;

/// What most rows are compared with: the server in `constant`.
pub(crate) const CONSTANT: &str = "a constant";

/// What is to be reached.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) must: f64,
    pub(crate) goal: f64,
    /// Whether more is better, as with rates; else less is, as with times.
    pub(crate) more: bool,
}

impl Mark {
    pub(crate) const fn at_least(must: f64, goal: f64) -> Self {
        Self { must, goal, more: true }
    }

    pub(crate) const fn at_most(must: f64, goal: f64) -> Self {
        Self { must, goal, more: false }
    }

    fn verdict(self, value: f64) -> &'static str {
        let reaches = |mark| if self.more { value >= mark } else { value <= mark };
        match (reaches(self.must), reaches(self.goal)) {
            (_, true) => "goal",
            (true, false) => "must",
            (false, false) => "missed",
        }
    }
}

/// One line of the table.
pub(crate) struct Line {
    /// What the relay did.
    pub(crate) part: &'static str,
    /// What that is compared with.
    pub(crate) against: &'static str,
    pub(crate) value: f64,
    /// Empty for a ratio.
    pub(crate) unit: &'static str,
    pub(crate) mark: Mark,
    /// The absolute figures behind it.
    pub(crate) figures: String,
    /// Whether other processes had a part in it that makes it worthless.
    pub(crate) disturbed: bool,
}

impl Line {
    /// How it compares with what must be: 1 just reaches it, more is better.
    pub(crate) fn score(&self) -> f64 {
        if self.mark.more { self.value / self.mark.must } else { self.mark.must / self.value }
    }

    /// The same of the goal.
    pub(crate) fn goal(&self) -> f64 {
        if self.mark.more { self.mark.goal / self.mark.must } else { self.mark.must / self.mark.goal }
    }

    pub(crate) fn verdict(&self) -> &'static str {
        self.mark.verdict(self.value)
    }

    fn with_unit(&self, value: f64) -> String {
        if self.unit.is_empty() { number(value) } else { format!("{} {}", number(value), self.unit) }
    }

    /// The figure with its unit.
    pub(crate) fn measured(&self) -> String {
        self.with_unit(self.value)
    }
}

/// What a row found out.
pub(crate) struct Found {
    pub(crate) lines: Vec<Line>,
    /// More about it, in Markdown.
    pub(crate) text: String,
}

impl Found {
    pub(crate) fn line(line: Line) -> Self {
        Self { lines: vec![line], text: String::new() }
    }
}

/// The lines as a table in Markdown, which is as good to read on a terminal.
pub(crate) fn table(lines: &[&Line]) -> String {
    let head = ["what", "against", "measured", "must", "goal", "reached", "figures"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        let sign = if line.mark.more { "≥" } else { "≤" };
        [
            line.part.to_owned(),
            line.against.to_owned(),
            format!("**{}**", line.measured()),
            format!("{sign} {}", line.with_unit(line.mark.must)),
            format!("{sign} {}", line.with_unit(line.mark.goal)),
            line.verdict().to_owned(),
            line.figures.clone(),
        ]
    });
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Rows as a table, the first of them its head.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text += &format!("| {cell:width$} ");
        }
        text.push_str("|\n");
        if n == 0 {
            text.push_str(&"|---".repeat(row.len()));
            text.push_str("|\n");
        }
    }
    text
}
