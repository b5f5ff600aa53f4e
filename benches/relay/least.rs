//! The least that a durable `send` takes: servers that do nothing but store, the relay among them, beside one another.

use crate::{
    Outcome,
    barest::Storage,
    figures::{Speed, median, number},
    lab::{Lab, Side, rng, sends},
    load::Ran,
    report::columns,
    requests::Template,
    rows::{
        check::share,
        send::{A_SECOND, appends},
    },
    server::Server,
};

/// The servers that do nothing but store.
const BAREST: [(Storage, &str); 3] = [
    (Storage::Table, "a table of SQLite without an index"),
    (Storage::TableInLargePages, "that in pages of 64 KiB"),
    (Storage::File, "a file, one message behind the other"),
];

/// As a table in Markdown.
pub(crate) fn measure(lab: &Lab) -> Outcome<String> {
    let constant = Server::constant(lab.cores, "{\"ok\":true}\n")?;
    let mut sides = vec![("nowhere: the constant", lab.side(constant)?)];
    for (storage, where_to) in BAREST {
        sides.push((where_to, lab.side(Server::barest(lab.cores, storage, lab.folder())?)?));
    }
    sides.push(("the relay", lab.side(lab.relay("least.db", &[])?)?));
    let template = &Template::send(&mut rng());
    // What each did in turn, the constant first, and how many appends with a sync each there were in a second.
    let rounds: Vec<(Vec<Ran>, f64)> = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(A_SECOND);
        let run = |(_, side): &mut (_, Side)| side.run(&mut sends(template, &boxes));
        Ok((sides.iter_mut().map(run).collect::<Outcome<_>>()?, appends(lab)?))
    })?;
    let mut rows = vec![
        ["stored in", "a second", "µs of the core", "of the constant", "of one sync each"].map(str::to_owned),
    ];
    for (n, (where_to, _)) in sides.iter().enumerate() {
        let speed = Speed::of(rounds.iter().map(|(ran, _)| &ran[n]));
        rows.push([
            (*where_to).to_owned(),
            number(speed.rate),
            number(speed.cpu),
            number(median(rounds.iter().map(|(ran, _)| share(&ran[0], &ran[n])))),
            number(median(rounds.iter().map(|(ran, appends)| ran[n].rate() / appends))),
        ]);
    }
    Ok(columns(&rows))
}
