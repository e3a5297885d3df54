#!/bin/sh
# Init of a guest without systemd: mounts the control groups in the arrangement that pyd.cgroup names, runs the payload.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 run /run
mount -t securityfs security /sys/kernel/security 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
ip link set lo up
hostname guest

# One hierarchy for each controller, with the pairs that distributions make, as systemd's legacy mode has them.
mount_v1() {
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    for set in cpu,cpuacct cpuset memory devices freezer blkio pids hugetlb rdma net_cls,net_prio perf_event; do
        mkdir "/sys/fs/cgroup/$set"
        mount -t cgroup -o "$set" cgroup "/sys/fs/cgroup/$set" || rmdir "/sys/fs/cgroup/$set"
    done
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
}

cgroup=v2
for word in $(cat /proc/cmdline); do case $word in pyd.cgroup=*) cgroup=${word#pyd.cgroup=} ;; esac; done
case $cgroup in
v1) mount_v1 ;;
hybrid)
    mount_v1
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    ;;
*)
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # The root may hold processes, but on a machine with an init system nothing is left in it.
    mkdir /sys/fs/cgroup/init
    echo 1 > /sys/fs/cgroup/init/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
    done
    ;;
esac
exec /payload.sh
