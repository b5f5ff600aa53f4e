//! What a path in a listing may be, what a whole listing may be, and the names that a receiver gives by itself.
//!
//! Whoever sends chooses the paths: everything here is what keeps them below one folder.

use sha2::{Digest as _, Sha256};

use super::{FilesError, wire::Entry};
use crate::protocol::base64url;

/// A listing has at most so many files and folders,
pub(super) const MOST_ENTRIES: usize = 1_000_000;

/// so many bytes of paths, 64 MiB,
pub(super) const MOST_PATH_BYTES: usize = 64 * 1024 * 1024;

/// and so many bytes of content: what a browser can count, 2^53 - 1.
pub(super) const MOST_BYTES: u64 = (1 << 53) - 1;

/// The longest path in bytes, and the deepest.
const LONGEST_PATH: usize = 4096;
const DEEPEST: usize = 256;

/// The longest name in bytes: what most file systems take.
const LONGEST_NAME: usize = 255;

/// The last time that everybody can say, in milliseconds: the year 9999. And the first, as far before 1970.
const LAST_TIME: i64 = 253_402_300_799_999;

/// Whether this is a time for a file, in milliseconds.
pub(super) fn is_time(mtime: i64) -> bool {
    (-LAST_TIME..=LAST_TIME).contains(&mtime)
}

/// What ends the names of files that are not complete yet.
const PART: &str = ".connectoid-part";

/// What is wrong with a path, as words that follow it.
pub(super) fn wrong_with(path: &str) -> Option<&'static str> {
    if path.len() > LONGEST_PATH {
        return Some("is longer than 4096 bytes");
    }
    if path.starts_with('/') {
        return Some("does not begin at the folder");
    }
    if path.split('/').count() > DEEPEST {
        return Some("is more than 256 folders deep");
    }
    path.split('/').find_map(wrong_with_name)
}

fn wrong_with_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("has an empty name in it"),
        "." | ".." => Some("has . or .. in it"),
        _ if name.len() > LONGEST_NAME => Some("has a name of more than 255 bytes in it"),
        _ if name.chars().any(char::is_control) => Some("has a control character in it"),
        _ if name.contains('\\') => Some("has a backslash in it"),
        _ if is_part(name) => Some("is named like an unfinished file of a transfer"),
        _ => None,
    }
}

/// Whether a name is one of those that [`part_name`] gives; also on file systems to which upper and lower case are one.
pub(super) fn is_part(name: &str) -> bool {
    name.starts_with('.') && name.to_ascii_lowercase().contains(PART)
}

/// The hidden name under which a file is written until it is complete. Others than the first are for when that one is in use.
pub(super) fn part_name(name: &str, slot: usize) -> String {
    let slot = if slot == 1 { String::new() } else { format!("-{slot}") };
    let part = format!(".{name}{PART}{slot}");
    if part.len() <= LONGEST_NAME {
        return part;
    }
    format!(".{}{PART}{slot}", base64url::encode(&Sha256::digest(name)[..15]))
}

/// The name that a file gets if all before it are taken: `name.ext`, `name (2).ext`, `name (3).ext`.
pub(super) fn numbered(name: &str, number: usize) -> String {
    if number == 1 {
        return name.to_owned();
    }
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let number = format!(" ({number})");
    // A name that becomes too long loses the end of its stem, or where there is none to lose its extension.
    let room = LONGEST_NAME.saturating_sub(number.len() + extension.len());
    if room == 0 {
        cut(name, LONGEST_NAME - number.len()) + &number
    } else {
        cut(stem, room) + &number + extension
    }
}

fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// A path in two: the folder it is in, empty if it is none, and the name.
pub(super) fn folder_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A file or folder that is to come.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) path: String,
    /// `None`: a folder.
    pub(super) file: Option<ListedFile>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ListedFile {
    pub(super) size: u64,
    /// Unix time in milliseconds.
    pub(super) mtime: Option<i64>,
    pub(super) exec: bool,
}

/// A listing: each of its paths is fit to be written below a folder, and no two get into each other's way.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Listed>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    path_bytes: usize,
}

impl Listing {
    /// Takes an entry as the sender says it.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), FilesError> {
        let Entry { path, dir, size, mtime, exec } = entry;
        self.path_bytes += path.len();
        if self.entries.len() == MOST_ENTRIES || self.path_bytes > MOST_PATH_BYTES {
            return Err(FilesError::TooMany);
        }
        if let Some(wrong) = wrong_with(&path) {
            return Err(FilesError::Misbehaves(format!("the path {path:?} {wrong}")));
        }
        let misbehaves = |what| Err(FilesError::Misbehaves(format!("{path:?} {what}")));
        let file = match (dir, size) {
            (true, None) => None,
            (false, Some(size)) => Some(ListedFile { size, mtime, exec }),
            _ => return misbehaves("is neither a file nor a folder"),
        };
        if !mtime.is_none_or(is_time) {
            return misbehaves("has a time that is none");
        }
        if let Some(file) = file {
            self.files += 1;
            self.bytes = match self.bytes.checked_add(file.size) {
                Some(bytes) if bytes <= MOST_BYTES => bytes,
                _ => return misbehaves("makes it more bytes than can be counted"),
            };
        }
        self.entries.push(Listed { path, file });
        Ok(())
    }

    /// Looks at the listing as a whole: no path twice, and nothing below a file.
    pub(super) fn check(&self) -> Result<(), FilesError> {
        // With `/` before every other byte, what is below a path comes right after it.
        fn key(entry: &Listed) -> impl Iterator<Item = u8> {
            entry.path.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
        }
        let mut sorted: Vec<&Listed> = self.entries.iter().collect();
        sorted.sort_unstable_by(|one, other| key(one).cmp(key(other)));
        for pair in sorted.windows(2) {
            let [one, other] = pair else { continue };
            if one.path == other.path {
                return Err(FilesError::Misbehaves(format!("it lists {:?} twice", one.path)));
            }
            let below = other.path.strip_prefix(&one.path).is_some_and(|rest| rest.starts_with('/'));
            if one.file.is_some() && below {
                return Err(FilesError::Misbehaves(format!(
                    "it lists {:?} as a file and a folder",
                    one.path
                )));
            }
        }
        Ok(())
    }

    /// The names at the top, each once, in the order in which they come.
    pub(super) fn top(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let tops = self.entries.iter().map(|entry| entry.path.split('/').next().unwrap_or_default());
        tops.filter(|top| seen.insert(*top)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size: Option<u64>) -> Entry {
        Entry { path: path.to_owned(), dir: size.is_none(), size, mtime: None, exec: false }
    }

    fn list<'a>(entries: impl IntoIterator<Item = (&'a str, Option<u64>)>) -> Result<Listing, FilesError> {
        let mut listing = Listing::default();
        entries.into_iter().try_for_each(|(path, size)| listing.add(entry(path, size)))?;
        listing.check()?;
        Ok(listing)
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for (path, wrong) in [
            ("/etc/passwd", "does not begin at the folder"),
            ("/", "does not begin at the folder"),
            ("", "has an empty name in it"),
            ("a//b", "has an empty name in it"),
            ("a/", "has an empty name in it"),
            ("..", "has . or .. in it"),
            (".", "has . or .. in it"),
            ("a/../../b", "has . or .. in it"),
            ("a/./b", "has . or .. in it"),
            ("a\0b", "has a control character in it"),
            ("a\nb", "has a control character in it"),
            ("a\u{1b}[2Jb", "has a control character in it"),
            ("a\u{9b}2Jb", "has a control character in it"),
            ("..\\b", "has a backslash in it"),
            (".a.connectoid-part", "is named like an unfinished file of a transfer"),
            ("b/.a.Connectoid-Part-2", "is named like an unfinished file of a transfer"),
            (&"a".repeat(256), "has a name of more than 255 bytes in it"),
            (&"a/".repeat(2049), "is longer than 4096 bytes"),
            (&["a"; 257].join("/"), "is more than 256 folders deep"),
        ] {
            assert_eq!(wrong_with(path), Some(wrong), "{path:?}");
            let refused = list([(path, Some(1))]).unwrap_err().to_string();
            let text = format!("the other side does not keep to the protocol: the path {path:?} {wrong}");
            assert_eq!(refused, text);
        }
        for path in [
            "a",
            "...",
            ".bashrc",
            "a/ b/ä.jpg",
            "-rf",
            "connectoid-part",
            &"ä".repeat(127),
            &["a"; 256].join("/"),
        ] {
            assert_eq!(wrong_with(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_listing_that_contradicts_itself_is_refused() {
        let (file, folder) = (Some(1), None);
        for (entries, wrong) in [
            (vec![("a", file), ("b", file), ("a", file)], "it lists \"a\" twice"),
            (vec![("a", folder), ("a", file)], "it lists \"a\" twice"),
            (vec![("a", folder), ("a", folder)], "it lists \"a\" twice"),
            (vec![("a/b", file), ("a!", file), ("a", file)], "it lists \"a\" as a file and a folder"),
            (vec![("a", file), ("a b", file), ("a/b/c/d", folder)], "it lists \"a\" as a file and a folder"),
            (vec![("a", Some(1 << 53))], "\"a\" makes it more bytes than can be counted"),
            (vec![("a", Some((1 << 53) - 1)), ("b", file)], "\"b\" makes it more bytes than can be counted"),
            (vec![("a", Some(1)), ("b", Some(u64::MAX))], "\"b\" makes it more bytes than can be counted"),
        ] {
            let refused = list(entries).unwrap_err().to_string();
            assert_eq!(refused, format!("the other side does not keep to the protocol: {wrong}"));
        }
        let listing =
            list([("b/a", file), ("b", folder), ("a!", file), ("a/b", Some(2)), ("b/c", folder)]).unwrap();
        assert_eq!((listing.files, listing.bytes), (3, 4));
        assert_eq!(listing.top(), ["b", "a!", "a"]);

        for (broken, wrong) in [
            (Entry { dir: true, ..entry("a", Some(1)) }, "\"a\" is neither a file nor a folder"),
            (Entry { dir: false, ..entry("a", None) }, "\"a\" is neither a file nor a folder"),
            (Entry { mtime: Some(i64::MIN), ..entry("a", Some(1)) }, "\"a\" has a time that is none"),
            (
                Entry { mtime: Some(253_402_300_800_000), ..entry("a", Some(1)) },
                "\"a\" has a time that is none",
            ),
        ] {
            let refused = Listing::default().add(broken).unwrap_err().to_string();
            assert_eq!(refused, format!("the other side does not keep to the protocol: {wrong}"));
        }
    }

    #[test]
    fn a_listing_has_its_bounds() {
        let text = "too much for one transfer, which takes 1,000,000 files and folders and 64 MiB of paths: send it in parts";
        let mut listing = Listing::default();
        for _ in 0..1_000_000 {
            listing.add(entry("a", Some(1))).unwrap();
        }
        assert_eq!(listing.add(entry("a", Some(1))).unwrap_err().to_string(), text);

        let long = ["a".repeat(255).as_str(); 16].join("/");
        let mut listing = Listing::default();
        for _ in 0..64 * 1024 * 1024 / 4095 {
            listing.add(entry(&long, Some(1))).unwrap();
        }
        assert_eq!(listing.add(entry(&long, Some(1))).unwrap_err().to_string(), text);
    }

    #[test]
    fn names_that_are_given() {
        assert_eq!(part_name("a.jpg", 1), ".a.jpg.connectoid-part");
        assert_eq!(part_name("a.jpg", 3), ".a.jpg.connectoid-part-3");
        let long = part_name(&"a".repeat(255), 8);
        assert_eq!(long, ".sPMyPno8rYrmd4NAzCoX.connectoid-part-8");
        assert!(is_part(&long));
        for (name, number, given) in [
            ("a.jpg", 1, "a.jpg"),
            ("a.jpg", 2, "a (2).jpg"),
            ("a.tar.gz", 3, "a.tar (3).gz"),
            ("Makefile", 2, "Makefile (2)"),
            (".bashrc", 2, ".bashrc (2)"),
            ("a.", 2, "a (2)."),
        ] {
            assert_eq!(numbered(name, number), given);
        }
        let long = numbered(&format!("{}.jpg", "ä".repeat(125)), 1000);
        assert_eq!(long, format!("{} (1000).jpg", "ä".repeat(122)));
        let extension = format!("a.{}", "b".repeat(253));
        assert_eq!(numbered(&extension, 2), format!("a.{} (2)", "b".repeat(249)));
    }
}
