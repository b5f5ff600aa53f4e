//! The lab is what it says: who reaches whom, by which address, and what is left afterwards.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt as _,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::{Output, Stdio},
};

use super::{Host, Lab, TurnServer};
use crate::harness::{Person, Running, python, stderr, stdout, until};

/// A UDP socket at the port of the first argument. It prints what comes and from where, and sends what it reads: an
/// address, a port and a word.
const SOCKET: &str = r#"
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
def listen():
    while True:
        word, source = udp.recvfrom(100)
        print(word.decode(), "from", source[0], source[1], flush=True)
threading.Thread(target=listen, daemon=True).start()
for line in sys.stdin:
    address, port, word = line.split()
    udp.sendto(word.encode(), (address, int(port)))
"#;

/// A program with a UDP socket in the network of a host.
struct Udp(Running);

impl Udp {
    fn at(lab: &Lab, host: Host, address: &str, port: u16) -> Self {
        let mut command = lab.command(host, python());
        command.args(["-c", SOCKET, address, &port.to_string()]);
        let mut running = Running::start(command);
        running.says("ready");
        Self(running)
    }

    fn send(&mut self, to: &str, word: &str) {
        use std::io::Write as _;
        writeln!(self.0.child.stdin.as_mut().unwrap(), "{to} {word}").unwrap();
    }

    /// The next word that comes, and from where.
    fn hears(&mut self) -> String {
        self.0.says("")
    }
}

fn run(lab: &Lab, host: Host, program: &str, args: &[&str]) -> Output {
    lab.command(host, program).args(args).output().unwrap()
}

/// The address that coturn sees, as coturn's own client prints it.
fn reflexive(lab: &Lab, host: Host, turn: &TurnServer) -> SocketAddr {
    let output = run(
        lab,
        host,
        "turnutils_stunclient",
        &["-p", &turn.address.port().to_string(), &turn.address.ip().to_string()],
    );
    let said = stdout(&output);
    let (_, address) = said.split_once("UDP reflexive addr: ").unwrap_or_else(|| panic!("{said}"));
    address.lines().next().unwrap().parse().unwrap()
}

/// Sends three packets each way between two clients on this host, through TURN.
fn through_turn(lab: &Lab, host: Host, turn: &TurnServer, password: &str) -> Output {
    let address = turn.address.ip().to_string();
    let args =
        ["10", "turnutils_uclient", "-y", "-c", "-n", "3", "-u", &turn.username, "-w", password, &address];
    run(lab, host, "timeout", &args)
}

#[test]
fn two_hosts_reach_each_other_and_nobody_else() {
    let lab = Lab::two_hosts();
    assert_eq!(lab.address(Host::Alice).to_string(), "203.0.113.11");
    assert_eq!(lab.address(Host::Bob).to_string(), "203.0.113.12");
    assert_eq!(lab.address(Host::Server).to_string(), "203.0.113.1");
    assert_eq!(lab.public_address(Host::Alice), lab.address(Host::Alice));
    assert_eq!(lab.address_v6(Host::Alice).unwrap().to_string(), "2001:db8::11");
    assert_eq!(lab.address_v6(Host::Bob).unwrap().to_string(), "2001:db8::12");
    assert_eq!(lab.address_v6(Host::Server).unwrap().to_string(), "2001:db8::1");

    let mut bob = [Udp::at(&lab, Host::Bob, "0.0.0.0", 7000), Udp::at(&lab, Host::Bob, "2001:db8::12", 7000)];
    let mut alice =
        [Udp::at(&lab, Host::Alice, "0.0.0.0", 7001), Udp::at(&lab, Host::Alice, "2001:db8::11", 7001)];
    alice[0].send("203.0.113.12 7000", "hello");
    assert_eq!(bob[0].hears(), "hello from 203.0.113.11 7001");
    bob[0].send("203.0.113.11 7001", "yes");
    assert_eq!(alice[0].hears(), "yes from 203.0.113.12 7000");
    alice[1].send("2001:db8::12 7000", "hello");
    assert_eq!(bob[1].hears(), "hello from 2001:db8::11 7001");

    for host in [Host::Alice, Host::Bob, Host::Server] {
        for elsewhere in ["198.51.100.1", "2001:db8:1::1"] {
            let output = run(&lab, host, "ip", &["route", "get", elsewhere]);
            assert!(stderr(&output).contains("Network is unreachable"), "{host:?} {elsewhere} {output:?}");
        }
    }
}

#[test]
fn the_relay_is_on_the_loopback_of_both() {
    for lab in [Lab::two_hosts(), Lab::both_walled()] {
        let relay = lab.relay(&["--database", "sqlite::memory:"]);
        assert_eq!(relay.url, "http://203.0.113.1:8080");
        assert_eq!(lab.relay_url(), "http://127.0.0.1:8080");
        for host in [Host::Alice, Host::Bob] {
            let info = run(&lab, host, "curl", &["-sS", "http://127.0.0.1:8080/info"]);
            let public = lab.public_address(host);
            assert!(stdout(&info).contains(&format!(r#""client":"{public}""#)), "{info:?}");
        }
        // The program goes the same way, and takes it for its own machine.
        let (alice, bob) = (Person::new(), Person::new());
        let connectoid = |host, person: &Person, args: &[&str]| {
            let mut command = person.at_home(lab.command(host, "connectoid"));
            let output = command.args(args).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{args:?} {output:?}");
            stdout(&output)
        };
        let link = connectoid(Host::Alice, &alice, &["link", "--relay", lab.relay_url(), "--for", "Bob"]);
        connectoid(Host::Bob, &bob, &["send", link.trim()]);
        assert!(connectoid(Host::Alice, &alice, &["receive", "Bob", "--json"]).contains(r#""n":1"#));

        // A new one takes its place.
        drop(relay);
        let gone = run(&lab, Host::Bob, "curl", &["-sS", "http://127.0.0.1:8080/info"]);
        assert_eq!(gone.status.code(), Some(7), "{gone:?}");
        let _relay = lab.relay(&["--database", "sqlite::memory:"]);
        let back = run(&lab, Host::Bob, "curl", &["-sS", "http://127.0.0.1:8080/info"]);
        assert_eq!(back.status.code(), Some(0), "{back:?}");
    }
}

#[test]
fn nobody_opens_a_way_to_who_is_behind_a_nat() {
    let lab = Lab::behind_nat();
    assert_eq!(lab.address(Host::Alice).to_string(), "192.168.1.11");
    assert_eq!(lab.address_v6(Host::Alice), None);
    assert_eq!(lab.public_address(Host::Alice).to_string(), "203.0.113.21");
    assert_eq!(lab.public_address(Host::Bob).to_string(), "203.0.113.12");
    let mut alice = Udp::at(&lab, Host::Alice, "0.0.0.0", 7000);
    let mut bob = Udp::at(&lab, Host::Bob, "0.0.0.0", 7000);
    let mut other = Udp::at(&lab, Host::Bob, "0.0.0.0", 7001);

    // Neither to the NAT's address, nor past it.
    bob.send("203.0.113.21 7000", "uninvited");
    until(|| lab.dropped(Host::Alice) == 1);
    let past = ["route", "add", "192.168.1.0/24", "via", "203.0.113.21"];
    assert!(run(&lab, Host::Bob, "ip", &past).status.success());
    bob.send("192.168.1.11 7000", "uninvited");
    until(|| lab.dropped(Host::Alice) == 2);

    // Once she wrote to him, he may answer, from that port alone.
    alice.send("203.0.113.12 7000", "hello");
    assert_eq!(bob.hears(), "hello from 203.0.113.21 7000");
    other.send("203.0.113.21 7000", "uninvited");
    until(|| lab.dropped(Host::Alice) == 3);
    bob.send("203.0.113.21 7000", "yes");
    assert_eq!(alice.hears(), "yes from 203.0.113.12 7000");

    // Everybody sees her at the same port.
    alice.send("203.0.113.12 7001", "hello");
    assert_eq!(other.hears(), "hello from 203.0.113.21 7000");
}

#[test]
fn two_behind_nats_open_a_way_by_both_trying() {
    let lab = Lab::both_behind_nat();
    let mut alice = Udp::at(&lab, Host::Alice, "0.0.0.0", 7000);
    let mut bob = Udp::at(&lab, Host::Bob, "0.0.0.0", 7000);
    alice.send("203.0.113.22 7000", "first");
    until(|| lab.dropped(Host::Bob) == 1);
    bob.send("203.0.113.21 7000", "hello");
    assert_eq!(alice.hears(), "hello from 203.0.113.22 7000");
    alice.send("203.0.113.22 7000", "yes");
    assert_eq!(bob.hears(), "yes from 203.0.113.21 7000");
}

#[test]
fn behind_walls_only_turn_gets_through() {
    let lab = Lab::both_walled();
    let mut alice = Udp::at(&lab, Host::Alice, "0.0.0.0", 7000);
    alice.send("203.0.113.22 7000", "hello");
    until(|| lab.dropped(Host::Alice) == 1);
    assert_eq!(lab.dropped(Host::Bob), 0);

    let turn = lab.turn_server();
    let output = through_turn(&lab, Host::Alice, &turn, &turn.password);
    let said = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
    assert!(said.contains("tot_send_msgs=6, tot_recv_msgs=6"), "{said}");
    let wrong = through_turn(&lab, Host::Alice, &turn, "wrong");
    assert_eq!(wrong.status.code(), Some(255), "{wrong:?}");
    assert!(stdout(&wrong).contains("Cannot complete Allocation"), "{wrong:?}");
}

#[test]
fn coturn_sees_the_address_of_the_nat() {
    let lab = Lab::behind_nat();
    let turn = lab.turn_server();
    assert_eq!(turn.address.to_string(), "203.0.113.1:3478");
    assert_eq!(reflexive(&lab, Host::Alice, &turn).ip(), Ipv4Addr::new(203, 0, 113, 21));
    assert_eq!(reflexive(&lab, Host::Bob, &turn).ip(), Ipv4Addr::new(203, 0, 113, 12));
}

#[test]
fn an_old_address_is_gone() {
    let mut lab = Lab::behind_nat();
    let _relay = lab.relay(&["--database", "sqlite::memory:"]);
    let turn = lab.turn_server();
    lab.change_address(Host::Alice);
    lab.change_address(Host::Bob);
    assert_eq!(lab.address(Host::Alice).to_string(), "192.168.1.111");
    assert_eq!(lab.public_address(Host::Alice).to_string(), "203.0.113.21");
    assert_eq!(lab.public_address(Host::Bob).to_string(), "203.0.113.112");
    assert_eq!(lab.address_v6(Host::Bob).unwrap().to_string(), "2001:db8::112");

    let addresses = |host| {
        let output =
            stdout(&run(&lab, host, "ip", &["-brief", "addr", "show", "dev", "lan", "scope", "global"]));
        output.split_whitespace().skip(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(addresses(Host::Alice), ["192.168.1.111/24"]);
    assert_eq!(addresses(Host::Bob), ["203.0.113.112/24", "2001:db8::112/64"]);
    assert_eq!(reflexive(&lab, Host::Alice, &turn).ip(), Ipv4Addr::new(203, 0, 113, 21));
    assert_eq!(reflexive(&lab, Host::Bob, &turn).ip(), Ipv4Addr::new(203, 0, 113, 112));
    for host in [Host::Alice, Host::Bob] {
        let info = run(&lab, host, "curl", &["-sS", "http://127.0.0.1:8080/info"]);
        assert!(stdout(&info).contains(r#""client":"203.0.113."#), "{info:?}");
    }
    let (mut alice, mut bob) =
        (Udp::at(&lab, Host::Alice, "0.0.0.0", 7000), Udp::at(&lab, Host::Bob, "0.0.0.0", 7000));
    alice.send("203.0.113.112 7000", "hello");
    assert_eq!(bob.hears(), "hello from 203.0.113.21 7000");
}

/// The networks that processes are in, as the kernel names them.
fn networks() -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| fs::read_link(process.path().join("ns/net")).ok()).collect()
}

#[test]
fn nothing_is_left_after_a_panic() {
    let mut own = Vec::new();
    // A process that nobody ends.
    let mut left = None;
    let failing = AssertUnwindSafe(|| {
        let lab = Lab::behind_nat();
        let _turn = lab.turn_server();
        let spaces =
            [Some(&lab.server), Some(&lab.alice.space), Some(&lab.bob.space), lab.alice.router.as_ref()];
        for space in spaces.into_iter().flatten() {
            own.push(fs::read_link(format!("/proc/{}/ns/net", space.holder.id())).unwrap());
        }
        left = lab.command(Host::Bob, "sleep").arg("1000").spawn().ok();
        let seen = networks();
        assert!(own.iter().all(|network| seen.contains(network)));
        panic!("as a test that fails");
    });
    assert!(panic::catch_unwind(failing).is_err());
    assert_eq!(left.unwrap().wait().unwrap().signal(), Some(9));
    assert_eq!(own.len(), 4);
    let seen = networks();
    assert!(!own.iter().any(|network| seen.contains(network)));
}
