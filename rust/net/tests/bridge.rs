//! Containers on the bridge: address, neighbours, the way out, and that nothing is left.

mod common;

use std::net::TcpListener;
use std::thread;

use common::*;

#[test]
fn a_container_has_address_route_and_no_ipv6() {
    if !new_host() {
        return;
    }
    let one = Container::new(5);
    let _lease = one.connect(&[]);
    let eth0 = one
        .inside(|| pyd_net::links().unwrap())
        .into_iter()
        .find(|l| l.name == "eth0")
        .unwrap();
    assert_eq!(eth0.addresses, ["172.30.0.5/16"]);
    assert_eq!(eth0.mac, "02:42:ac:1e:00:05");
    assert!(eth0.up);
    let v6 = one.inside(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap());
    assert!(!v6.contains("eth0"), "{v6}");
    let route = one.inside(|| std::fs::read_to_string("/proc/thread-self/net/route").unwrap());
    assert!(
        route
            .lines()
            .any(|l| l.starts_with("eth0\t00000000\t01001EAC")),
        "{route}"
    );
    assert!(links().contains(&"pyd05050505".to_owned()));
}

#[test]
fn neighbours_reach_each_other_and_the_host() {
    if !new_host() {
        return;
    }
    let (one, two) = (Container::new(5), Container::new(6));
    let _leases = (one.connect(&[]), two.connect(&[]));
    one.echo_tcp(80);
    echo(TcpListener::bind("0.0.0.0:81").unwrap());
    assert_eq!(
        two.inside(|| ask("172.30.0.5:80")).unwrap(),
        "172.30.0.6 hello"
    );
    assert_eq!(
        two.inside(|| ask("172.30.0.1:81")).unwrap(),
        "172.30.0.6 hello"
    );
    assert_eq!(ask("172.30.0.5:80").unwrap(), "172.30.0.1 hello");
}

#[test]
fn the_way_out_is_masqueraded_and_the_way_in_is_closed() {
    if !new_host() {
        return;
    }
    let one = Container::new(5);
    let _lease = one.connect(&[]);
    one.echo_tcp(80);
    let outside = neighbour();
    outside.echo_tcp(80);
    assert_eq!(one.inside(|| ask("10.9.0.2:80")).unwrap(), "10.9.0.1 hello");
    // A neighbour that routes our subnet through us, and one container network that tries another.
    outside.inside(|| ip("route add 172.30.0.0/16 via 10.9.0.1"));
    assert!(outside.inside(|| ask("172.30.0.5:80")).is_err());
}

#[test]
fn many_creators_of_one_bridge_all_succeed() {
    if !new_host() {
        return;
    }
    let containers: Vec<Container> = (10..26).map(Container::new).collect();
    thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| {
                container.connect(&[tcp(8000 + u16::from(container.address.octets()[3]), 80)])
            });
        }
    });
    assert_eq!(links().iter().filter(|name| *name == BRIDGE).count(), 1);
    let rules = ruleset();
    assert_eq!(rules.matches(" masquerade\n").count(), 3, "{rules}");
    assert_eq!(rules.matches("comment").count(), 16, "{rules}");
}

#[test]
fn a_bridge_with_a_new_subnet_masquerades_it() {
    if !new_host() {
        return;
    }
    let outside = neighbour();
    outside.echo_tcp(80);
    let (one, mut two) = (Container::new(5), Container::new(6));
    let _lease = one.connect(&[]);
    two.address = "172.31.0.6".parse().unwrap();
    let mut network = two.network(&[]);
    network.bridge.gateway = "172.31.0.1".parse().unwrap();
    let _other = pyd_net::setup(&network, two.tid, &two.id).unwrap();
    for container in [&one, &two] {
        let answer = container.inside(|| ask("10.9.0.2:80"));
        assert_eq!(answer.unwrap(), "10.9.0.1 hello");
    }
}

#[test]
fn a_restarted_container_replaces_its_old_link() {
    if !new_host() {
        return;
    }
    let old = Container::new(5);
    let _first = old.connect(&[]);
    let new = Container::new(5);
    let _second = new.connect(&[]);
    new.echo_tcp(80);
    assert_eq!(ask("172.30.0.5:80").unwrap(), "172.30.0.1 hello");
    assert!(!old.inside(links).contains(&"eth0".to_owned()));
    // Same first eight digits, another container.
    let mut other = Container::new(6);
    other.id = format!("05050505{}", "77".repeat(28));
    let _third = other.connect(&[]);
    assert!(links().contains(&"pyd77777777".to_owned()));
    assert_eq!(ask("172.30.0.5:80").unwrap(), "172.30.0.1 hello");
}

#[test]
fn the_bridge_goes_when_asked_and_free() {
    if !new_host() {
        return;
    }
    let one = Container::new(5);
    let mut lease = one.connect(&[tcp(8080, 80)]);
    let refused = pyd_net::remove_bridge(BRIDGE).unwrap_err();
    assert_eq!(refused.errno, libc::EBUSY);
    lease.teardown().unwrap();
    drop(one);
    wait_until("the veth is gone", || {
        !links().contains(&"pyd05050505".to_owned())
    });
    assert!(links().contains(&BRIDGE.to_owned()));
    pyd_net::remove_bridge(BRIDGE).unwrap();
    pyd_net::remove_bridge(BRIDGE).unwrap();
    assert_eq!(links(), ["lo"]);
    assert_eq!(ruleset(), "");
}

#[test]
fn a_link_that_is_no_bridge_is_not_taken() {
    if !new_host() {
        return;
    }
    ip("link add pyd0 type veth peer name other");
    let one = Container::new(5);
    let refused = pyd_net::setup(&one.network(&[]), one.tid, &one.id).unwrap_err();
    assert_eq!(refused.errno, libc::EEXIST);
    assert!(refused.hint.unwrap().contains("PYD_BRIDGE"));
}

#[test]
fn addresses_are_the_subnets_in_use() {
    if !new_host() {
        return;
    }
    let _outside = neighbour();
    ip("route add 192.168.7.0/24 via 10.9.0.2");
    assert_eq!(
        pyd_net::addresses().unwrap(),
        ["10.9.0.0/24", "127.0.0.0/8", "192.168.7.0/24"]
    );
}

#[test]
fn a_dropping_firewall_of_others_is_passed_or_reported() {
    if !new_host() {
        return;
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    assert!(pyd_net::obstacles(BRIDGE)[0].contains("net.ipv4.ip_forward is 0"));
    let outside = neighbour();
    outside.echo_tcp(80);
    nft("table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }");
    nft("table ip mine { chain gate { type filter hook forward priority 0; policy drop; }; }");
    let one = Container::new(5);
    let _lease = one.connect(&[]);
    // Docker's table is entered, another's is not.
    assert!(one.inside(|| ask("10.9.0.2:80")).is_err());
    let found = pyd_net::obstacles(BRIDGE);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains("the chain ip mine gate drops"),
        "{found:?}"
    );
    nft("delete table ip mine");
    assert_eq!(pyd_net::obstacles(BRIDGE), Vec::<String>::new());
    assert_eq!(one.inside(|| ask("10.9.0.2:80")).unwrap(), "10.9.0.1 hello");
    // Once only, and gone with the bridge.
    let two = Container::new(6);
    let _other = two.connect(&[]);
    assert_eq!(ruleset().matches("pyd bridge pyd0").count(), 2);
    drop((one, two));
    wait_until("the bridge is free", || {
        pyd_net::remove_bridge(BRIDGE).is_ok()
    });
    assert!(!ruleset().contains("pyd"), "{}", ruleset());
}
