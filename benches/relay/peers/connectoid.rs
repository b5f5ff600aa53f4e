//! The relay, asked as its peers are: by threads that wait.

use std::{net::SocketAddr, ops::Range, path::Path, process::Command};

use super::{About, Peer, wire::Wire};
use crate::{
    Outcome,
    hpke::Owner,
    lab::{Lab, rng},
    requests::{Template, serial},
    scripts::{Templates, expect, question},
    server::Server,
};

pub(crate) struct Connectoid {
    server: SocketAddr,
    templates: Templates,
}

impl Peer for Connectoid {
    const ABOUT: About = About {
        name: "connectoid",
        stores: Some("SQLite"),
        proves: Some("opens a question"),
        sealed: "HPKE",
        a_second: 5_000.0,
    };
    type Lane = Wire;
    type Delivery = (u64, Owner);

    fn fetch() -> Outcome<String> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn command(lab: &Lab, address: SocketAddr, folder: &Path) -> Outcome<Command> {
        let database = format!("sqlite://{}", folder.join("relay.db").display());
        Ok(Server::relay_command(Command::new(&lab.program), &address.to_string(), &database))
    }

    fn meet(server: SocketAddr) -> Outcome<Self> {
        let templates = Templates {
            send: Template::send(&mut rng()),
            check: Template::check(0),
            receive: Template::receive(),
        };
        Ok(Self { server, templates })
    }

    fn deliveries(&self, lab: &Lab, numbers: Range<u64>) -> Outcome<Vec<Self::Delivery>> {
        let boxes = lab.boxes(usize::try_from(numbers.end - numbers.start)?);
        numbers.zip(boxes).map(|(number, to)| Ok((number, Owner::new(to)?))).collect()
    }

    fn lane(&self, n: usize) -> Outcome<Wire> {
        Wire::connect(n, self.server)
    }

    fn send(&self, wire: &mut Wire, (number, owner): &Self::Delivery) -> Outcome<()> {
        let mut request = Vec::new();
        self.templates.send.message(&owner.of, *number, &mut request);
        expect(&wire.ask(&request)?, r#""ok":true"#)
    }

    fn receive(&self, wire: &mut Wire, (number, owner): &Self::Delivery) -> Outcome<()> {
        let mut request = Vec::new();
        self.templates.check.about(&owner.of, &mut request);
        let answer = owner.answer(question(&wire.ask(&request)?)?)?;
        request.clear();
        self.templates.receive.answered(&owner.of, &answer, &mut request);
        let sent = serial(*number);
        expect(&wire.ask(&request)?, &format!(r#""data":"{}"#, std::str::from_utf8(&sent)?))
    }
}
