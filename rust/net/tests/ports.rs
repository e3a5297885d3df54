//! Published ports: by NAT, by proxy, taken ones, and that a crash leaves nothing.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use common::*;
use pyd_net::Proto;

#[test]
fn a_port_answers_on_every_address_of_the_host() {
    if !new_host() {
        return;
    }
    let outside = neighbour();
    let (one, two) = (Container::new(5), Container::new(6));
    let mut lease = one.connect(&[tcp(8080, 80)]);
    let _other = two.connect(&[]);
    one.echo_tcp(80);
    // NAT keeps the client's address, but where the container could not answer it.
    assert_eq!(
        outside.inside(|| ask("10.9.0.1:8080")).unwrap(),
        "10.9.0.2 hello"
    );
    assert_eq!(ask("127.0.0.1:8080").unwrap(), "172.30.0.1 hello");
    assert_eq!(ask("10.9.0.1:8080").unwrap(), "10.9.0.1 hello");
    assert_eq!(
        two.inside(|| ask("172.30.0.1:8080")).unwrap(),
        "172.30.0.1 hello"
    );
    assert_eq!(
        two.inside(|| ask("10.9.0.1:8080")).unwrap(),
        "172.30.0.1 hello"
    );
    assert_eq!(
        one.inside(|| ask("10.9.0.1:8080")).unwrap(),
        "172.30.0.1 hello"
    );
    // IPv6 by the proxy.
    let answer = served(&mut lease, || ask("[::1]:8080"));
    assert_eq!(answer.unwrap(), "172.30.0.1 hello");
}

#[test]
fn a_port_on_loopback_is_for_the_host_alone() {
    if !new_host() {
        return;
    }
    let outside = neighbour();
    let one = Container::new(5);
    let _lease = one.connect(&[port(Proto::Tcp, "127.0.0.1", 8080, 80)]);
    one.echo_tcp(80);
    assert_eq!(ask("127.0.0.1:8080").unwrap(), "172.30.0.1 hello");
    assert!(ask("10.9.0.1:8080").is_err());
    assert!(outside.inside(|| ask("10.9.0.1:8080")).is_err());
    // A neighbour that routes 127.0.0.1 over the wire.
    outside.inside(|| {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        ip("addr del 127.0.0.1/8 dev lo");
        ip("route add 127.0.0.1/32 via 10.9.0.1 src 10.9.0.2");
        let _ = Command::new("ip")
            .args(["rule", "del", "table", "local"])
            .status();
        assert!(ask("127.0.0.1:8080").is_err());
    });
}

#[test]
fn a_container_cannot_reach_the_hosts_loopback() {
    if !new_host() {
        return;
    }
    let one = Container::new(5);
    let _lease = one.connect(&[tcp(8080, 80)]);
    echo(TcpListener::bind("127.0.0.1:81").unwrap());
    let attack = || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        ip("addr del 127.0.0.1/8 dev lo");
        ip("route add 127.0.0.1/32 via 172.30.0.1 src 172.30.0.5");
        ask("127.0.0.1:81")
    };
    assert!(one.inside(attack).is_err());
    // Positive control: without our table the attack works.
    assert!(
        Command::new("nft")
            .args(["delete", "table", "ip", "pyd-pyd0"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        one.inside(|| ask("127.0.0.1:81")).unwrap(),
        "172.30.0.5 hello"
    );
}

#[test]
fn udp_is_published() {
    if !new_host() {
        return;
    }
    let outside = neighbour();
    let one = Container::new(5);
    let mut lease = one.connect(&[port(Proto::Udp, "0.0.0.0", 5353, 53)]);
    one.echo_udp(53);
    assert_eq!(
        outside.inside(|| ask_udp("10.9.0.1:5353")).unwrap(),
        "10.9.0.2 hello"
    );
    assert_eq!(ask_udp("127.0.0.1:5353").unwrap(), "172.30.0.1 hello");
    for _ in 0..3 {
        assert_eq!(
            served(&mut lease, || ask_udp("[::1]:5353")).unwrap(),
            "172.30.0.1 hello"
        );
    }
}

#[test]
fn a_steady_udp_client_follows_a_restart() {
    if !new_host() {
        return;
    }
    let outside = neighbour();
    let published = [port(Proto::Udp, "0.0.0.0", 5353, 53)];
    let client = outside.inside(|| std::net::UdpSocket::bind("10.9.0.2:4000").unwrap());
    client.connect("10.9.0.1:5353").unwrap();
    client
        .set_read_timeout(Some(std::time::Duration::from_secs(2)))
        .unwrap();
    let one = Container::new(5);
    let mut lease = one.connect(&published);
    // The server ends with its container, and answered before: the flow is established.
    let server = one.inside(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
    let mut buffer = [0; 64];
    client.send(b"hello").unwrap();
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"hello", from).unwrap();
    client.recv(&mut buffer).unwrap();
    lease.teardown().unwrap();
    drop((server, lease, one));
    let two = Container::new(6);
    two.echo_udp(53);
    let _lease = two.connect(&published);
    client.send(b"hello").unwrap();
    assert!(client.recv(&mut buffer).is_ok());
}

#[test]
fn the_proxy_moves_much_data_and_half_closes() {
    if !new_host() {
        return;
    }
    let one = Container::new(5);
    let mut lease = one.connect(&[tcp(8080, 80)]);
    one.echo_tcp(80);
    let client = || {
        let mut stream = TcpStream::connect("[::1]:8080").unwrap();
        let sent: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut writing = stream.try_clone().unwrap();
        let bytes = sent.clone();
        let writer = thread::spawn(move || {
            writing.write_all(&bytes).unwrap();
            writing.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        received[b"172.30.0.1 ".len()..] == sent
    };
    assert!(served(&mut lease, client));
    // Many at once, one after another, and to a port where nobody listens.
    let crowd = || {
        let clients: Vec<_> = (0..100)
            .map(|_| thread::spawn(|| ask("[::1]:8080").unwrap()))
            .collect();
        clients
            .into_iter()
            .all(|client| client.join().unwrap() == "172.30.0.1 hello")
    };
    assert!(served(&mut lease, crowd));
    let two = Container::new(6);
    let mut dead = two.connect(&[tcp(8081, 80)]);
    let answer = served(&mut dead, || ask("[::1]:8081"));
    assert!(answer.map_or(true, |text| text.is_empty()));
}

#[test]
fn without_nftables_rules_the_proxy_serves_ipv4_too() {
    if !new_host() {
        return;
    }
    let one = Container::new(5);
    let mut lease = one.connect(&[tcp(8080, 80), port(Proto::Udp, "0.0.0.0", 5353, 53)]);
    one.echo_tcp(80);
    one.echo_udp(53);
    assert!(
        Command::new("nft")
            .args(["flush", "ruleset"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        served(&mut lease, || ask("127.0.0.1:8080")).unwrap(),
        "172.30.0.1 hello"
    );
    assert_eq!(
        served(&mut lease, || ask_udp("127.0.0.1:5353")).unwrap(),
        "172.30.0.1 hello"
    );
    lease.teardown().unwrap();
}

#[test]
fn a_taken_port_is_refused_and_nothing_is_left() {
    if !new_host() {
        return;
    }
    let (one, two) = (Container::new(5), Container::new(6));
    let mut lease = one.connect(&[tcp(8080, 80)]);
    let refused = pyd_net::setup(
        &two.network(&[tcp(8081, 80), tcp(8080, 80)]),
        two.tid,
        &two.id,
    )
    .unwrap_err();
    assert!(
        refused
            .message
            .starts_with("driver failed programming external connectivity on endpoint ")
    );
    assert!(
        refused
            .message
            .ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated")
    );
    assert!(TcpListener::bind("0.0.0.0:8081").is_ok());
    assert!(!links().contains(&"pyd06060606".to_owned()));
    lease.teardown().unwrap();
    let mut lease = two.connect(&[tcp(8080, 80)]);
    lease.teardown().unwrap();
    lease.teardown().unwrap();
    assert!(!ruleset().contains("comment"));
}

#[test]
fn a_crash_is_forgotten_exactly() {
    if !new_host() {
        return;
    }
    let (one, two) = (Container::new(5), Container::new(6));
    let crashed = one.connect(&[tcp(8080, 80), port(Proto::Tcp, "127.0.0.1", 8082, 80)]);
    let _lives = two.connect(&[tcp(8081, 80)]);
    two.echo_tcp(80);
    // A killed shim closes its sockets and runs no teardown.
    drop(crashed);
    assert_eq!(ruleset().matches("comment").count(), 3);
    pyd_net::forget(&one.id).unwrap();
    pyd_net::forget(&one.id).unwrap();
    assert_eq!(ruleset().matches("comment").count(), 1);
    assert!(!links().contains(&"pyd05050505".to_owned()));
    assert_eq!(ask("127.0.0.1:8081").unwrap(), "172.30.0.1 hello");
    pyd_net::forget(&"99".repeat(32)).unwrap();
}

#[test]
fn the_port_of_a_crashed_container_can_be_taken_before_it_is_forgotten() {
    if !new_host() {
        return;
    }
    let (one, two) = (Container::new(5), Container::new(6));
    drop(one.connect(&[tcp(8080, 80)]));
    let _lease = two.connect(&[tcp(8080, 80)]);
    two.echo_tcp(80);
    assert_eq!(ask("127.0.0.1:8080").unwrap(), "172.30.0.1 hello");
    pyd_net::forget(&one.id).unwrap();
    assert_eq!(ask("127.0.0.1:8080").unwrap(), "172.30.0.1 hello");
}
