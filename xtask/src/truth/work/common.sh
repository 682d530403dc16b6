# What the runs in a guest share; sourced by the script that the host sends.
tracing=/sys/kernel/tracing

# Nothing moves on the network but what a run moves.
arp -s 10.0.2.2 52:55:0a:00:02:02
arp -s 10.0.2.100 52:55:0a:00:02:64

# traced NAME OPTIONS SCRIPT: runs SCRIPT traced, with what else is to be known
# about the time of the capture around it, and puts all of it into /tmp/NAME.*
traced() {
    cat /sys/block/vda/stat > "/tmp/$1.before"
    echo mono > $tracing/trace_clock
    echo > $tracing/trace
    echo 1 > $tracing/events/9p/9p_client_req/enable
    echo 1 > $tracing/events/9p/9p_client_res/enable
    sleep 1
    # shellcheck disable=SC2086 # several options
    virtscope trace -w "/tmp/$1.pcapng" $2 -- sh -c "$3
sleep 1"
    status=$?
    echo 0 > $tracing/events/9p/9p_client_req/enable
    echo 0 > $tracing/events/9p/9p_client_res/enable
    cat $tracing/trace > "/tmp/$1.trace"
    cat /sys/block/vda/stat > "/tmp/$1.after"
    return $status
}
