# A signal at any moment of a tracer's start ends it as a later one does.

# caught PID: waits until a process is virtscope and has a handler of its own for SIGINT;
# before, a signal does what it does to any program. A shell's child has its handlers until
# it runs something else, and may ignore what it is sent.
caught() {
    until [ "$(grep -cE '^(Name:.*virtscope|SigCgt.*[2367abef])$' "/proc/$1/status")" = 2 ]; do
        # One that has ended by itself catches nothing any more.
        grep -q '^State:.*Z' "/proc/$1/status" && return
    done
}

# early SIGNAL MILLISECONDS STATUS COMMAND...: sends it so long after that, and waits for
# the end.
early() {
    signal=$1 wait=$2 status=$3
    shift 3
    rm -f /tmp/early.pcapng
    "$@" > /tmp/early.said 2> /tmp/early.errors &
    pid=$!
    [ "$status" = 0 ] && caught "$pid"
    usleep "${wait}000"
    kill "-$signal" "$pid"
    wait "$pid"
    ended=$?
    if [ $ended != 0 ] && [ $ended != "$status" ]; then
        echo "SIG$signal after $wait ms: $ended"
        cat /tmp/early.errors
        exit 1
    fi
    # Nothing is left of it, and what there is of a capture is whole.
    unhooked || exit
    if [ -e /tmp/early.pcapng ]; then
        virtscope print /tmp/early.pcapng > /dev/null 2> /tmp/early.errors || {
            echo "SIG$signal after $wait ms leaves a capture that cannot be read:"
            cat /tmp/early.errors
            exit 1
        }
        echo "$wait written"
    elif grep -qs 'told to end before all was attached' /tmp/early.errors; then
        echo "$wait none"
    fi
}

# It may not even have begun: then it dies of it, as any program does.
early TERM 0 143 virtscope trace -w /tmp/early.pcapng
for wait in 0 50 100 200 400 800 1600 2800 4500; do
    early INT "$wait" 0 virtscope trace -w /tmp/early.pcapng
done
early HUP 150 0 virtscope trace -w /tmp/early.pcapng
early TERM 300 0 virtscope stat 1
early TERM 20 143 virtscope list
