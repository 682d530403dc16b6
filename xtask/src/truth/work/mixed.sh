# All of it at once, on all CPUs.
mkdir /share/mixed
dd if=/dev/zero of=/share/mixed/big bs=64k count=8 2> /dev/null
for round in 1 2 3; do
    (for _ in 1 2 3 4; do cat /share/mixed/big > /dev/null; find /share > /dev/null; done) &
    (for _ in 1 2 3 4; do find /share > /dev/null; done) &
    dd if=/dev/vda of=/dev/null bs=4k count=300 iflag=direct 2> /dev/null &
    dd if=/dev/vda of=/dev/null bs=512 count=300 skip=9999 iflag=direct 2> /dev/null &
    ping -q -c 40 -i 0.01 10.0.2.2 > /dev/null &
    dd if=/dev/zero bs=64k count=8 2> /dev/null | nc 10.0.2.100 7 > /dev/null &
    wait
done
rm -r /share/mixed
