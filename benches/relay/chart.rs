//! The table as a picture: for each line how it compares with what must be, which is the line at 1. On a scale of doublings,
//! so that twice as good is as far to the right as half as good is to the left.

use crate::report::Line;

const ROW: f64 = 26.0;
const TOP: f64 = 34.0;
const LABELS: f64 = 250.0;
const PLOT: f64 = 400.0;
const FIGURES: f64 = 90.0;

/// What the scale shows: 2^-DOUBLINGS to 2^DOUBLINGS.
const DOUBLINGS: f64 = 3.0;

/// Readable on white and on black: a page that shows a picture tells it which of them it prefers.
const STYLE: &str = "
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .small { font-size: 11px; fill: #59636e }
    .must { stroke: #1f2328; stroke-width: 1.5 }
    .grid { stroke: #59636e; stroke-width: 0.5; stroke-dasharray: 2 3 }
    .goal { stroke: #1f2328; stroke-width: 2 }
    .reached { fill: #1a7f37 }
    .missed { fill: #cf222e }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      .must, .goal { stroke: #f0f6fc }
      .grid { stroke: #9198a1 }
      .reached { fill: #3fb950 }
      .missed { fill: #f85149 }
    }
  ";

/// Where a score is on the scale.
fn x(score: f64) -> f64 {
    LABELS + PLOT * (score.log2().clamp(-DOUBLINGS, DOUBLINGS) + DOUBLINGS) / (2.0 * DOUBLINGS)
}

/// The chart as SVG.
pub(crate) fn svg(lines: &[&Line]) -> String {
    let (width, height) = (LABELS + PLOT + FIGURES, TOP + ROW * lines.len() as f64 + 24.0);
    let (bottom, one) = (height - 20.0, x(1.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n  \
         <title>Each figure against what it must be</title>\n  <style>{STYLE}</style>\n"
    );
    for doubling in -3..=3_i32 {
        let score = 2_f64.powi(doubling);
        let class = if doubling == 0 { "must" } else { "grid" };
        let label = if doubling == 0 { "must".to_owned() } else { format!("× {score}") };
        let at = x(score);
        svg += &format!(
            "  <line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{y}\" y2=\"{bottom}\"/>\
             <text class=\"small\" x=\"{at:.1}\" y=\"{text}\" text-anchor=\"middle\">{label}</text>\n",
            y = TOP - 8.0,
            text = TOP - 14.0,
        );
    }
    for (n, line) in lines.iter().enumerate() {
        let y = TOP + ROW * n as f64;
        let (end, goal, text) = (x(line.score()), x(line.goal()), y + 14.0);
        let class = if line.verdict() == "missed" { "missed" } else { "reached" };
        let (left, length) = (one.min(end), (one - end).abs().max(1.0));
        svg += &format!(
            "  <text x=\"{x}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\
             <rect class=\"{class}\" x=\"{left:.1}\" y=\"{bar}\" width=\"{length:.1}\" height=\"14\"/>\
             <line class=\"goal\" x1=\"{goal:.1}\" x2=\"{goal:.1}\" y1=\"{y}\" y2=\"{under}\"/>\
             <text x=\"{figures}\" y=\"{text}\">{measured}</text>\n",
            x = LABELS - 8.0,
            bar = y + 3.0,
            under = y + 20.0,
            figures = LABELS + PLOT + 10.0,
            label = escaped(line.part),
            measured = escaped(&line.measured()),
        );
    }
    svg += &format!(
        "  <text class=\"small\" x=\"{LABELS}\" y=\"{y}\">to the right is better; the short stroke is the goal</text>\n</svg>\n",
        y = height - 4.0,
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
