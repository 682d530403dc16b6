# Pings, small and large, and bulk both ways at once.
ping -q -c 20 -i 0.02 10.0.2.2 > /dev/null
ping -q -c 10 -i 0.02 -s 1400 10.0.2.2 > /dev/null
dd if=/dev/zero bs=64k count=32 2> /dev/null | nc 10.0.2.100 7 > /dev/null
ping -q -c 5 -i 0.02 10.0.2.2 > /dev/null
