"""How a container reaches the network: values in, values out; the shim does the work in the kernel.

ports      `-p` and `--expose` -> PortMapping; choosing host ports
ipam       subnets and addresses: the default subnet, the next free address, the MAC that follows from it
hosts      /etc/hosts, /etc/hostname and --add-host
resolv     /etc/resolv.conf
endpoint   what a driver asks and gives
driver     the Protocol of a driver and the choice by --network
bridge host none container   the drivers
"""
