//! The job that counts: a sealed message of 4096 bytes from one sender to a box that is used once, stored durably, checked,
//! answered, received by the owner. Three requests and a fresh question each; the `delete` that acknowledges it later is
//! not among them.

use connectoid::protocol::PublicKey;

use crate::{
    Outcome,
    figures::{Speed, median, number, percent, percentile},
    hpke::Owner,
    lab::{CONNECTIONS, Lab, rng, sends},
    load::Ran,
    report::Found,
    requests::Template,
    scripts::{Asking, Delivering, Receiving, Templates},
};

/// Keys made for a round, by the second; with fewer it would end early.
const A_SECOND: f64 = 5_000.0;

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let mut relay = lab.side(lab.relay("deliver.db", &[])?)?;
    let templates = &Templates {
        send: Template::send(&mut rng()),
        check: Template::check(0),
        receive: Template::receive(),
    };
    let mut latencies = Vec::new();
    let rounds = lab.rounds(|| {
        let owners: Vec<Owner> =
            lab.boxes_for_a_round(A_SECOND).into_iter().map(Owner::new).collect::<Outcome<_>>()?;
        let mut delivering = Delivering::new(templates, &owners);
        let ran = relay.run(&mut delivering)?;
        latencies.push(delivering.done.clone());
        Ok((delivering.done.len(), ran))
    })?;
    let counts: usize = rounds.iter().map(|(count, _)| count).sum();
    let rate = median(rounds.iter().map(|(count, ran)| *count as f64 / ran.took.as_secs_f64()));
    let speed = Speed::of(rounds.iter().map(|(_, ran)| ran));
    let cpu: f64 = rounds.iter().map(|(_, ran)| ran.server.as_secs_f64()).sum::<f64>() * 1e6 / counts as f64;
    // The first is the one to warm up.
    let latencies = latencies.split_off(1).concat();

    let mut text = format!(
        "### A message delivered\n\n**{} deliveries/s** with {CONNECTIONS} at once, p50 {} ms, p99 {} ms; {} µs of the server's core for each, which is {} \
         deliveries for each second of it. The server's core was busy {}, the client's {}.\n",
        number(rate),
        number(percentile(&latencies, 0.5)),
        number(percentile(&latencies, 0.99)),
        number(cpu),
        number(1e6 / cpu),
        percent(speed.server),
        percent(speed.client),
    );
    text.push_str(&steps(lab, templates)?);
    Ok(Found { lines: Vec::new(), text })
}

/// Where the time goes: all the sends of a round, then all its checks, then all its receives, most of which thus read the database.
fn steps(lab: &Lab, templates: &Templates) -> Outcome<String> {
    let mut relay = lab.side(lab.relay("steps.db", &[])?)?;
    let rounds = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(2_000.0);
        let seals = ["connectoid_seal_seconds_sum", "connectoid_seal_seconds_count"];
        let sent = relay.all(&mut sends(&templates.send, &boxes))?;
        let mut asking = Asking::new(&templates.check, &boxes);
        let checked = relay.run(&mut asking)?;
        let [sum, count] = seals.map(|name| relay.server.metric(name));
        let answers = asking.answers()?;
        let (template, boxes) = (&templates.receive, &boxes);
        let received =
            relay.all(&mut Receiving { template, boxes, answers: &answers, next: 0, again: false })?;
        let keys = lab.a_second(boxes, |to| Ok(PublicKey::from_bytes(&to.key).map(drop)?))?;
        Ok(([sent, checked, received], sum? * 1e6 / count?, 1e6 / keys))
    })?;
    let seal = median(rounds.iter().map(|(_, seal, _)| *seal));
    let key = median(rounds.iter().map(|(.., key)| *key));
    let mut text = format!(
        "\nThe three by themselves, {CONNECTIONS} at once:\n\n| | a second | µs of the core | p50 ms | p99 ms |\n|---|---|---|---|---|\n"
    );
    for (step, name) in
        ["`send`", "`check`, with its question", "`receive`, most from the database"].into_iter().enumerate()
    {
        let speed = Speed::of(rounds.iter().map(|(steps, ..)| -> &Ran { &steps[step] }));
        text += &format!(
            "| {name} | {} | {} | {} | {} |\n",
            number(speed.rate),
            number(speed.cpu),
            number(speed.p50),
            number(speed.p99)
        );
    }
    text += &format!(
        "\nOne seal takes {} µs; to see that a key which is new to the relay is on the curve takes {} µs, which is in that of \
         `send`. In a delivery the message is still in memory when it is received.\n",
        number(seal),
        number(key),
    );
    Ok(text)
}
