//! A small internet for one test: hosts, NATs and a server with networks of their own, made of namespaces of the kernel.
//!
//! The networks have no name. A process that waits for the end of its input holds each of them, and takes with it whatever
//! still runs there: nothing is left when the lab is dropped, nor when the test is killed. Labs beside each other may use
//! the same addresses.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{Serving, until};

mod tests;

/// Who has a network: two people, and the server that both can reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Host {
    Alice,
    Bob,
    Server,
}

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, 1);

/// The port of the relay, on the server and on the loopback of both people.
const RELAY_PORT: u16 = 8080;
const TURN_PORT: u16 = 3478;

/// How a person's network meets the public one.
#[derive(Clone, Copy)]
enum Nat {
    /// There is none: the person is on the public network, with IPv4 and IPv6.
    None,
    /// As most homes have it, IPv4 only. Ports are kept, so the address that a STUN server sees is the one that a peer
    /// sees, too (endpoint-independent mapping, as long as two hosts behind the NAT do not take the same port). In come only
    /// packets from the very address and port that one went out to (address- and port-dependent filtering, RFC 4787).
    /// What comes uninvited is dropped before it leaves a trace: else it would take the port from who goes out later.
    Usual,
    /// The same, but only what goes to the server gets out: two people behind such walls need TURN.
    Walled,
}

/// The networks. What runs in them is killed with them.
///
/// All are joined by one public network, `203.0.113.0/24` and `2001:db8::/64`. There is no way out of it.
pub struct Lab {
    server: Space,
    alice: Home,
    bob: Home,
}

/// A person's network, and the router before it.
struct Home {
    space: Space,
    router: Option<Space>,
    address: Ipv4Addr,
    address_v6: Option<Ipv6Addr>,
    /// What the others see.
    public: Ipv4Addr,
}

impl Lab {
    /// Alice and Bob on the public network, with IPv4 and IPv6.
    pub fn two_hosts() -> Self {
        Self::with(Nat::None, Nat::None)
    }

    /// Alice behind a NAT, Bob on the public network.
    pub fn behind_nat() -> Self {
        Self::with(Nat::Usual, Nat::None)
    }

    /// Each behind a NAT of their own. Both know their public address from a STUN server, and can open a way.
    pub fn both_behind_nat() -> Self {
        Self::with(Nat::Usual, Nat::Usual)
    }

    /// Each behind a NAT that lets out only what goes to the server: without TURN there is no way.
    pub fn both_walled() -> Self {
        Self::with(Nat::Walled, Nat::Walled)
    }

    fn with(alice: Nat, bob: Nat) -> Self {
        let server = Space::first();
        // What is sent to private addresses is lost, as out there; coturn ends a session that has nowhere to send to.
        server.ip(&format!(
            "link add public type bridge mcast_snooping 0
             addr add {SERVER}/24 dev public
             addr add {SERVER_V6}/64 dev public nodad
             link set public up
             neigh add 203.0.113.254 lladdr 02:00:00:00:00:01 dev public nud permanent
             route add 192.168.0.0/16 via 203.0.113.254"
        ));
        let alice = Home::new(&server, 1, alice);
        let bob = Home::new(&server, 2, bob);
        Self { server, alice, bob }
    }

    fn home(&self, host: Host) -> Option<&Home> {
        match host {
            Host::Alice => Some(&self.alice),
            Host::Bob => Some(&self.bob),
            Host::Server => None,
        }
    }

    fn space(&self, host: Host) -> &Space {
        self.home(host).map_or(&self.server, |home| &home.space)
    }

    /// A command that runs in the network of this host, its arguments still to come. A signal to its process is one to the
    /// program. [`Person::at_home`](crate::harness::Person::at_home) gives it a home.
    pub fn command(&self, host: Host, program: impl AsRef<OsStr>) -> Command {
        self.space(host).command(program)
    }

    /// The host's own IPv4 address.
    pub fn address(&self, host: Host) -> Ipv4Addr {
        self.home(host).map_or(SERVER, |home| home.address)
    }

    /// The host's own IPv6 address. Who is behind a NAT has none that leads beyond the link.
    pub fn address_v6(&self, host: Host) -> Option<Ipv6Addr> {
        self.home(host).map_or(Some(SERVER_V6), |home| home.address_v6)
    }

    /// The address by which the others see this host: its own, or its NAT's.
    pub fn public_address(&self, host: Host) -> Ipv4Addr {
        self.home(host).map_or(SERVER, |home| home.public)
    }

    /// How many packets the NAT of this host has dropped.
    pub fn dropped(&self, host: Host) -> u64 {
        let router = self.home(host).and_then(|home| home.router.as_ref());
        let counter =
            router.expect("a host behind a NAT").run("nft", &["list", "counter", "ip", "nat", "dropped"], "");
        let (_, count) = counter.split_once("packets ").unwrap();
        count.split(' ').next().unwrap().parse().unwrap()
    }

    /// Gives the host of a person a new address in its network, IPv4 and IPv6; it loses the old one.
    pub fn change_address(&mut self, host: Host) {
        let home = match host {
            Host::Alice => &mut self.alice,
            Host::Bob => &mut self.bob,
            Host::Server => panic!("the server stays where it is"),
        };
        home.change_address();
    }

    /// Starts a relay on the server, with these arguments after `serve`.
    pub fn relay(&self, args: &[&str]) -> Serving {
        let mut command = self.command(Host::Server, env!("CARGO_BIN_EXE_connectoid"));
        command.arg("serve").args(args).args(["--url", self.relay_url()]);
        Serving::start_by(command, |command| {
            command.env("CONNECTOID_LISTEN", format!("{SERVER}:{RELAY_PORT}"));
        })
    }

    /// Where Alice and Bob find it. Clients speak plain HTTP with their own machine only, so what they send to this port
    /// of theirs goes to the server's, as through a tunnel.
    pub fn relay_url(&self) -> &'static str {
        "http://127.0.0.1:8080"
    }

    /// Starts coturn on the server, by UDP and TCP: STUN for everybody, TURN for who has the password.
    pub fn turn_server(&self) -> TurnServer {
        let password = format!("{:032x}", rand::random::<u128>());
        let folder = tempfile::tempdir().unwrap();
        let mut command = self.command(Host::Server, "turnserver");
        command.args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--log-file=stdout"]);
        command.arg(format!("--listening-ip={SERVER}")).arg(format!("--relay-ip={SERVER}"));
        command.arg(format!("--listening-port={TURN_PORT}"));
        command.args(["--lt-cred-mech", "--realm=lab.example"]).arg(format!("--user=alice:{password}"));
        command.arg(format!("--userdb={}", folder.path().join("users").display()));
        command.arg(format!("--pidfile={}", folder.path().join("pid").display()));
        needs("turnserver", "coturn");
        let mut coturn = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(|| {
            assert_eq!(coturn.try_wait().unwrap(), None, "coturn did not start: {command:?}");
            let socket = ["-Hlun", &format!("src {SERVER}:{TURN_PORT}")];
            !self.server.run("ss", &socket, "").is_empty()
        });
        let address = SocketAddrV4::new(SERVER, TURN_PORT);
        TurnServer { address, username: "alice".into(), password, coturn, _folder: folder }
    }
}

/// coturn, killed when dropped.
pub struct TurnServer {
    pub address: SocketAddrV4,
    pub username: String,
    pub password: String,
    coturn: Child,
    _folder: TempDir,
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        drop(self.coturn.kill());
        drop(self.coturn.wait());
    }
}

impl Home {
    /// The network of the person with this number, joined to the public one on the server.
    fn new(server: &Space, n: u8, nat: Nat) -> Self {
        let space = server.another();
        let public = |last: u8| Ipv4Addr::new(203, 0, 113, last);
        let home = match nat {
            Nat::None => {
                space.join("lan", server, &format!("host-{n}"));
                server.ip(&format!("link set host-{n} master public up"));
                let address = public(10 + n);
                Self { space, router: None, address, address_v6: Some(v6(10 + n)), public: address }
            }
            Nat::Usual | Nat::Walled => {
                let router = server.another();
                router.join("public", server, &format!("router-{n}"));
                server.ip(&format!("link set router-{n} master public up"));
                space.join("lan", &router, "private");
                router.ip(&format!(
                    "addr add {}/24 dev public
                     addr add 192.168.{n}.1/24 dev private
                     link set public up
                     link set private up",
                    public(20 + n)
                ));
                let served =
                    if matches!(nat, Nat::Walled) { format!("ip daddr {SERVER}") } else { String::new() };
                router.run("nft", &["-f", "-"], &router_rules(&served));
                router.set("ipv4/ip_forward");
                let address = Ipv4Addr::new(192, 168, n, 10 + n);
                Self { space, router: Some(router), address, address_v6: None, public: public(20 + n) }
            }
        };
        home.space.run("nft", &["-f", "-"], &tunnel_rules());
        // Packets from and to 127.0.0.1 may use the network: the tunnel's.
        home.space.set("ipv4/conf/all/route_localnet");
        home.space.ip("link set lan up");
        home.settle();
        home
    }

    fn change_address(&mut self) {
        self.space.ip("addr flush dev lan scope global");
        let [a, b, c, d] = self.address.octets();
        self.address = Ipv4Addr::new(a, b, c, d + 100);
        if self.router.is_none() {
            self.public = self.address;
            self.address_v6 = self.address_v6.map(|_| v6(d + 100));
        }
        self.settle();
    }

    /// Gives the host its addresses and routes, and waits until they can be used.
    fn settle(&self) {
        self.space.ip(&format!("addr add {}/24 dev lan", self.address));
        if let Some(address) = self.address_v6 {
            self.space.ip(&format!("addr add {address}/64 dev lan nodad"));
        }
        if self.router.is_some() {
            let [a, b, c, _] = self.address.octets();
            self.space.ip(&format!("route add default via {a}.{b}.{c}.1"));
        }
        let routes = if self.address_v6.is_some() { 2 } else { 1 };
        until(|| {
            let up = |version| {
                self.space.run("ip", &[version, "route", "show", "dev", "lan", "proto", "kernel"], "")
            };
            up("-4").lines().count() + up("-6").lines().filter(|route| !route.starts_with("fe80:")).count()
                == routes
        });
    }
}

/// The IPv6 address on the public network that ends with the same number as the IPv4 one.
fn v6(last: u8) -> Ipv6Addr {
    format!("2001:db8::{last}").parse().unwrap()
}

/// What a NAT does; `served` says what it lets out.
fn router_rules(served: &str) -> String {
    format!(
        r#"table ip nat {{
            counter dropped {{ }}
            chain out {{
                type nat hook postrouting priority srcnat
                oifname "public" masquerade
            }}
            chain through {{
                type filter hook forward priority filter
                ct state established,related accept
                iifname "private" oifname "public" {served} accept
                counter name dropped drop
            }}
            chain own {{
                type filter hook input priority filter
                ct state established,related accept
                iifname "public" counter name dropped drop
            }}
        }}"#
    )
}

/// What goes to the relay's port on this machine goes to the server. Nothing else of 127.0.0.1 leaves the machine.
fn tunnel_rules() -> String {
    format!(
        r#"table ip tunnel {{
            chain stay {{
                type filter hook output priority filter
                ip saddr 127.0.0.1 oifname "lan" meta l4proto udp drop
            }}
            chain away {{
                type nat hook output priority -100
                ip daddr 127.0.0.1 tcp dport {RELAY_PORT} dnat to {SERVER}
            }}
            chain from {{
                type nat hook postrouting priority srcnat
                ip saddr 127.0.0.1 oifname "lan" masquerade
            }}
        }}"#
    )
}

/// A network without anything but loopback, until something is put into it.
struct Space {
    holder: Child,
    /// Who has the right to change it: none if this process has it, being root.
    owner: Option<u32>,
}

impl Space {
    /// The first of a lab. Without root it comes with a user namespace in which we are.
    fn first() -> Self {
        for (program, package) in [("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")] {
            needs(program, package);
        }
        let is_root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        if !is_root {
            command.args(["--user", "--map-root-user"]);
        }
        let holder = hold(command);
        let owner = (!is_root).then(|| holder.id());
        Self { holder, owner }
    }

    /// One more, of the same owner.
    fn another(&self) -> Self {
        let command = match self.owner {
            None => Command::new("unshare"),
            Some(_) => enter(self.owner, &[], "unshare"),
        };
        Self { holder: hold(command), owner: self.owner }
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        enter(self.owner, &[format!("--net=/proc/{}/ns/net", self.holder.id())], program)
    }

    /// Joins this network with another by a cable, whose ends get these names.
    fn join(&self, end: &str, other: &Self, other_end: &str) {
        let pid = other.holder.id();
        self.ip(&format!("link add {end} type veth peer name {other_end} netns {pid}"));
    }

    /// Runs commands of `ip`, one a line.
    fn ip(&self, commands: &str) {
        self.run("ip", &["-batch", "-"], commands);
    }

    /// Switches on a setting under `/proc/sys/net`.
    fn set(&self, name: &str) {
        self.run("sh", &["-c", &format!("echo 1 >/proc/sys/net/{name}")], "");
    }

    /// Runs a program in this network; it must succeed. What it printed.
    fn run(&self, program: &str, args: &[&str], stdin: &str) -> String {
        let mut command = self.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?} {stdin}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // It closes its input before.
        drop(self.holder.wait());
    }
}

/// A command within these namespaces and the owner's. It becomes the program: nothing stands between.
fn enter(owner: Option<u32>, namespaces: &[String], program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.env("PATH", system_path());
    if let Some(owner) = owner {
        command.arg(format!("--user=/proc/{owner}/ns/user")).arg("--preserve-credentials");
    }
    command.args(namespaces).arg("--").arg(program);
    command
}

/// What holds a network: a shell that waits for its end, and then kills all that is left in the network but itself.
const HOLD: &str = r#"
ip link set lo up && echo made && cat
exec 2>/dev/null
for net in $(find /proc/[0-9]*/ns/net -maxdepth 0 -lname "$(readlink /proc/$$/ns/net | tr '[]' '??')"); do
    process=${net#/proc/} process=${process%%/*}
    [ "$process" = $$ ] || kill -s KILL "$process"
done
"#;

/// Starts a process with a network of its own, by `unshare`; it ends when we do.
fn hold(mut unshare: Command) -> Child {
    unshare.env("PATH", system_path()).args(["--net", "sh", "-c", HOLD]);
    let mut holder =
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    if said != "made\n" {
        let output = holder.wait_with_output().unwrap();
        panic!(
            "these tests make networks of their own: run them as root, or let users make namespaces \
             (sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0): {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    holder
}

/// Fails if there is no such program, and says where to get it.
fn needs(program: &str, package: &str) {
    let mut version = Command::new(program);
    version.env("PATH", system_path());
    let version = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    match version {
        Ok(mut child) => drop(child.wait()),
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "these tests need {program}: run scripts/test, which installs it, or install it (Debian: apt-get install {package})"
        ),
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Debian has the administrator's programs where only root looks for them.
fn system_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}
