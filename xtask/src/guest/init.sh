#!/bin/busybox sh
# The first process of a guest: brings it up, then runs what the host sends over
# the second serial port, one script after the other, and says how each ended.
/bin/busybox mkdir -p /bin /dev /proc /sys /tmp /run /share /mnt /root /etc
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
while read -r module; do
    insmod "/modules/$module.ko" || echo "insmod $module failed"
done < /modules/order
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
echo "root::0:0:root:/root:/bin/sh" > /etc/passwd
ip link set lo up
if ip link show eth0 > /dev/null 2>&1; then
    ip address add 10.0.2.15/24 dev eth0
    ip link set eth0 up
fi
if grep -q share /sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag 2> /dev/null; then
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072,cache=none share /share ||
        echo "the shared folder can't be mounted"
fi
cd /root || exit
stty -F /dev/ttyS1 raw -echo
# Not this process itself: what a script leaves running becomes a child of it, and where a
# child ends while the shell reads a line, it begins anew and forgets what it had read.
(
    exec 3<> /dev/ttyS1
    # A script comes as a line with its mark and its length, then its bytes. The end
    # of its output is told by the mark, which no output can contain by chance.
    printf '\036ready\n' >&3
    while read -r mark length <&3; do
        head -c "$length" <&3 > /run/script
        sh /run/script < /dev/null >&3 2>&1
        printf '\036%s %d\n' "$mark" "$?" >&3
    done
)
