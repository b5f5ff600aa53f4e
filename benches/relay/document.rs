//! docs/performance.md: the part that a run writes stands between two markers, the rest is a person's.

use std::{fs, path::Path};

use crate::Outcome;

/// Puts `text` between the markers of this part of a document.
///
/// # Errors
/// If the document has no such part.
pub(crate) fn write_part(document: &Path, part: &str, text: &str) -> Outcome<()> {
    let (start, end) = (format!("<!-- scripts/bench: {part} -->\n"), format!("<!-- end of {part} -->\n"));
    let old = fs::read_to_string(document)?;
    let Some((before, rest)) = old.split_once(&start) else {
        return Err(format!("{} has no line {}", document.display(), start.trim_end()).into());
    };
    let Some((_, after)) = rest.split_once(&end) else {
        return Err(format!("{} has no line {}", document.display(), end.trim_end()).into());
    };
    Ok(fs::write(document, [before, &start, "\n", text.trim(), "\n\n", &end, after].concat())?)
}
