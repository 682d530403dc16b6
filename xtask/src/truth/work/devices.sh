# Something for each device to do, each in turn.
echo virtio_rng.0 > /sys/class/misc/hw_random/rng_current || exit
dd if=/dev/hwrng of=/dev/null bs=64 count=10 2> /dev/null
echo none > /sys/class/misc/hw_random/rng_current

echo 'a line to the console' > /dev/hvc0

dd if=/dev/zero of=/dev/sda bs=64k count=4 oflag=direct conv=fsync 2> /dev/null
# Each CPU has a queue of its own.
taskset 1 dd if=/dev/sda of=/dev/null bs=4k count=20 iflag=direct 2> /dev/null
taskset 2 dd if=/dev/sda of=/dev/null bs=4k count=20 iflag=direct 2> /dev/null

ls -l /tmp/fs > /dev/null
dd if=/dev/zero of=/tmp/fs/big bs=64k count=4 2> /dev/null
cat /tmp/fs/* > /dev/null
mv /tmp/fs/big /tmp/fs/moved
rm /tmp/fs/moved
cat /tmp/fs/missing 2> /dev/null
true
