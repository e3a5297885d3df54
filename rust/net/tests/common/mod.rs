//! A throw-away host: every test has a network namespace of its own, so nothing reaches the machine's network.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{geteuid, gettid};
use pyd_net::{Bridge, Lease, Network, Port, Proto};
use pyd_sys::netns;

pub const BRIDGE: &str = "pyd0";

/// Move the calling thread into a new network namespace. False (with a reason printed) without the right to it.
pub fn new_host() -> bool {
    if !geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        eprintln!("skipped: needs root and CAP_NET_ADMIN");
        return false;
    }
    pyd_net::loopback_up().unwrap();
    true
}

/// A container as far as the network goes: a parked thread in a namespace of its own.
pub struct Container {
    pub id: String,
    pub address: Ipv4Addr,
    pub tid: i32,
    pub ns: OwnedFd,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Container {
    /// `number` becomes the last byte of the address and the id.
    pub fn new(number: u8) -> Self {
        let (ready, started) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            pyd_net::loopback_up().unwrap();
            ready.send(gettid().as_raw()).unwrap();
            let _ = ended.recv();
        });
        let tid = started.recv().unwrap();
        Self {
            id: format!("{number:02x}").repeat(32),
            address: Ipv4Addr::new(172, 30, 0, number),
            tid,
            ns: netns::of_process(tid).unwrap(),
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub fn network(&self, ports: &[Port]) -> Network {
        Network {
            bridge: Bridge {
                name: BRIDGE.to_owned(),
                gateway: Ipv4Addr::new(172, 30, 0, 1),
                prefix: 16,
            },
            address: self.address,
            mac: format!("02:42:ac:1e:00:{:02x}", self.address.octets()[3]),
            mtu: 1500,
            ports: ports.to_vec(),
        }
    }

    pub fn connect(&self, ports: &[Port]) -> Lease {
        let lease = pyd_net::setup(&self.network(ports), self.tid, &self.id).unwrap();
        assert_eq!(lease.warnings, Vec::<String>::new());
        lease
    }

    pub fn inside<T>(&self, job: impl FnOnce() -> T) -> T {
        netns::inside(&self.ns, job).unwrap()
    }

    /// Serve TCP on `port`: answers each connection with "<client ip> " and what it sent, until the client's end.
    pub fn echo_tcp(&self, port: u16) {
        let listener = self.inside(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
        echo(listener);
    }

    pub fn echo_udp(&self, port: u16) {
        let socket = self.inside(|| UdpSocket::bind(("0.0.0.0", port)).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let mut answer = format!("{} ", client.ip()).into_bytes();
                answer.extend_from_slice(&buffer[..length]);
                let _ = socket.send_to(&answer, client);
            }
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn echo(listener: TcpListener) {
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            thread::spawn(move || {
                let from = client.peer_addr().unwrap().ip();
                write!(client, "{from} ")?;
                let mut buffer = [0; 65536];
                loop {
                    match client.read(&mut buffer)? {
                        0 => return std::io::Result::Ok(()),
                        length => client.write_all(&buffer[..length])?,
                    }
                }
            });
        }
    });
}

/// What an echo server answers to "hello".
pub fn ask(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"hello")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub fn ask_udp(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send(b"hello")?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Serve the lease, as a shim does, while a client works in another thread of this namespace.
pub fn served<T: Send + 'static>(
    lease: &mut Lease,
    client: impl FnOnce() -> T + Send + 'static,
) -> T {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let client = thread::spawn(client);
    let start = Instant::now();
    while !client.is_finished() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "a proxied client hangs"
        );
        if let Some(fd) = lease.poll_fd() {
            let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(10u8)).unwrap();
        } else {
            thread::sleep(Duration::from_millis(1));
        }
        lease.serve();
    }
    client.join().unwrap()
}

pub fn port(proto: Proto, host_ip: &str, host_port: u16, container_port: u16) -> Port {
    Port {
        proto,
        host_ip: host_ip.parse().unwrap(),
        host_port,
        container_port,
    }
}

pub fn tcp(host_port: u16, container_port: u16) -> Port {
    port(Proto::Tcp, "0.0.0.0", host_port, container_port)
}

/// A neighbour on the wire: host 10.9.0.1 (link `wire`), neighbour 10.9.0.2 in a namespace of its own.
pub fn neighbour() -> Container {
    let other = Container::new(250);
    ip(&format!(
        "link add wire type veth peer name wire netns /proc/{}/ns/net",
        other.tid
    ));
    ip("addr add 10.9.0.1/24 dev wire");
    ip("link set wire up");
    other.inside(|| {
        ip("addr add 10.9.0.2/24 dev wire");
        ip("link set wire up");
    });
    other
}

/// iproute2, for what is not ours: the world outside.
pub fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
}

pub fn links() -> Vec<String> {
    pyd_net::links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect()
}

pub fn nft(command: &str) {
    assert!(
        Command::new("nft").arg(command).status().unwrap().success(),
        "nft {command}"
    );
}

/// What `nft` shows, to check that it can read what we wrote.
pub fn ruleset() -> String {
    let output = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "not within 5 s: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
