# What `virtscope trace` shows on a terminal, and when. telnetd gives it one.

cat > /tmp/watched << 'END OF FILE'
#!/bin/sh
stty rows 24 cols 80
exec virtscope trace
END OF FILE
chmod +x /tmp/watched
telnetd -F -p 2323 -l /tmp/watched &
telnetd=$!
# Port 2323.
until grep -qs ':0913 ' /proc/net/tcp /proc/net/tcp6; do usleep 20000; done

# watched NAME TEXT: tells after how long there is TEXT on the screen, presses q then, and
# shows what stood on the screen.
watched() {
    rm -f /tmp/keys
    mkfifo /tmp/keys
    since "$1"
    nc 127.0.0.1 2323 < /tmp/keys > "/tmp/$1.screen" &
    nc=$!
    exec 4> /tmp/keys
    until grep -q "$2" "/tmp/$1.screen"; do usleep 20000; done
    took "$1"
    # Of whatever threads it has now.
    [ "$2" = LIVE ] && grep -h '^Cap[PE]' "/proc/$(pidof virtscope)"/task/*/status | sort -u
    printf q >&4
    wait "$nc"
    exec 4>&-
    unhooked || exit
    tr -cd '\040-\176\n' < "/tmp/$1.screen"
    printf '\nthat was %s\n' "$1"
}

watched begins 'not traced yet'
watched goes-on LIVE
kill "$telnetd"
