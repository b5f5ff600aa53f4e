//! What the runs ask: the same request about one box after the other, or the three of a delivery.

use std::time::Duration;

use crate::{
    Outcome,
    boxes::MailBox,
    hpke::Owner,
    load::{Script, Turn},
    requests::{Template, field, serial},
};

/// The same request about many boxes, in turn; each body that comes back must contain some words.
pub(crate) struct About<'a> {
    pub(crate) template: &'a Template,
    pub(crate) boxes: &'a [MailBox],
    /// The next box.
    pub(crate) next: usize,
    /// Whether it begins again at the end; else it ends there.
    pub(crate) again: bool,
    /// Whether each request has a message of its own.
    pub(crate) messages: bool,
    pub(crate) expect: &'static str,
}

impl Script for About<'_> {
    fn request(&mut self, turn: Turn, out: &mut Vec<u8>) -> bool {
        let index = if self.again { self.next % self.boxes.len() } else { self.next };
        let Some(to) = self.boxes.get(index).filter(|_| !turn.ending) else {
            return false;
        };
        if self.messages {
            self.template.message(to, self.next as u64, out);
        } else {
            self.template.about(to, out);
        }
        self.next += 1;
        true
    }

    fn reply(&mut self, _: Turn, body: &[u8]) -> Outcome<()> {
        expect(body, self.expect)
    }
}

/// Whether a reply has these words.
pub(crate) fn expect(body: &[u8], words: &str) -> Outcome<()> {
    if body.windows(words.len()).any(|part| part == words.as_bytes()) {
        return Ok(());
    }
    Err(format!("expected {words} in {}", String::from_utf8_lossy(body)).into())
}

/// `check` about each of these boxes once; keeps the questions.
pub(crate) struct Asking<'a> {
    template: &'a Template,
    boxes: &'a [MailBox],
    next: usize,
    /// By connection, the box that its request is about.
    asked: Vec<usize>,
    /// By box.
    pub(crate) questions: Vec<String>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(template: &'a Template, boxes: &'a [MailBox]) -> Self {
        Self { template, boxes, next: 0, asked: Vec::new(), questions: vec![String::new(); boxes.len()] }
    }

    /// The answers to the questions, by box; nothing for a box that was not asked about.
    pub(crate) fn answers(&self) -> Outcome<Vec<String>> {
        let mut answers = Vec::with_capacity(self.questions.len());
        for (question, to) in self.questions.iter().zip(self.boxes).take(self.next) {
            answers.push(Owner::new(to.clone())?.answer(question)?);
        }
        Ok(answers)
    }
}

impl Script for Asking<'_> {
    fn request(&mut self, turn: Turn, out: &mut Vec<u8>) -> bool {
        let Some(to) = self.boxes.get(self.next).filter(|_| !turn.ending) else {
            return false;
        };
        if self.asked.len() <= turn.connection {
            self.asked.resize(turn.connection + 1, 0);
        }
        self.asked[turn.connection] = self.next;
        self.next += 1;
        self.template.about(to, out);
        true
    }

    fn reply(&mut self, turn: Turn, body: &[u8]) -> Outcome<()> {
        self.questions[self.asked[turn.connection]] = question(body)?.to_owned();
        Ok(())
    }
}

pub(crate) fn question(body: &[u8]) -> Outcome<&str> {
    expect(body, r#""found":true"#)?;
    Ok(field(body, r#""question":""#).ok_or("there is no question in the reply")?)
}

/// `receive` from boxes whose questions were answered.
pub(crate) struct Receiving<'a> {
    pub(crate) template: &'a Template,
    pub(crate) boxes: &'a [MailBox],
    /// As many as there are boxes to receive from.
    pub(crate) answers: &'a [String],
    pub(crate) next: usize,
    /// Whether it begins again at the end; else it ends there.
    pub(crate) again: bool,
}

impl Script for Receiving<'_> {
    fn request(&mut self, turn: Turn, out: &mut Vec<u8>) -> bool {
        let index = if self.again { self.next % self.answers.len() } else { self.next };
        let Some((to, answer)) = self.boxes.get(index).zip(self.answers.get(index)).filter(|_| !turn.ending)
        else {
            return false;
        };
        self.next += 1;
        self.template.answered(to, answer, out);
        true
    }

    fn reply(&mut self, _: Turn, body: &[u8]) -> Outcome<()> {
        expect(body, r#""data":""#)
    }
}

/// The requests of a delivery.
pub(crate) struct Templates {
    pub(crate) send: Template,
    pub(crate) check: Template,
    pub(crate) receive: Template,
}

/// Deliveries, one after the other on each connection and each to a box of its own: `send`, then `check`, which brings a
/// question, then `receive` with the answer.
pub(crate) struct Delivering<'a> {
    templates: &'a Templates,
    owners: &'a [Owner],
    next: usize,
    /// By connection.
    walks: Vec<Option<Walk>>,
    /// How long each took.
    pub(crate) done: Vec<Duration>,
}

struct Walk {
    owner: usize,
    begun: Duration,
    step: Step,
}

enum Step {
    Send,
    Check,
    Receive { answer: String },
}

impl<'a> Delivering<'a> {
    pub(crate) fn new(templates: &'a Templates, owners: &'a [Owner]) -> Self {
        Self { templates, owners, next: 0, walks: Vec::new(), done: Vec::new() }
    }
}

impl Script for Delivering<'_> {
    fn request(&mut self, turn: Turn, out: &mut Vec<u8>) -> bool {
        while self.walks.len() <= turn.connection {
            self.walks.push(None);
        }
        let walk = &mut self.walks[turn.connection];
        if walk.is_none() && !turn.ending && self.next < self.owners.len() {
            *walk = Some(Walk { owner: self.next, begun: turn.now, step: Step::Send });
            self.next += 1;
        }
        let Some(walk) = walk else {
            return false;
        };
        let to = &self.owners[walk.owner].of;
        match &walk.step {
            Step::Send => self.templates.send.message(to, walk.owner as u64, out),
            Step::Check => self.templates.check.about(to, out),
            Step::Receive { answer } => self.templates.receive.answered(to, answer, out),
        }
        true
    }

    fn reply(&mut self, turn: Turn, body: &[u8]) -> Outcome<()> {
        let Some(walk) = &mut self.walks[turn.connection] else {
            return Err("a reply to no request".into());
        };
        match walk.step {
            Step::Send => {
                expect(body, r#""ok":true"#)?;
                walk.step = Step::Check;
            }
            Step::Check => {
                let answer = self.owners[walk.owner].answer(question(body)?)?;
                walk.step = Step::Receive { answer };
            }
            Step::Receive { .. } => {
                let sent = serial(walk.owner as u64);
                expect(body, &format!(r#""data":"{}"#, std::str::from_utf8(&sent)?))?;
                self.done.push(turn.now - walk.begun);
                self.walks[turn.connection] = None;
            }
        }
        Ok(())
    }
}
