//! What one request costs in instructions and allocations: the relay under valgrind, the same requests as else.
//!
//! Counts of one build do not depend on who else is at work, so they show what a clock on a busy machine does not. A run with so many
//! requests more than another, and nothing else, says what these cost; what the start and the first requests cost is in both.

use std::{path::Path, process::Command};

use crate::{
    Outcome,
    boxes::MailBox,
    figures::number,
    lab::{CONNECTIONS, Lab, rng},
    profile::{self, Count, Profile},
    requests::Template,
    scripts::{Asking, Receiving},
    server::Server,
};

/// The functions that are named for each.
const HEAVIEST: usize = 10;

/// The newest messages, which the relay has in memory; they are received again and again.
const IN_MEMORY: usize = 240;

/// An answer counts for as long as a run takes: nothing here is fast.
const PATIENCE: [&str; 2] = ["--answer-ttl", "1h"];

/// The requests of a run.
#[derive(Clone, Copy)]
struct Requests {
    sends: usize,
    checks: usize,
    receives: usize,
}

/// A tool of valgrind.
struct Tool {
    name: &'static str,
    options: &'static [&'static str],
    /// The option that names its file.
    out: &'static str,
    read: fn(&Path) -> Outcome<Profile>,
}

const INSTRUCTIONS: Tool = Tool {
    name: "callgrind",
    options: &["--compress-strings=no", "--compress-pos=no"],
    out: "--callgrind-out-file",
    read: profile::instructions,
};

const ALLOCATIONS: Tool = Tool {
    name: "dhat",
    // As deep as any stack here.
    options: &["--num-callers=100"],
    out: "--dhat-out-file",
    read: profile::allocations,
};

/// What so many `send`s, `check`s and `receive`s each cost.
pub(crate) fn measure(lab: &Lab, requests: usize) -> Outcome<String> {
    let instructions = walks(lab, &INSTRUCTIONS, requests)?;
    let allocations = walks(lab, &ALLOCATIONS, requests)?;
    let each = |count: f64| count / requests as f64;
    let names = ["`send`", "`check`, with a fresh question", "`receive`, from memory"];
    let mut text = format!(
        "{requests} of each, {CONNECTIONS} at once.\n\n| | instructions | allocations | bytes of them |\n|---|---|---|---|\n"
    );
    for ((name, instructions), allocations) in names.iter().zip(&instructions).zip(&allocations) {
        let Count { number: count, bytes } = allocations.all;
        text += &format!(
            "| {name} | {} | {} | {} |\n",
            number(each(instructions.all.number)),
            number(each(count)),
            number(each(bytes)),
        );
    }
    for ((name, instructions), allocations) in names.iter().zip(&instructions).zip(&allocations) {
        text += &format!("\n{name}, the heaviest functions with all that they call:\n\n");
        text += "| instructions | | allocations | bytes | |\n|---|---|---|---|---|\n";
        let rows = instructions.heaviest(HEAVIEST).into_iter().zip(allocations.heaviest(HEAVIEST));
        for ((function, cost), (allocator, Count { number: count, bytes })) in rows {
            text += &format!(
                "| {} | {} | {} | {} | {} |\n",
                number(each(cost.number)),
                code(function),
                number(each(count)),
                number(each(bytes)),
                code(allocator),
            );
        }
    }
    Ok(text)
}

/// A function's name as Markdown.
fn code(name: &str) -> String {
    format!("`{}`", name.replace('|', "\\|"))
}

/// What so many requests of each walk do.
fn walks(lab: &Lab, tool: &Tool, n: usize) -> Outcome<[Profile; 3]> {
    let run = |sends, checks, receives| run(lab, tool, Requests { sends, checks, receives });
    let base = run(2 * n, n, n)?;
    let sent = run(3 * n, n, n)?;
    let checked = run(2 * n, 2 * n, n)?;
    let received = run(2 * n, 2 * n, 2 * n)?;
    Ok([sent.beyond(&base), checked.beyond(&base), received.beyond(&checked)])
}

fn run(lab: &Lab, tool: &Tool, Requests { sends: all, checks, receives }: Requests) -> Outcome<Profile> {
    let file = lab.file("counted");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg(format!("--tool={}", tool.name)).args(tool.options);
    valgrind.arg(format!("{}={}", tool.out, file.display())).arg(&lab.program);
    let database = lab.file(&format!("{all}-{checks}-{receives}.db"));
    let (url, log) = (format!("sqlite://{}", database.display()), database.with_extension("log"));
    let relay = Server::relay(valgrind, Some(lab.cores), &url, &log, &PATIENCE)?;
    let mut side = lab.side(relay)?;
    let boxes = lab.boxes(all);
    side.send_to(&Template::send(&mut rng()), &boxes)?;
    let check = Template::check(0);
    let asked = &boxes[all - checks..];
    let mut asking = Asking::new(&check, asked);
    side.all(&mut asking)?;
    let answers = asking.answers()?;
    let template = &Template::receive();
    let older = checks.saturating_sub(IN_MEMORY);
    let boxes: Vec<MailBox> = asked[older..].iter().cycle().take(receives).cloned().collect();
    let answers: Vec<String> = answers[older..].iter().cycle().take(receives).cloned().collect();
    side.all(&mut Receiving { template, boxes: &boxes, answers: &answers, next: 0, again: false })?;
    side.server.stop()?;
    let profile = (tool.read)(&file)?;
    if !profile.functions.keys().any(|name| name.contains("connectoid::http")) {
        return Err("the relay has no names of functions in it: build it with -C strip=none, as scripts/bench --counts does".into());
    }
    Ok(profile)
}

/// Whether valgrind is there.
///
/// # Errors
/// What to do if it is not.
pub(crate) fn need_valgrind() -> Outcome<()> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(said) if said.status.success() => Ok(()),
        _ => {
            Err("--counts needs valgrind: install it, on Debian by apt-get install valgrind libc6-dbg".into())
        }
    }
}
