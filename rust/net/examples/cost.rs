//! What the network costs a start: `cargo run --release -p pyd-net --example cost` (root; works in a namespace of its own).

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use pyd_net::{Bridge, Network, Port, Proto};

const ROUNDS: u32 = 200;

fn main() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root");
    let _warm = round(1, &[]);
    for (what, ports) in [("bridge", vec![]), ("bridge and one port", vec![port()])] {
        let mut up = Vec::new();
        let mut down = Vec::new();
        for n in 2..ROUNDS {
            let (setup, teardown) = round(n, &ports);
            up.push(setup);
            down.push(teardown);
        }
        println!(
            "{what}: setup {} us, teardown {} us (medians of {ROUNDS})",
            median(up),
            median(down)
        );
    }
}

fn port() -> Port {
    Port {
        proto: Proto::Tcp,
        host_ip: Ipv4Addr::UNSPECIFIED.into(),
        host_port: 8080,
        container_port: 80,
    }
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn round(number: u32, ports: &[Port]) -> (u128, u128) {
    let (ready, started) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let container = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ready.send(gettid().as_raw()).unwrap();
        let _ = ended.recv();
    });
    let tid = started.recv().unwrap();
    let [_, _, high, low] = number.to_be_bytes();
    let network = Network {
        bridge: Bridge {
            name: "pyd0".to_owned(),
            gateway: Ipv4Addr::new(172, 30, 0, 1),
            prefix: 16,
        },
        address: Ipv4Addr::new(172, 30, high, low + 1),
        mac: format!("02:42:ac:1e:{high:02x}:{low:02x}"),
        mtu: 1500,
        ports: ports.to_vec(),
    };
    let id = format!("{number:08x}").repeat(8);
    let start = Instant::now();
    let mut lease = pyd_net::setup(&network, tid, &id).unwrap();
    let setup = start.elapsed().as_micros();
    let start = Instant::now();
    lease.teardown().unwrap();
    let teardown = start.elapsed().as_micros();
    drop(end);
    container.join().unwrap();
    (setup, teardown)
}
