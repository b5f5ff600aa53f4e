//! Durable sends to servers that do nothing but store, and to the relay, beside one another.

use crate::{
    Outcome,
    barest::Storage,
    figures::{Speed, median, number, share},
    lab::{Lab, SENDS_A_SECOND, Side, rng, sends},
    load::Ran,
    report::columns,
    requests::Template,
    server::Server,
};

/// The servers that do nothing but store.
const BAREST: [(Storage, &str); 3] = [
    (Storage::Table, "a table of SQLite without an index"),
    (Storage::TableInLargePages, "that in pages of 64 KiB"),
    (Storage::File, "a file that grows"),
];

/// What each of them does, as a table in Markdown.
pub(crate) fn measure(lab: &Lab) -> Outcome<String> {
    let constant = Server::constant(lab.cores, "{\"ok\":true}\n")?;
    let mut sides = vec![
        ("nowhere: the constant", lab.side(constant)?),
        ("the relay", lab.side(lab.relay("least.db", &[])?)?),
    ];
    for (storage, name) in BAREST {
        sides.push((name, lab.side(Server::barest(lab.cores, storage, &lab.file(&storage.name()))?)?));
    }
    let template = &Template::send(&mut rng());
    // How many appends with a sync each there were in a second, then what each did in turn, the constant first.
    let rounds: Vec<(f64, Vec<Ran>)> = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(SENDS_A_SECOND);
        let run = |(name, side): &mut (&str, Side)| {
            side.run(&mut sends(template, &boxes)).map_err(|error| format!("{name}: {error}").into())
        };
        Ok((lab.appends()?, sides.iter_mut().map(run).collect::<Outcome<_>>()?))
    })?;
    let head =
        ["stored in", "a second", "µs of the core", "share of the constant", "for each append with a sync"];
    let mut rows = vec![head.map(str::to_owned)];
    let mut text = String::new();
    for (n, (name, _)) in sides.iter().enumerate() {
        let speed = Speed::of(rounds.iter().map(|(_, ran)| &ran[n]));
        if n == 0 && speed.is_disturbed() {
            text.push_str("**Other processes were at work: these figures say little.**\n\n");
        }
        rows.push([
            (*name).to_owned(),
            number(speed.rate),
            number(speed.cpu),
            number(median(rounds.iter().map(|(_, ran)| share(&ran[0], &ran[n])))),
            number(median(rounds.iter().map(|(appends, ran)| ran[n].rate() / appends))),
        ]);
    }
    Ok(text + &columns(&rows))
}
