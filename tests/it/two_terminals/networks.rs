//! The same across networks: own addresses, NATs, walls, a TURN server, an address that changes.

use std::process::{Command, Stdio};

use super::{MB, Terminal, came, configure, noise, person, put};
use crate::{
    harness::{Person, Serving},
    lab::{Host, Lab, TurnServer},
};

/// Two people, each in a network of their own, and a relay that both reach.
struct Pair {
    lab: Lab,
    alice: Person,
    bob: Person,
    _relay: Serving,
}

impl Pair {
    fn new(lab: Lab) -> Self {
        let relay = lab.relay(&["--database", "sqlite::memory:"]);
        Self { lab, alice: person(), bob: person(), _relay: relay }
    }

    fn at(&self, host: Host) -> Command {
        self.lab.command(host, "connectoid")
    }

    /// Both run, Alice to send this file and Bob to take it; each with these options, too.
    fn begin(&self, bytes: &[u8], more: &[&str]) -> (Terminal, Terminal) {
        put(&self.alice, "f", bytes);
        let share = ["share", "--for", "Bob", "--relay", self.lab.relay_url(), "--file", "f"];
        let share = [&share[..], more].concat();
        let sharing = Terminal::start(&self.alice, self.at(Host::Alice), &share, Stdio::null());
        let link = sharing.prints();
        let connect = [&["connect", &link, "--for", "Alice", "--into", "into"], more].concat();
        let connecting = Terminal::start(&self.bob, self.at(Host::Bob), &connect, Stdio::null());
        (sharing, connecting)
    }

    /// The file arrives: what either was told.
    fn well(&self, bytes: &[u8], (sharing, connecting): (Terminal, Terminal)) -> (String, String) {
        let there = connecting.well();
        let here = sharing.well();
        came(&self.bob, "f", bytes);
        (here, there)
    }
}

fn stun(turn: &TurnServer) -> String {
    format!("stun:{}", turn.address)
}

/// Whoever answered goes on waiting: the other one may try again.
fn stops(sharing: Terminal) {
    sharing.signal("INT");
    sharing.fails(130, "stopped: connect again, and the files go on from where they are");
}

/// The last way that packets took: from where to where, without the ports.
fn way(err: &str, how: &str) -> (String, String) {
    let last = err.lines().rev().find_map(|line| line.strip_prefix(how)).unwrap_or_else(|| panic!("{err}"));
    let (from, to) = last.split_once(" to ").unwrap();
    let address = |end: &str| end.rsplit_once(':').unwrap().0.to_owned();
    (address(from), address(to))
}

#[test]
fn two_hosts_meet_at_their_own_addresses() {
    let pair = Pair::new(Lab::two_hosts());
    let bytes = noise(10 * MB);
    let (here, there) = pair.well(&bytes, pair.begin(&bytes, &[]));
    let (from, to) = way(&here, "directly: ");
    assert_eq!(way(&there, "directly: "), (to.clone(), from.clone()));
    let own = |v4: &str, v6: &str| [v4.to_owned(), v6.to_owned()];
    assert!(own("203.0.113.11", "[2001:db8::11]").contains(&from), "{here}");
    assert!(own("203.0.113.12", "[2001:db8::12]").contains(&to), "{here}");
}

#[test]
fn one_is_behind_a_nat() {
    let pair = Pair::new(Lab::behind_nat());
    let turn = pair.lab.turn_server();
    let bytes = noise(10 * MB);
    let (here, there) = pair.well(&bytes, pair.begin(&bytes, &["--stun", &stun(&turn)]));
    assert_eq!(way(&here, "directly: "), ("192.168.1.11".into(), "203.0.113.12".into()));
    assert_eq!(way(&there, "directly: "), ("203.0.113.12".into(), "203.0.113.21".into()));
}

#[test]
fn both_are_behind_nats_and_open_a_way_by_stun() {
    let pair = Pair::new(Lab::both_behind_nat());
    let turn = pair.lab.turn_server();
    let bytes = noise(10 * MB);
    let (here, there) = pair.well(&bytes, pair.begin(&bytes, &["--stun", &stun(&turn)]));
    assert_eq!(way(&here, "directly: "), ("192.168.1.11".into(), "203.0.113.22".into()));
    assert_eq!(way(&there, "directly: "), ("192.168.2.12".into(), "203.0.113.21".into()));
}

#[test]
fn without_stun_there_is_no_way_through_two_nats() {
    let pair = Pair::new(Lab::both_behind_nat());
    let (sharing, connecting) = pair.begin(b"f", &["--stun", "none"]);
    let why = "no path was found, and no STUN server was asked: name one on both sides (stun in the config file, --stun)";
    connecting.fails(7, why);
    stops(sharing);
}

const NO_TURN: &str =
    "no direct path was found: name a TURN server on one side at least (turn in the config file)";

#[test]
fn without_turn_there_is_no_way_through_two_walls() {
    let pair = Pair::new(Lab::both_walled());
    let turn = pair.lab.turn_server();
    let (sharing, connecting) = pair.begin(b"f", &["--stun", &stun(&turn)]);
    connecting.fails(7, NO_TURN);
    stops(sharing);
}

/// Names the TURN server in a config file.
fn use_turn(person: &Person, turn: &TurnServer, password: &str) {
    let TurnServer { address, username, .. } = turn;
    let server = format!("url = \"turn:{address}\", username = \"{username}\", password = \"{password}\"");
    configure(person, &format!("turn = [{{ {server} }}]\n"));
}

#[test]
fn a_turn_server_that_refuses_is_told() {
    let pair = Pair::new(Lab::both_walled());
    let turn = pair.lab.turn_server();
    use_turn(&pair.bob, &turn, "wrong");
    let (sharing, connecting) = pair.begin(b"f", &["--stun", &stun(&turn)]);
    let refused =
        "no direct path was found, and the TURN server gave no address: are its name and password right?";
    connecting.fails(7, refused);
    stops(sharing);
}

/// A transfer in the middle of which one of the two gets another address.
fn moves(lab: Lab, host: Host) -> (String, String) {
    let mut pair = Pair::new(lab);
    let turn = pair.lab.turn_server();
    let bytes = noise(60 * MB);
    let (sharing, connecting) = pair.begin(&bytes, &["--stun", &stun(&turn)]);
    connecting.says("receiving: 20 %");
    pair.lab.change_address(host);
    let (here, there) = pair.well(&bytes, (sharing, connecting));
    let moved = if host == Host::Alice { &here } else { &there };
    let lost = moved.find("\nno packets get through: looking for another way, for a minute and a half\n");
    let found = moved.find("\nfound another way: going on\n");
    assert!(lost.is_some() && lost < found, "{here}{there}");
    for err in [&here, &there] {
        // It is the same transfer. The other side may have noticed nothing but another path.
        assert!(!err.contains("were there already"), "{err}");
    }
    (here, there)
}

#[test]
fn who_receives_gets_another_address() {
    let (here, there) = moves(Lab::two_hosts(), Host::Bob);
    let (from, to) = way(&there, "directly: ");
    assert_eq!(way(&here, "directly: "), (to, from.clone()));
    assert!(["203.0.113.112", "[2001:db8::112]"].contains(&from.as_str()), "{there}");
}

#[test]
fn who_sends_from_behind_a_nat_gets_another_address() {
    let (here, there) = moves(Lab::behind_nat(), Host::Alice);
    assert_eq!(way(&here, "directly: ").0, "192.168.1.111");
    assert_eq!(way(&there, "directly: ").1, "203.0.113.21");
}
#[test]
fn a_turn_server_passes_on_what_walls_keep_apart() {
    let pair = Pair::new(Lab::both_walled());
    let turn = pair.lab.turn_server();
    // One side is enough.
    use_turn(&pair.bob, &turn, &turn.password);
    let bytes = noise(10 * MB);
    let (here, there) = pair.well(&bytes, pair.begin(&bytes, &["--stun", &stun(&turn)]));
    assert_eq!(way(&there, "by way of a TURN server: "), ("203.0.113.1".into(), "203.0.113.21".into()));
    assert_eq!(way(&here, "directly: "), ("192.168.1.11".into(), "203.0.113.1".into()));
}
