//! What a container asks of the network, as Python writes it into `shim.json`.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The endpoint of one container on a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub bridge: Bridge,
    /// Address of `eth0`; its prefix is the bridge's.
    pub address: Ipv4Addr,
    /// `02:42:ac:1e:00:05`
    pub mac: String,
    #[serde(default = "ethernet_mtu")]
    pub mtu: u32,
    #[serde(default)]
    pub ports: Vec<Port>,
}

/// The bridge, its address (the containers' gateway) and the length of the subnet's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    pub name: String,
    pub gateway: Ipv4Addr,
    pub prefix: u8,
}

/// A published port: what arrives at `host_ip:host_port` goes to `container_port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Port {
    pub proto: Proto,
    /// `0.0.0.0` publishes on every address of the host, IPv6 ones too.
    pub host_ip: IpAddr,
    pub host_port: u16,
    pub container_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    Tcp,
    Udp,
}

impl Proto {
    /// Protocol number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Proto::Tcp => libc::IPPROTO_TCP as u8,
            Proto::Udp => libc::IPPROTO_UDP as u8,
        }
    }
}

fn ethernet_mtu() -> u32 {
    1500
}

impl Bridge {
    /// First address of the subnet.
    pub fn subnet(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() & self.mask())
    }

    /// The netmask as a number in host order.
    pub fn mask(&self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }
}

impl Network {
    /// Refuse what the kernel would take and do something else with.
    pub fn validate(&self) -> Result<()> {
        link_name(&self.bridge.name)?;
        if !(1..=30).contains(&self.bridge.prefix) {
            return Err(Error::invalid(
                &self.bridge.name,
                format!(
                    "prefix /{} leaves no room for containers",
                    self.bridge.prefix
                ),
            ));
        }
        let mask = self.bridge.mask();
        if self.address.to_bits() & mask != self.bridge.gateway.to_bits() & mask
            || self.address == self.bridge.gateway
        {
            return Err(Error::invalid(
                self.address.to_string(),
                format!(
                    "address {} is not a free address of {}/{}",
                    self.address,
                    self.bridge.subnet(),
                    self.bridge.prefix
                ),
            ));
        }
        if !(68..=65535).contains(&self.mtu) {
            return Err(Error::invalid("mtu", format!("invalid MTU: {}", self.mtu)));
        }
        self.hardware_address()?;
        match self
            .ports
            .iter()
            .find(|port| port.host_port == 0 || port.container_port == 0)
        {
            Some(port) => Err(Error::invalid(
                "ports",
                format!("port 0 cannot be published: {port:?}"),
            )),
            None => Ok(()),
        }
    }

    /// The six bytes of `mac`.
    pub fn hardware_address(&self) -> Result<[u8; 6]> {
        let bytes: Option<Vec<u8>> = self
            .mac
            .split(':')
            .map(|byte| {
                (byte.len() == 2)
                    .then(|| u8::from_str_radix(byte, 16).ok())
                    .flatten()
            })
            .collect();
        bytes
            .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
            // The lowest bit of the first byte marks a group of stations, which no interface can be.
            .filter(|bytes| bytes[0] & 1 == 0)
            .ok_or_else(|| Error::invalid("mac", format!("invalid MAC address: {}", self.mac)))
    }
}

/// A name that the kernel takes for a link and that is no path (`/proc/sys/net/ipv4/conf/<name>`).
pub fn link_name(name: &str) -> Result<()> {
    let good = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !matches!(name, "all" | "default" | "lo")
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if good {
        Ok(())
    } else {
        Err(Error::invalid(
            name,
            format!("invalid bridge name: {name:?}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Network {
        serde_json::from_str(
            r#"{"bridge":{"name":"pyd0","gateway":"172.30.0.1","prefix":16},"address":"172.30.0.5",
                "mac":"02:42:ac:1e:00:05","mtu":1500,
                "ports":[{"proto":"udp","host_ip":"0.0.0.0","host_port":8080,"container_port":80}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn the_document_of_the_engine_is_read() {
        let network = example();
        network.validate().unwrap();
        assert_eq!(network.ports[0].proto, Proto::Udp);
        assert_eq!(network.bridge.subnet(), Ipv4Addr::new(172, 30, 0, 0));
        assert_eq!(
            network.hardware_address().unwrap(),
            [2, 0x42, 172, 30, 0, 5]
        );
    }

    #[test]
    fn what_would_do_harm_is_refused() {
        let changes: [fn(&mut Network); 8] = [
            |n| n.bridge.name = "../all".to_owned(),
            |n| n.bridge.name = "sixteen_letters_".to_owned(),
            |n| n.bridge.prefix = 31,
            |n| n.address = n.bridge.gateway,
            |n| n.address = Ipv4Addr::new(172, 31, 0, 5),
            |n| n.mac = "01:42:ac:1e:00:05".to_owned(),
            |n| n.mtu = 20,
            |n| n.ports[0].host_port = 0,
        ];
        for change in changes {
            let mut network = example();
            change(&mut network);
            assert!(network.validate().is_err(), "{network:?}");
        }
    }
}
