//! Whole transfers between two folders, cut anywhere; and each side against another that breaks the rules.

use std::{
    collections::BTreeMap,
    fs,
    future::ready,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::{TempDir, tempdir};
use tokio::{join, select};

use super::*;
use crate::{
    protocol::base64url,
    tools::flow::{PIECE, WINDOW},
    webrtc::{Channel, Message},
};

// --- Whole transfers ---

#[tokio::test(flavor = "current_thread")]
async fn a_tree_arrives_as_it_is() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = [
        ("photos/2024/a.jpg", noise(3 * PIECE + 1, 1)),
        ("photos/ä ö.txt", b"text".to_vec()),
        ("photos/none", Vec::new()),
        ("photos/run.sh", b"#!/bin/sh".to_vec()),
        ("single.bin", noise(2 * WINDOW as usize + 5, 2)),
    ];
    write(&here, &tree);
    fs::create_dir_all(here.path().join("photos/empty/deep")).unwrap();
    symlink("/etc/passwd", here.path().join("photos/link")).unwrap();
    symlink("single.bin", here.path().join("named")).unwrap();
    fs::write(here.path().join("photos/.a.connectoid-part"), "left by another transfer").unwrap();
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(here.path().join("photos/run.sh"), mode(0o4755)).unwrap();
    let time = UNIX_EPOCH + Duration::from_millis(1_234_567_890_123);
    let old = fs::File::options().write(true).open(here.path().join("photos/none")).unwrap();
    old.set_modified(time).unwrap();
    let before = UNIX_EPOCH - Duration::from_micros(1_000_400);
    let older = fs::File::options().write(true).open(here.path().join("photos/run.sh")).unwrap();
    older.set_modified(before).unwrap();

    let plan = scan(&["photos", "single.bin", "named"].map(|name| here.path().join(name))).unwrap();
    let skipped = |name: &str, why| Skipped { path: here.path().canonicalize().unwrap().join(name), why };
    assert_eq!(
        plan.skipped,
        [
            skipped("photos/.a.connectoid-part", "an unfinished file of a transfer"),
            skipped("photos/link", "a symbolic link"),
        ]
    );
    let bytes = 2 * (2 * 4 * 1024 * 1024 + 5) + (3 * 64 * 1024 + 1) + 4 + 9;
    assert_eq!((plan.files, plan.bytes), (6, bytes));

    let (sent, received) = transfer(&plan, &there).await;
    assert_eq!(sent.unwrap(), Sent { files: 6, bytes, already: 0, skipped: 0, unsent: vec![] });
    assert_eq!(received.unwrap(), Received { files: 6, bytes, ..Received::default() });
    let mut expected: BTreeMap<_, _> =
        tree.iter().map(|(path, data)| ((*path).to_owned(), data.clone())).collect();
    expected.insert("named".to_owned(), expected["single.bin"].clone());
    expected.insert("photos/empty/deep/".to_owned(), Vec::new());
    assert_eq!(read(&there), expected);
    let metadata = |name: &str| fs::metadata(there.path().join(name)).unwrap();
    assert_eq!(metadata("photos/none").modified().unwrap(), time);
    assert_eq!(metadata("photos/run.sh").modified().unwrap(), UNIX_EPOCH - Duration::from_millis(1001));
    let readable = metadata("photos/none").permissions().mode() & 0o777;
    assert_eq!(readable & 0o111, 0);
    let run = metadata("photos/run.sh").permissions().mode() & 0o7777;
    assert_eq!(run, readable | (readable & 0o444) >> 2, "whoever may read it may run it, as themselves");

    // Once more: nothing needs to be sent.
    let (moved, sent, received) = transfer_at_most(&plan, &there, usize::MAX).await;
    assert_eq!(moved, 0);
    assert_eq!(sent.unwrap(), Sent { files: 6, bytes, already: 6, skipped: bytes, unsent: vec![] });
    assert_eq!(
        received.unwrap(),
        Received { files: 6, bytes, already: 6, skipped: bytes, ..Received::default() }
    );
    assert_eq!(read(&there), expected);
}

#[tokio::test(flavor = "current_thread")]
async fn cut_after_any_message_it_goes_on_and_nothing_is_sent_twice() {
    let here = tempdir().unwrap();
    let tree = [
        ("d/a", noise(2 * PIECE + 100, 1)),
        ("d/b", Vec::new()),
        ("d/c/d", noise(10, 2)),
        ("d/taken", noise(PIECE + 1, 3)),
        ("d/z", noise(PIECE, 4)),
    ];
    write(&here, &tree);
    fs::create_dir(here.path().join("d/empty")).unwrap();
    let plan = scan(&[here.path().join("d")]).unwrap();
    let mut expected: BTreeMap<_, _> =
        tree.iter().map(|(path, data)| ((*path).to_owned(), data.clone())).collect();
    expected.insert("d/empty/".to_owned(), Vec::new());
    expected.insert("d/taken (2)".to_owned(), expected["d/taken"].clone());
    expected.insert("d/taken".to_owned(), b"mine".to_vec());

    let mut cut = 0;
    loop {
        let there = tempdir().unwrap();
        write(&there, &[("d/taken", b"mine".to_vec())]);
        let (moved, sent, received) = transfer_at_most(&plan, &there, cut).await;
        if sent.is_ok() {
            received.unwrap();
            break;
        }
        let text =
            "the connection ended before all was there: connect again, and it goes on from where it was";
        assert_eq!(sent.unwrap_err().to_string(), text);
        // It may be that only the last words did not arrive.
        if let Err(error) = received {
            assert_eq!(error.to_string(), text);
        }
        let (rest, sent, received) = transfer_at_most(&plan, &there, usize::MAX).await;
        assert_eq!(moved + rest, plan.bytes, "cut after {cut} messages");
        assert_eq!((sent.unwrap().skipped, received.unwrap().skipped), (moved, moved));
        assert_eq!(read(&there), expected, "cut after {cut} messages");
        cut += 1;
    }
    // list, listed, go, a have; file, data, end, kept for each; done.
    assert!(cut > 20, "it took {cut} messages");
    // Cut again and again, it comes to its end.
    let there = tempdir().unwrap();
    write(&there, &[("d/taken", b"mine".to_vec())]);
    let mut moved = 0;
    for _ in 0..tree.len() + 3 {
        let (more, sent, _) = transfer_at_most(&plan, &there, 10).await;
        moved += more;
        if sent.is_ok() {
            break;
        }
    }
    let (more, sent, _) = transfer_at_most(&plan, &there, usize::MAX).await;
    sent.unwrap();
    assert_eq!(moved + more, plan.bytes);
    assert_eq!(read(&there), expected);
}

#[tokio::test(flavor = "current_thread")]
async fn a_part_of_any_length_is_gone_on_with_if_it_agrees() {
    let here = tempdir().unwrap();
    let data = noise(3 * PIECE, 1);
    write(&here, &[("a.bin", data.clone())]);
    let plan = scan(&[here.path().join("a.bin")]).unwrap();
    let length = data.len();
    for kept in [0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, length - 1, length] {
        let there = tempdir().unwrap();
        fs::write(there.path().join(".a.bin.connectoid-part"), &data[..kept]).unwrap();
        let (moved, sent, received) = transfer_at_most(&plan, &there, usize::MAX).await;
        assert_eq!(moved, (length - kept) as u64);
        assert_eq!((sent.unwrap().skipped, received.unwrap().skipped), (kept as u64, kept as u64));
        assert_eq!(read(&there), [("a.bin".to_owned(), data.clone())].into());
    }
    let mut wrong = data.clone();
    wrong[PIECE] ^= 1;
    wrong.extend(b"and longer");
    for kept in [PIECE + 1, length, length + 10] {
        let there = tempdir().unwrap();
        fs::write(there.path().join(".a.bin.connectoid-part"), &wrong[..kept]).unwrap();
        let (moved, sent, received) = transfer_at_most(&plan, &there, usize::MAX).await;
        assert_eq!(moved, length as u64, "it begins anew");
        assert_eq!((sent.unwrap().skipped, received.unwrap().skipped), (0, 0));
        assert_eq!(read(&there), [("a.bin".to_owned(), data.clone())].into());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_is_replaced() {
    let there = tempdir().unwrap();
    let (one, two, three) = (b"one".to_vec(), b"two".to_vec(), b"three".to_vec());
    for (content, at, already) in [
        (&one, "a.txt", 0),
        (&two, "a (2).txt", 0),
        (&three, "a (3).txt", 0),
        // Once they are there under any number, they are not sent again.
        (&one, "a.txt", 1),
        (&two, "a (2).txt", 1),
        (&three, "a (3).txt", 1),
    ] {
        let here = tempdir().unwrap();
        write(&here, &[("a.txt", content.clone())]);
        let plan = scan(&[here.path().join("a.txt")]).unwrap();
        let (sent, received) = transfer(&plan, &there).await;
        assert_eq!(sent.unwrap().already, already);
        let received = received.unwrap();
        assert_eq!(received.already, already);
        let renamed =
            if already == 0 && at != "a.txt" { vec![("a.txt".to_owned(), at.to_owned())] } else { vec![] };
        assert_eq!(received.renamed, renamed);
        assert_eq!(fs::read(there.path().join(at)).unwrap(), *content);
    }
    let all = [("a.txt", one), ("a (2).txt", two), ("a (3).txt", three)];
    assert_eq!(read(&there), all.map(|(name, content)| (name.to_owned(), content)).into());

    // Neither is a folder by a file.
    fs::create_dir(there.path().join("b")).unwrap();
    let here = tempdir().unwrap();
    write(&here, &[("b", b"file".to_vec())]);
    let (_, received) = transfer(&scan(&[here.path().join("b")]).unwrap(), &there).await;
    assert_eq!(received.unwrap().renamed, [("b".to_owned(), "b (2)".to_owned())]);
    // A file in the place of a folder is the one case in which a person has to decide.
    let here = tempdir().unwrap();
    write(&here, &[("a.txt/below", b"file".to_vec())]);
    let (sent, received) = transfer(&scan(&[here.path().join("a.txt")]).unwrap(), &there).await;
    let text = "\"a.txt\" is not a folder here: move it away, or receive into another folder";
    assert_eq!(received.unwrap_err().to_string(), text);
    let text = "the other side refused: \"a.txt\" is there, and is not a folder";
    assert_eq!(sent.unwrap_err().to_string(), text);
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_changed_is_told_and_not_kept() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let names = ["d/1 longer", "d/2 shorter", "d/3 other", "d/4 gone", "d/5 link", "d/6 same", "d/7 fifo"];
    write(&here, &names.map(|name| (name, b"before".to_vec())));
    let plan = scan(&[here.path().join("d")]).unwrap();
    let at = |name: &str| here.path().join(name);
    fs::write(at(names[0]), "before and after").unwrap();
    fs::write(at(names[1]), "b").unwrap();
    fs::write(at(names[2]), "behind").unwrap();
    fs::File::options().write(true).open(at(names[2])).unwrap().set_modified(UNIX_EPOCH).unwrap();
    for name in [names[3], names[4], names[6]] {
        fs::remove_file(at(name)).unwrap();
    }
    symlink(names[5], at(names[4])).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at(names[6]), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

    let (sent, received) = transfer(&plan, &there).await;
    let sent = sent.unwrap();
    let unsent = |name: &str, why: &str| Unsent {
        path: at(name).canonicalize().unwrap_or(at(name)),
        why: why.to_owned(),
    };
    let changed = "it changed while it was sent";
    let root = here.path().canonicalize().unwrap();
    assert_eq!(
        sent.unsent,
        [
            unsent(names[0], changed),
            unsent(names[1], changed),
            unsent(names[2], changed),
            Unsent { path: root.join(names[3]), why: "No such file or directory (os error 2)".to_owned() },
            Unsent {
                path: root.join(names[4]),
                why: "Too many levels of symbolic links (os error 40)".to_owned()
            },
            unsent(names[6], changed),
        ]
    );
    assert_eq!((sent.files, sent.bytes), (1, 6));
    let received = received.unwrap();
    let missing = [names[0], names[1], names[2], names[3], names[4], names[6]];
    assert_eq!(received.changed, missing);
    assert_eq!((received.files, received.bytes), (1, 6));
    assert_eq!(read(&there), [(names[5].to_owned(), b"before".to_vec())].into());
}

#[tokio::test(flavor = "current_thread")]
async fn a_person_may_decline() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    write(&here, &[("d/a", b"12".to_vec()), ("d/b", b"345".to_vec()), ("e", Vec::new())]);
    let plan = scan(&["d", "e"].map(|name| here.path().join(name))).unwrap();
    let (one, other) = Channel::pair(LABEL);
    let asked = Mutex::new(None);
    let accept = |offer| {
        *asked.lock().unwrap() = Some(offer);
        ready(false)
    };
    let (sent, received) = join!(send(&plan, one, &Quiet), receive(there.path(), other, accept, &Quiet));
    let offer = Offer { files: 3, bytes: 5, names: vec!["d".to_owned(), "e".to_owned()] };
    assert_eq!(asked.into_inner().unwrap(), Some(offer));
    assert_eq!(sent.unwrap_err().to_string(), "the other side refused: it does not want it");
    assert_eq!(received.unwrap_err().to_string(), "declined: nothing was written");
    assert_eq!(read(&there), BTreeMap::new());
}

#[tokio::test(flavor = "current_thread")]
async fn both_sides_know_how_far_it_is() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let data = noise(2 * PIECE, 1);
    write(&here, &[("a", data.clone()), ("b", b"12".to_vec())]);
    fs::write(there.path().join(".a.connectoid-part"), &data[..PIECE]).unwrap();
    let plan = scan(&["a", "b"].map(|name| here.path().join(name))).unwrap();
    let (one, other) = Channel::pair(LABEL);
    let (of_sender, of_receiver) = (Noted::default(), Noted::default());
    let accept = |_| ready(true);
    let (sent, received) =
        join!(send(&plan, one, &of_sender), receive(there.path(), other, accept, &of_receiver));
    sent.unwrap();
    received.unwrap();
    let noted = of_sender.0.into_inner().unwrap();
    let line = |line: &str| line.to_owned();
    assert_eq!(
        noted,
        [
            line("Checking a 65536/131074 skipped 0"),
            line("Moving a 65536/131074 skipped 65536"),
            line("Moving a 131072/131074 skipped 65536"),
            line("Moving b 131072/131074 skipped 65536"),
            line("Moving b 131074/131074 skipped 65536"),
        ]
    );
    let noted = of_receiver.0.into_inner().unwrap();
    assert_eq!(noted.first().unwrap(), "Checking a 65536/65536 skipped 0");
    assert!(noted.contains(&line("Moving a 65536/131074 skipped 65536")), "{noted:?}");
    assert!(noted.contains(&line("Moving b 131074/131074 skipped 65536")), "{noted:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_conversation_is_the_one_in_the_document() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let data = noise(70_000, 1);
    write(&here, &[("photos/a.jpg", data.clone()), ("photos/run.sh", b"#!/bin/sh".to_vec())]);
    fs::create_dir(here.path().join("photos/empty")).unwrap();
    fs::set_permissions(here.path().join("photos/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, time) in [("a.jpg", 1_700_000_000_123), ("run.sh", 1_700_000_000_456)] {
        let file = fs::File::options().write(true).open(here.path().join("photos").join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(time)).unwrap();
    }
    write(&there, &[("photos/.a.jpg.connectoid-part", data[..65536].to_vec())]);
    let plan = scan(&[here.path().join("photos")]).unwrap();
    let (one, mut near) = Channel::pair(LABEL);
    let (mut far, other) = Channel::pair(LABEL);
    let carrying = async move {
        let (mut of_sender, mut of_receiver) = (Vec::new(), Vec::new());
        loop {
            let (message, said, to) = select! {
                message = near.next() => (message, &mut of_sender, &far),
                message = far.next() => (message, &mut of_receiver, &near),
            };
            let Some(message) = message else { break };
            if let Message::Text(text) = &message {
                let mut said_now: Value = serde_json::from_str(text).unwrap();
                if let Some(hash) = said_now.get_mut("sha256") {
                    assert_eq!(hash.as_str().unwrap().len(), 43);
                    *hash = "…".into();
                }
                said.push(said_now);
            }
            if to.send(message).await.is_err() {
                break;
            }
        }
        (of_sender, of_receiver)
    };
    let receiving = receive(there.path(), other, |_| ready(true), &Quiet);
    let (said, sent, received) = join!(carrying, send(&plan, one, &Quiet), receiving);
    sent.unwrap();
    received.unwrap();

    let document = include_str!("../../../docs/tools.md");
    let example = document.split_once("## Files").unwrap().1.split("```").nth(1).unwrap();
    let messages = example.match_indices("{\"t\"").map(|(at, _)| {
        let mut read = serde_json::Deserializer::from_str(&example[at..]).into_iter::<Value>();
        read.next().unwrap().unwrap()
    });
    let of_sender = |said: &Value| ["list", "listed", "file", "end"].iter().any(|t| said["t"] == *t);
    let written: (Vec<Value>, Vec<Value>) = messages.partition(of_sender);
    assert_eq!(said, written);
}

// --- What is not sent ---

#[test]
fn what_cannot_be_sent_is_an_error_before_anything_is_sent() {
    let here = tempdir().unwrap();
    let root = here.path().canonicalize().unwrap();
    let bad = PathBuf::from(std::ffi::OsStr::from_bytes(b"d/\xff"));
    fs::create_dir_all(root.join("d")).unwrap();
    for (path, top, why) in [
        (bad.as_path(), "d", "its name is not UTF-8: rename it to send it"),
        (Path::new("d/a\nb"), "d", "the path has a control character in it: rename it to send it"),
        (Path::new("d/a\\b"), "d", "the path has a backslash in it: rename it to send it"),
        (
            Path::new(".a.connectoid-part"),
            ".a.connectoid-part",
            "the path is named like an unfinished file of a transfer: rename it to send it",
        ),
    ] {
        fs::write(root.join(path), "x").unwrap();
        let refused = scan(&[root.join(top)]).unwrap_err().to_string();
        assert_eq!(refused, format!("{}: {why}", root.join(path).display()));
        fs::remove_file(root.join(path)).unwrap();
    }
    let missing = root.join("missing");
    let refused = scan(std::slice::from_ref(&missing)).unwrap_err().to_string();
    assert_eq!(refused, format!("{}: No such file or directory (os error 2)", missing.display()));
    fs::create_dir(root.join("d/d")).unwrap();
    let twice = [root.join("d"), root.join("d/d")];
    let refused = scan(&twice).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("{}: there are two named \"d\": send one after the other", twice[1].display())
    );
    assert_eq!(
        scan(&["/dev/null".into()]).unwrap_err().to_string(),
        "/dev/null: neither a file nor a folder"
    );
    assert_eq!(scan(&["/".into()]).unwrap_err().to_string(), "/: name the folders in it");
    // The folder in which one is has a name.
    assert_eq!(scan(&[root.join("d/d/..")]).unwrap().files, 0);
}

// --- A sender that breaks the rules ---

#[tokio::test(flavor = "current_thread")]
async fn a_sender_that_breaks_the_rules_is_told_so() {
    let hash = |data: &[u8]| base64url::encode(Sha256::digest(data));
    let list = |entries: Value| text(json!({"t": "list", "v": 1, "entries": entries}));
    let two =
        || list(json!([{"path": "a", "size": 2}, {"path": "d", "dir": true}, {"path": "b", "size": 2}]));
    let listed = |files, bytes| text(json!({"t": "listed", "files": files, "bytes": bytes}));
    let file = |file: u64, from: u64| text(json!({"t": "file", "file": file, "from": from}));
    let end = |file: u64, sha256: String| text(json!({"t": "end", "file": file, "sha256": sha256}));
    let changed = |file: u64| text(json!({"t": "changed", "file": file}));
    let data = |data: &[u8]| Message::Binary(data.to_vec());
    for (said, wrong) in [
        (vec![list(json!([{"path": "../a", "size": 1}]))], "the path \"../a\" has . or .. in it"),
        (
            vec![
                list(json!([{"path": "a", "size": 1}])),
                list(json!([{"path": "a/b", "size": 1}])),
                listed(2, 2),
            ],
            "it lists \"a\" as a file and a folder",
        ),
        (vec![two(), listed(2, 5)], "it lists other files than it says"),
        (vec![two(), listed(3, 4)], "it lists other files than it says"),
        (
            vec![text(json!({"t": "list", "v": 2, "entries": []}))],
            "it speaks version 2, and here is version 1",
        ),
        (vec![data(b"12")], "it sends before it has listed"),
        (vec![two(), file(0, 0)], "it sends before it has listed"),
        (vec![two(), listed(2, 4), two()], "it lists more after it has listed"),
        (vec![two(), listed(2, 4), data(b"12")], "it sends data of no file"),
        (vec![two(), listed(2, 4), file(1, 0)], "it sends a file whose turn it is not"),
        (vec![two(), listed(2, 4), file(2, 0)], "it sends a file whose turn it is not"),
        (vec![two(), listed(2, 4), file(3, 0)], "it sends a file whose turn it is not"),
        (vec![two(), listed(2, 4), changed(2)], "it sends a file whose turn it is not"),
        (vec![two(), listed(2, 4), file(0, 1)], "it goes on from where nothing is"),
        (vec![two(), listed(2, 4), file(0, 2)], "it goes on from where nothing is"),
        (vec![two(), listed(2, 4), file(0, 3)], "it goes on from where nothing is"),
        (vec![two(), listed(2, 4), file(0, 0), file(0, 0)], "it begins a file within another"),
        (vec![two(), listed(2, 4), file(0, 0), data(b"123")], "it sends more of \"a\" than it said"),
        (
            vec![two(), listed(2, 4), file(0, 0), data(b"1"), end(0, hash(b"1"))],
            "it sends less of \"a\" than it said",
        ),
        (
            vec![two(), listed(2, 4), file(0, 0), data(b"12"), end(2, hash(b"12"))],
            "it ends a file that it did not begin",
        ),
        (
            vec![two(), listed(2, 4), file(0, 0), data(b"12"), end(0, hash(b"12")), end(0, hash(b"12"))],
            "it ends a file that it did not begin",
        ),
        (
            vec![two(), listed(2, 4), file(0, 0), data(b"12"), end(0, hash(b"12")), file(0, 0)],
            "it sends a file whose turn it is not",
        ),
        (
            vec![text(json!({"t": "go"}))],
            "it sends what cannot be understood: unknown variant `go`, expected one of `list`, `listed`, `file`, `end`, `changed` at line 1 column 9",
        ),
    ] {
        let there = tempdir().unwrap();
        let (one, other) = Channel::pair(LABEL);
        let telling = tell(one, said.clone());
        let accept = |_| ready(true);
        let (replies, received) = join!(telling, receive(there.path(), other, accept, &Quiet));
        let text = format!("the other side does not keep to the protocol: {wrong}");
        assert_eq!(received.unwrap_err().to_string(), text, "{said:?}");
        let refused = json!({"t": "refused", "why": format!("not by the protocol: {wrong}")});
        assert_eq!(replies.last(), Some(&refused), "{said:?}");
        let mut written = read(&there);
        if written.get("a").is_some_and(|data| data == b"12") {
            written.remove("a");
        }
        written.retain(|path, _| path != ".a.connectoid-part");
        assert_eq!(written, BTreeMap::new());
    }
    // More than any disk has is refused before it comes.
    let there = tempdir().unwrap();
    let (one, other) = Channel::pair(LABEL);
    let said = vec![list(json!([{"path": "a", "size": 1_u64 << 52}])), listed(1, 1_u64 << 52)];
    let accept = |_| ready(true);
    let (_, received) = join!(tell(one, said), receive(there.path(), other, accept, &Quiet));
    let refused = received.unwrap_err().to_string();
    assert!(refused.starts_with("no room: 4503599627370496 bytes are to come, and "), "{refused}");
    assert!(refused.ends_with(" are free on the disk: make room and connect again"), "{refused}");
}

#[tokio::test(flavor = "current_thread")]
async fn what_comes_damaged_is_asked_for_once_more() {
    let there = tempdir().unwrap();
    let (mut one, other) = Channel::pair(LABEL);
    let wrong = base64url::encode([7; 32]);
    let right = base64url::encode(Sha256::digest(b"12"));
    let peer = async {
        let say = |value| one.send(text(value));
        let entries = json!([{"path": "a", "size": 2}, {"path": "b", "size": 2}]);
        say(json!({"t": "list", "v": 1, "entries": entries})).await.unwrap();
        say(json!({"t": "listed", "files": 2, "bytes": 4})).await.unwrap();
        for (file, sha256) in [(0, &wrong), (1, &right), (0, &right)] {
            say(json!({"t": "file", "file": file, "from": 0})).await.unwrap();
            one.send(Message::Binary(b"12".to_vec())).await.unwrap();
            say(json!({"t": "end", "file": file, "sha256": sha256})).await.unwrap();
        }
        let mut replies = Vec::new();
        while let Some(Message::Text(text)) = one.next().await {
            replies.push(serde_json::from_str::<Value>(&text).unwrap());
        }
        replies
    };
    let (replies, received) = join!(peer, receive(there.path(), other, |_| ready(true), &Quiet));
    assert_eq!(
        replies,
        [
            json!({"t": "go"}),
            json!({"t": "bad", "file": 0}),
            json!({"t": "kept", "file": 1}),
            json!({"t": "kept", "file": 0}),
            json!({"t": "done", "files": 2, "bytes": 4}),
        ]
    );
    assert_eq!(received.unwrap(), Received { files: 2, bytes: 4, ..Received::default() });
    assert_eq!(read(&there), ["a", "b"].map(|name| (name.to_owned(), b"12".to_vec())).into());

    let there = tempdir().unwrap();
    let (one, other) = Channel::pair(LABEL);
    let file = [
        text(json!({"t": "file", "file": 0, "from": 0})),
        Message::Binary(b"12".to_vec()),
        text(json!({"t": "end", "file": 0, "sha256": wrong})),
    ];
    let list = text(json!({"t": "list", "v": 1, "entries": [{"path": "a", "size": 2}]}));
    let said =
        [vec![list, text(json!({"t": "listed", "files": 1, "bytes": 2}))], file.to_vec(), file.to_vec()];
    let telling = tell(one, said.concat());
    let (_, received) = join!(telling, receive(there.path(), other, |_| ready(true), &Quiet));
    assert_eq!(received.unwrap_err().to_string(), "\"a\" came damaged twice: is the disk sound?");
    assert!(!there.path().join("a").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn what_changes_at_the_receiver_after_it_was_told_is_asked_for_again() {
    let there = tempdir().unwrap();
    write(
        &there,
        &[(".part.connectoid-part", b"12".to_vec()), ("whole", b"1234".to_vec()), ("same", b"1234".to_vec())],
    );
    let (mut one, other) = Channel::pair(LABEL);
    let hash = |data: &[u8]| base64url::encode(Sha256::digest(data));
    let (right, half) = (hash(b"1234"), hash(b"12"));
    let peer = async {
        let say = |value| one.send(text(value));
        let entries = ["part", "whole", "same"].map(|path| json!({"path": path, "size": 4}));
        say(json!({"t": "list", "v": 1, "entries": entries})).await.unwrap();
        say(json!({"t": "listed", "files": 3, "bytes": 12})).await.unwrap();
        let mut replies = hear(&mut one, 4).await;
        fs::write(there.path().join(".part.connectoid-part"), "123").unwrap();
        fs::write(there.path().join("whole"), "1235").unwrap();
        let whole = fs::File::options().write(true).open(there.path().join("whole")).unwrap();
        whole.set_modified(UNIX_EPOCH).unwrap();
        let say = |value| one.send(text(value));
        for (file, from) in [(0, 2), (1, 4), (2, 4), (0, 0), (1, 0)] {
            say(json!({"t": "file", "file": file, "from": from})).await.unwrap();
            if from < 4 {
                one.send(Message::Binary(b"1234"[from..].to_vec())).await.unwrap();
            }
            say(json!({"t": "end", "file": file, "sha256": right})).await.unwrap();
        }
        replies.extend(hear(&mut one, usize::MAX).await);
        replies
    };
    let (replies, received) = join!(peer, receive(there.path(), other, |_| ready(true), &Quiet));
    assert_eq!(
        replies,
        [
            json!({"t": "have", "file": 0, "bytes": 2, "sha256": half}),
            json!({"t": "have", "file": 1, "bytes": 4, "sha256": right}),
            json!({"t": "have", "file": 2, "bytes": 4, "sha256": right}),
            json!({"t": "go"}),
            json!({"t": "bad", "file": 0}),
            json!({"t": "bad", "file": 1}),
            json!({"t": "kept", "file": 2}),
            json!({"t": "kept", "file": 0}),
            json!({"t": "kept", "file": 1}),
            json!({"t": "done", "files": 3, "bytes": 12}),
        ]
        .map(text)
    );
    let renamed = vec![("whole".to_owned(), "whole (2)".to_owned())];
    let received = received.unwrap();
    assert_eq!(received, Received { files: 3, bytes: 12, already: 1, skipped: 4, renamed, changed: vec![] });
    let all = [("part", "1234"), ("same", "1234"), ("whole", "1235"), ("whole (2)", "1234")];
    assert_eq!(read(&there), all.map(|(name, data)| (name.to_owned(), data.into())).into());
}

#[tokio::test(flavor = "current_thread")]
async fn the_hash_of_nothing_is_not_that_of_a_file() {
    let there = tempdir().unwrap();
    write(&there, &[("a", b"1234".to_vec())]);
    let (one, other) = Channel::pair(LABEL);
    let of_nothing = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    let said = [
        json!({"t": "list", "v": 1, "entries": [{"path": "a", "size": 4}]}),
        json!({"t": "listed", "files": 1, "bytes": 4}),
        json!({"t": "file", "file": 0, "from": 4}),
        json!({"t": "end", "file": 0, "sha256": of_nothing}),
        json!({"t": "file", "file": 0, "from": 4}),
    ];
    let telling = tell(one, said.map(text).to_vec());
    let (replies, received) = join!(telling, receive(there.path(), other, |_| ready(true), &Quiet));
    assert_eq!(replies[2], json!({"t": "bad", "file": 0}));
    let text =
        "the other side does not keep to the protocol: it does not send a damaged file from its beginning";
    assert_eq!(received.unwrap_err().to_string(), text);
    assert_eq!(read(&there), [("a".to_owned(), b"1234".to_vec())].into());
}

#[tokio::test(flavor = "current_thread")]
async fn a_part_of_what_is_there_already_goes() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    write(&here, &[("a", b"1234".to_vec()), ("b", b"1234".to_vec())]);
    write(&there, &[("a", b"1234".to_vec()), ("b", b"1234".to_vec())]);
    write(&there, &[(".a.connectoid-part", b"1234".to_vec()), (".b.connectoid-part", b"12".to_vec())]);
    let plan = scan(&["a", "b"].map(|name| here.path().join(name))).unwrap();
    let (moved, sent, _) = transfer_at_most(&plan, &there, usize::MAX).await;
    assert_eq!((moved, sent.unwrap().already), (0, 2));
    assert_eq!(read(&there), ["a", "b"].map(|name| (name.to_owned(), b"1234".to_vec())).into());
}

#[tokio::test(flavor = "current_thread")]
async fn links_below_the_folder_lead_nowhere() {
    let (here, there, outside) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    write(&here, &[("d/a", b"12".to_vec()), ("f", b"12".to_vec()), ("g", b"12".to_vec())]);
    write(&outside, &[("a", b"12".to_vec())]);
    symlink(outside.path(), there.path().join("d")).unwrap();
    let (_, received) = transfer(&scan(&[here.path().join("d")]).unwrap(), &there).await;
    let text = "\"d\" is not a folder here: move it away, or receive into another folder";
    assert_eq!(received.unwrap_err().to_string(), text);

    // The file there is even the same: it is not read.
    symlink(outside.path().join("a"), there.path().join("f")).unwrap();
    symlink(outside.path().join("a"), there.path().join(".f.connectoid-part")).unwrap();
    symlink(outside.path().join("new"), there.path().join("g")).unwrap();
    fs::hard_link(outside.path().join("a"), there.path().join(".g.connectoid-part")).unwrap();
    let plan = scan(&["f", "g"].map(|name| here.path().join(name))).unwrap();
    let (moved, sent, received) = transfer_at_most(&plan, &there, usize::MAX).await;
    assert_eq!((moved, sent.unwrap().already), (4, 0));
    let renamed = [("f", "f (2)"), ("g", "g (2)")].map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(received.unwrap().renamed, renamed);
    assert_eq!(read(&outside), [("a".to_owned(), b"12".to_vec())].into());
    for name in ["f (2)", "g (2)"] {
        assert_eq!(fs::read(there.path().join(name)).unwrap(), b"12");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn two_transfers_of_one_file_do_not_destroy_each_other() {
    let here = tempdir().unwrap();
    let there = tempdir().unwrap();
    let data = noise(PIECE + 3, 1);
    write(&here, &[("a", data.clone())]);
    let plan = scan(&[here.path().join("a")]).unwrap();
    // The first has come to its middle, and goes on when the second is over.
    let (mut one, other) = Channel::pair(LABEL);
    let first = async {
        let say = |value| one.send(text(value));
        say(json!({"t": "list", "v": 1, "entries": [{"path": "a", "size": data.len()}]})).await.unwrap();
        say(json!({"t": "listed", "files": 1, "bytes": data.len()})).await.unwrap();
        say(json!({"t": "file", "file": 0, "from": 0})).await.unwrap();
        one.send(Message::Binary(data[..PIECE].to_vec())).await.unwrap();
        let part = there.path().join(".a.connectoid-part");
        while fs::metadata(&part).map_or(0, |found| found.len()) < PIECE as u64 {
            tokio::task::yield_now().await;
        }
        let (sent, received) = transfer(&plan, &there).await;
        assert_eq!((sent.unwrap().skipped, received.unwrap().skipped), (0, 0));
        assert_eq!(fs::read(&part).unwrap(), data[..PIECE]);
        one.send(Message::Binary(data[PIECE..].to_vec())).await.unwrap();
        let sha256 = base64url::encode(Sha256::digest(&data));
        one.send(text(json!({"t": "end", "file": 0, "sha256": sha256}))).await.unwrap();
        while one.next().await.is_some() {}
    };
    let (_, received) = join!(first, receive(there.path(), other, |_| ready(true), &Quiet));
    assert_eq!(received.unwrap().renamed, [("a".to_owned(), "a (2)".to_owned())]);
    let all = ["a", "a (2)"].map(|name| (name.to_owned(), data.clone()));
    assert_eq!(read(&there), all.into());
}

#[tokio::test(flavor = "current_thread")]
async fn a_folder_that_is_not_there_is_said_on_both_sides() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    write(&here, &[("a", b"12".to_vec())]);
    let plan = scan(&[here.path().join("a")]).unwrap();
    let missing = there.path().join("missing");
    let (one, other) = Channel::pair(LABEL);
    let (sent, received) = join!(send(&plan, one, &Quiet), receive(&missing, other, |_| ready(true), &Quiet));
    let text = format!("cannot write {}: No such file or directory (os error 2)", missing.display());
    assert_eq!(received.unwrap_err().to_string(), text);
    let text = "the other side refused: it cannot write: No such file or directory (os error 2)";
    assert_eq!(sent.unwrap_err().to_string(), text);
    let full = FilesError::disk("d/a", io::Error::from_raw_os_error(28));
    let text = "cannot write d/a: No space left on device (os error 28): make room and connect again, it goes on from where it was";
    assert_eq!(full.to_string(), text);
}

// --- A receiver that breaks the rules ---

#[tokio::test(flavor = "current_thread")]
async fn a_receiver_that_breaks_the_rules_is_not_believed() {
    let here = tempdir().unwrap();
    write(&here, &[("d/a", b"12".to_vec()), ("d/b", b"34".to_vec())]);
    fs::create_dir(here.path().join("d/c")).unwrap();
    let plan = scan(&[here.path().join("d")]).unwrap();
    let hash = base64url::encode(Sha256::digest(b"12"));
    let have = |file: u64, bytes: u64| json!({"t": "have", "file": file, "bytes": bytes, "sha256": hash});
    let go = || json!({"t": "go"});
    let kept = |file: u64| json!({"t": "kept", "file": file});
    let bad = |file: u64| json!({"t": "bad", "file": file});
    let done = |files: u64, bytes: u64| json!({"t": "done", "files": files, "bytes": bytes});
    for (said, wrong) in [
        (vec![have(0, 3)], "it has more of a file than there is"),
        (vec![have(2, 0)], "it has more of a file than there is"),
        (vec![have(3, 0)], "it has more of a file than there is"),
        (vec![have(0, 1); 5], "it has too many beginnings of one file"),
        (vec![kept(0)], "it answers before it says go"),
        (vec![go(), go()], "it says what it has after it said go"),
        (vec![go(), kept(1)], "it keeps a file that was not sent"),
        (vec![go(), kept(0), kept(0)], "it keeps a file that was not sent"),
        (vec![go(), kept(2)], "it keeps a file that was not sent"),
        (vec![go(), bad(1)], "it calls a file bad that was not sent"),
        (vec![go(), done(2, 4)], "it is done before it has all"),
        (vec![go(), kept(0), done(2, 4)], "it is done before it has all"),
        (vec![go(), kept(0), kept(1), done(1, 4)], "it is done before it has all"),
        (vec![go(), kept(0), kept(1), done(2, 3)], "it is done before it has all"),
        (vec![go(), bad(0), kept(1), bad(0)], "it calls a file bad that was not sent"),
    ] {
        let (one, mut other) = Channel::pair(LABEL);
        let peer = async {
            // What it answers has come before: two messages of the listing, three for each file.
            hear(&mut other, 2).await;
            for said in &said {
                if other.send(text(said.clone())).await.is_err() {
                    return;
                }
                hear(
                    &mut other,
                    if said["t"] == "go" {
                        6
                    } else if said["t"] == "bad" {
                        3
                    } else {
                        0
                    },
                )
                .await;
            }
            while other.next().await.is_some() {}
        };
        let (sent, ()) = join!(send(&plan, one, &Quiet), peer);
        let text = format!("the other side does not keep to the protocol: {wrong}");
        assert_eq!(sent.unwrap_err().to_string(), text, "{said:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_is_sent_again_if_it_came_damaged() {
    let here = tempdir().unwrap();
    write(&here, &[("d/a", b"12".to_vec()), ("d/b", Vec::new())]);
    let plan = scan(&[here.path().join("d")]).unwrap();
    let (one, mut other) = Channel::pair(LABEL);
    let peer = async {
        let mut heard = hear(&mut other, 2).await;
        let sha256 = base64url::encode(Sha256::digest(b"1"));
        other.send(text(json!({"t": "have", "file": 0, "bytes": 1, "sha256": sha256}))).await.unwrap();
        other.send(text(json!({"t": "go"}))).await.unwrap();
        heard.extend(hear(&mut other, 5).await);
        other.send(text(json!({"t": "bad", "file": 0}))).await.unwrap();
        other.send(text(json!({"t": "kept", "file": 1}))).await.unwrap();
        heard.extend(hear(&mut other, 3).await);
        other.send(text(json!({"t": "kept", "file": 0}))).await.unwrap();
        other.send(text(json!({"t": "done", "files": 2, "bytes": 2}))).await.unwrap();
        heard
    };
    let (sent, heard) = join!(send(&plan, one, &Quiet), peer);
    assert_eq!(sent.unwrap(), Sent { files: 2, bytes: 2, already: 0, skipped: 0, unsent: vec![] });
    let sha256 = base64url::encode(Sha256::digest(b"12"));
    let of_nothing = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    assert_eq!(
        heard[1..],
        [
            text(json!({"t": "listed", "files": 2, "bytes": 2})),
            text(json!({"t": "file", "file": 0, "from": 1})),
            Message::Binary(b"2".to_vec()),
            text(json!({"t": "end", "file": 0, "sha256": sha256})),
            text(json!({"t": "file", "file": 1, "from": 0})),
            text(json!({"t": "end", "file": 1, "sha256": of_nothing})),
            text(json!({"t": "file", "file": 0, "from": 0})),
            Message::Binary(b"12".to_vec()),
            text(json!({"t": "end", "file": 0, "sha256": sha256})),
        ]
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_file_that_changes_while_it_is_read_is_told() {
    let here = tempdir().unwrap();
    let path = here.path().join("a");
    let length = 2 * WINDOW as usize;
    fs::write(&path, noise(length, 1)).unwrap();
    let plan = scan(std::slice::from_ref(&path)).unwrap();
    let (one, mut other) = Channel::pair(LABEL);
    let peer = async {
        hear(&mut other, 2).await;
        other.send(text(json!({"t": "go"}))).await.unwrap();
        hear(&mut other, 1 + WINDOW as usize / PIECE).await;
        // It waits until it may go on, with no more than 3 MiB read ahead.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        other.send(text(json!({"t": "more", "to": length}))).await.unwrap();
        let last = hear(&mut other, length / PIECE - WINDOW as usize / PIECE + 1).await.pop();
        other.send(text(json!({"t": "done", "files": 0, "bytes": 0}))).await.unwrap();
        last
    };
    let (sent, last) = join!(send(&plan, one, &Quiet), peer);
    assert_eq!(last, Some(canonical(text(json!({"t": "changed", "file": 0})))));
    let unsent =
        Unsent { path: path.canonicalize().unwrap(), why: "it changed while it was sent".to_owned() };
    assert_eq!(sent.unwrap(), Sent { files: 0, bytes: 0, already: 0, skipped: 0, unsent: vec![unsent] });
}

#[tokio::test(flavor = "current_thread")]
async fn no_more_files_are_sent_than_were_answered_and_a_thousand() {
    let here = tempdir().unwrap();
    let names: Vec<String> = (0..1200).map(|n| format!("d/{n}")).collect();
    write(&here, &names.iter().map(|name| (name.as_str(), Vec::new())).collect::<Vec<_>>());
    let plan = scan(&[here.path().join("d")]).unwrap();
    let (one, mut other) = Channel::pair(LABEL);
    let peer = async {
        // 1,200 entries of about 80 bytes are four messages, then the end of the listing.
        hear(&mut other, 5).await;
        other.send(text(json!({"t": "go"}))).await.unwrap();
        hear(&mut other, 2 * 1024 + 1).await;
        let why = "enough\nof\u{1b}[2J this";
        other.send(text(json!({"t": "refused", "why": why}))).await.unwrap();
        hear(&mut other, usize::MAX).await.len()
    };
    let (sent, more) = join!(send(&plan, one, &Quiet), peer);
    assert_eq!(more, 0);
    assert_eq!(sent.unwrap_err().to_string(), "the other side refused: enough\u{fffd}of\u{fffd}[2J this");
    // One that answers gets them all.
    let there = tempdir().unwrap();
    let (sent, received) = transfer(&plan, &there).await;
    assert_eq!((sent.unwrap().files, received.unwrap().files), (1200, 1200));
}

#[tokio::test(flavor = "current_thread")]
async fn transfers_can_run_on_any_thread() {
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    write(&here, &[("a", b"12".to_vec())]);
    let plan = scan(&[here.path().join("a")]).unwrap();
    let (one, other) = Channel::pair(LABEL);
    let sending = tokio::spawn(async move { send(&plan, one, &Quiet).await });
    let dir = there.path().to_owned();
    let receiving = tokio::spawn(async move { receive(&dir, other, |_| ready(true), &Quiet).await });
    assert_eq!(sending.await.unwrap().unwrap().files, 1);
    assert_eq!(receiving.await.unwrap().unwrap().files, 1);
}

// --- Tools ---

struct Quiet;

impl Progress for Quiet {
    fn at(&self, _: &Status<'_>) {}
}

/// The different lines of a progress.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Progress for Noted {
    fn at(&self, status: &Status<'_>) {
        let Status { phase, path, bytes, total, skipped } = status;
        let line = format!("{phase:?} {path} {bytes}/{total} skipped {skipped}");
        let mut noted = self.0.lock().unwrap();
        if noted.last() != Some(&line) {
            noted.push(line);
        }
    }
}

/// Bytes that are nowhere the same.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn write(dir: &TempDir, files: &[(&str, Vec<u8>)]) {
    for (path, data) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
}

/// All that is in a folder; folders with nothing in them end in `/`.
fn read(dir: &TempDir) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if !path.is_dir() {
                found.insert(name, fs::read(&path).unwrap());
            } else if fs::read_dir(&path).unwrap().next().is_none() {
                found.insert(format!("{name}/"), Vec::new());
            } else {
                walk(root, &path, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(dir.path(), dir.path(), &mut found);
    found
}

async fn transfer(plan: &Plan, to: &TempDir) -> (Result<Sent, FilesError>, Result<Received, FilesError>) {
    let (one, other) = Channel::pair(LABEL);
    join!(send(plan, one, &Quiet), receive(to.path(), other, |_| ready(true), &Quiet))
}

/// A transfer that is cut after so many messages, of both sides together; and how many bytes were moved.
async fn transfer_at_most(
    plan: &Plan,
    to: &TempDir,
    messages: usize,
) -> (u64, Result<Sent, FilesError>, Result<Received, FilesError>) {
    let (one, mut near) = Channel::pair(LABEL);
    let (mut far, other) = Channel::pair(LABEL);
    let carrying = async move {
        let mut moved = 0;
        for _ in 0..messages {
            let (message, to) = select! {
                message = near.next() => (message, &far),
                message = far.next() => (message, &near),
            };
            let Some(message) = message else { break };
            let bytes = if let Message::Binary(data) = &message { data.len() as u64 } else { 0 };
            if to.send(message).await.is_err() {
                break;
            }
            moved += bytes;
        }
        moved
    };
    let receiving = receive(to.path(), other, |_| ready(true), &Quiet);
    let (moved, sent, received) = join!(carrying, send(plan, one, &Quiet), receiving);
    (moved, sent, received)
}

fn text(value: Value) -> Message {
    Message::Text(value.to_string())
}

/// The same message, with the keys of its JSON in order.
fn canonical(message: Message) -> Message {
    match message {
        Message::Text(said) => text(serde_json::from_str(&said).unwrap()),
        data => data,
    }
}

async fn hear(channel: &mut Channel, messages: usize) -> Vec<Message> {
    let mut heard = Vec::new();
    while heard.len() < messages {
        let Some(message) = channel.next().await else { break };
        heard.push(canonical(message));
    }
    heard
}

/// Says all this, and hears what comes back.
async fn tell(mut channel: Channel, said: Vec<Message>) -> Vec<Value> {
    for message in said {
        channel.send(message).await.unwrap();
    }
    let mut replies = Vec::new();
    while let Some(Message::Text(text)) = channel.next().await {
        replies.push(serde_json::from_str(&text).unwrap());
    }
    replies
}
