//! Pages with values put in. Everything that is put in is escaped; there is no way around it.

/// A row of a list: its heading, and what is said about it.
pub(super) type Row = (&'static str, String);

/// What may stand in a page for a `{{name}}`.
pub(super) enum Value<'a> {
    /// Text, also within a quoted attribute.
    Text(&'a str),
    /// The rows of a list.
    Rows(&'a [Row]),
    /// Whether what follows stands there at all, up to `{{/name}}`.
    Part(bool),
}

/// The page with each `{{name}}` replaced by its value. What was put in is not looked at again.
pub(super) fn fill(template: &str, values: &[(&str, Value<'_>)]) -> String {
    let mut page = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, name, after)) = next_name(rest) {
        page.push_str(before);
        match values.iter().find(|(known, _)| *known == name) {
            Some((_, Value::Text(text))) => escape(text, &mut page),
            Some((_, Value::Rows(rows))) => rows.iter().for_each(|row| write_row(row, &mut page)),
            Some((_, Value::Part(false))) => {
                rest = after.split_once(&format!("{{{{/{name}}}}}")).map_or("", |(_, after)| after);
                continue;
            }
            Some((_, Value::Part(true))) | None => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}

fn write_row((label, text): &Row, page: &mut String) {
    page.push_str("<div><dt>");
    escape(label, page);
    page.push_str("</dt><dd>");
    escape(text, page);
    page.push_str("</dd></div>\n");
}

/// What HTML takes for markup, in text and in quoted attributes, as character references.
fn escape(text: &str, page: &mut String) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_not_looked_at_again() {
        let rows = [("<b>", "{{url}} & co".to_owned())];
        let page = fill(
            "<a href=\"{{url}}\">{{url}}</a>{{rows}}{{unknown}}.",
            &[("url", Value::Text("\"<'&>{{rows}}")), ("rows", Value::Rows(&rows))],
        );
        assert_eq!(
            page,
            "<a href=\"&quot;&lt;&#39;&amp;&gt;{{rows}}\">&quot;&lt;&#39;&amp;&gt;{{rows}}</a>\
             <div><dt>&lt;b&gt;</dt><dd>{{url}} &amp; co</dd></div>\n."
        );
    }

    #[test]
    fn a_part_stands_there_or_does_not() {
        let page = |there| {
            let values = [("part", Value::Part(there)), ("x", Value::Text("X"))];
            fill("a{{part}}b{{x}}{{/part}}c{{x}}", &values)
        };
        assert_eq!(page(true), "abXcX");
        assert_eq!(page(false), "acX");
    }
}
