//! Words for a shell, in the commands that the program and the relay's page show to be copied.

/// A text as one word: as it stands if it may, else in quotes, for it may hold what a shell takes for its own. A host may.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.:_-+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_whatever_it_holds() {
        for (text, expected) in [
            ("https://connecto.id:8080/relay/", "https://connecto.id:8080/relay/"),
            ("./target/debug/connectoid", "./target/debug/connectoid"),
            ("sqlite://my relay.db", "'sqlite://my relay.db'"),
            ("a'$(id)", r"'a'\''$(id)'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
