# What the scripts in a guest share.
tracing=/sys/kernel/tracing

# Seconds since this machine began.
now() { cut -d" " -f1 /proc/uptime; }
since() { now > "/tmp/$1.began"; }
took() { echo "$(cat "/tmp/$1.began") $(now)" | awk '{ printf "%.2f\n", $2 - $1 }'; }

# How many of the kernel's functions that we hook have anything attached, as ftrace
# and kprobes say.
hooks() {
    cat $tracing/enabled_functions /sys/kernel/debug/kprobes/list |
        grep -cE "virtqueue_|vring_|detach_buf_|v[pm]_notify"
}

# begin NAME COMMAND...: runs it in the background, and keeps how it ends.
begin() {
    name=$1
    shift
    since "$name"
    (
        # shellcheck disable=SC2016 # for that shell
        sh -c 'echo $$ > "$0"; exec "$@"' "/tmp/$name.pid" "$@" \
            > "/tmp/$name.said" 2> "/tmp/$name.errors"
        echo $? > "/tmp/$name.status"
    ) &
}

# attached NAME: waits until a tracer is; its capture begins then.
attached() {
    until [ -s "/tmp/$1.pcapng" ]; do
        if [ -e "/tmp/$1.status" ]; then
            echo "$1 ended with $(cat "/tmp/$1.status"):"
            cat "/tmp/$1.errors"
            exit 1
        fi
        usleep 20000
    done
    echo "$1 $(took "$1")"
}

# ended NAME: waits for its end and tells it.
ended() {
    until [ -e "/tmp/$1.status" ]; do usleep 50000; done
    cat "/tmp/$1.errors"
    echo "$1 $(cat "/tmp/$1.status")"
}

# Waits until nothing is attached any more.
unhooked() {
    for _ in $(seq 200); do
        [ "$(hooks)" = 0 ] && return
        usleep 50000
    done
    echo "there is still attached:"
    cat $tracing/enabled_functions /sys/kernel/debug/kprobes/list
    return 1
}

# Before and after the load: what others count of it.
before() {
    # Nothing moves on the network but what the load moves.
    arp -s 10.0.2.2 52:55:0a:00:02:02
    arp -s 10.0.2.100 52:55:0a:00:02:64
    cat /sys/block/vda/stat > /tmp/work.before
    echo mono > $tracing/trace_clock
    echo > $tracing/trace
    echo 1 > $tracing/events/9p/9p_client_req/enable
    echo 1 > $tracing/events/9p/9p_client_res/enable
    sleep 1
}
after() {
    sleep 1
    echo 0 > $tracing/events/9p/9p_client_req/enable
    echo 0 > $tracing/events/9p/9p_client_res/enable
    cat $tracing/trace > /tmp/work.trace
    cat /sys/block/vda/stat > /tmp/work.after
}

# rebind DEVICE DRIVER DISK: takes a disk's driver away and gives it back.
rebind() {
    echo "$1" > "/sys/bus/virtio/drivers/$2/unbind" || return
    while [ -e "/dev/$3" ]; do usleep 20000; done
    echo "$1" > "/sys/bus/virtio/drivers/$2/bind" || return
    until [ -b "/dev/$3" ]; do usleep 20000; done
}
# again DEVICE DRIVER: the same, where nothing shows that it is done but the driver itself.
again() {
    echo "$1" > "/sys/bus/virtio/drivers/$2/unbind" || return
    while [ -e "/sys/bus/virtio/drivers/$2/$1" ]; do usleep 20000; done
    echo "$1" > "/sys/bus/virtio/drivers/$2/bind" || return
    until [ -e "/sys/bus/virtio/drivers/$2/$1" ]; do usleep 20000; done
}
reads() { dd if="/dev/$1" of=/dev/null bs=4k count=20 iflag=direct 2> /dev/null; }
