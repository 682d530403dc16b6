# A disk: small and large requests, read and written, direct and through the page
# cache, two at a time, with flushes.
dd if=/dev/zero of=/dev/vda bs=64k count=64 oflag=direct conv=fsync 2> /dev/null
dd if=/dev/vda of=/dev/null bs=4k count=400 iflag=direct 2> /dev/null &
dd if=/dev/vda of=/dev/null bs=4k count=400 skip=1000 iflag=direct 2> /dev/null
wait
echo 3 > /proc/sys/vm/drop_caches
dd if=/dev/vda of=/dev/null bs=1M count=8 2> /dev/null
dd if=/dev/zero of=/dev/vda bs=4k count=500 conv=fsync 2> /dev/null
cat /sys/block/vda/serial > /dev/null
sync
