# The same bytes through 9P messages of the size that Linux has by default and of the largest
# it has, past the page cache and through it, and a few in messages that are copied. Past
# the cache Linux 6.1 makes messages as long as may be, and later ones one of each page;
# through it, it is the other way round for what is written.
cd /root || exit
for msize in 131072 524288; do
    for cache in none loose; do
        umount /share
        options=trans=virtio,version=9p2000.L,msize=$msize,cache=$cache
        mount -t 9p -o "$options" share /share || exit
        direct="iflag=direct oflag=direct"
        [ $cache = none ] || direct=
        copy=/share/copy.$msize.$cache
        # shellcheck disable=SC2086 # two words, or none
        dd if=/share/whole.bytes of="$copy" bs=700k $direct 2> /dev/null || exit
        sync
    done
done
# Reads and writes of up to 1024 bytes are copied.
dd if=/share/whole.bytes of=/share/copy.short bs=1000 count=20 iflag=direct oflag=direct \
    2> /dev/null || exit
umount /share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072,cache=none share /share
