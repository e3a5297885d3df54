#!/bin/busybox sh
# First program of the guest: finds the disk, leaves the guest's scripts on it (it is a throw-away copy) and goes there.
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
while read -r module; do $bb insmod "/modules/$module"; done < /modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do $bb usleep 50000; tries=$((tries + 1)); done
$bb mount -t ext4 /dev/vda /new || { echo "no root disk"; $bb poweroff -f; }
for script in tiny-init payload; do
    $bb cp "/guest/$script.sh" "/new/$script.sh"
    $bb chmod 755 "/new/$script.sh"
done
$bb mkdir -p /new/etc/systemd/system/multi-user.target.wants
$bb cp /guest/payload.service /new/etc/systemd/system/
$bb ln -sf ../payload.service /new/etc/systemd/system/multi-user.target.wants/payload.service
init=/tiny-init.sh
for word in $($bb cat /proc/cmdline); do [ "$word" = pyd.init=systemd ] && init=/sbin/init; done
$bb umount /proc
$bb mount --move /dev /new/dev
exec $bb switch_root /new $init
