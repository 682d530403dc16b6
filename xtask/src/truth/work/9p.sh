# Every request over 9P that a shell makes, alone and two at a time.
umount /share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072,cache=none share /share
mkdir /share/work
cd /share/work || exit
dd if=/dev/zero of=big bs=64k count=16 2> /dev/null
tar cf archive.tar /modules/order /init 2> /dev/null
dd if=big of=/dev/null bs=64k 2> /dev/null &
(mkdir unpacked && tar xf archive.tar -C unpacked)
wait
ln -s big link && readlink link > /dev/null
ln big hard
mv hard moved
chmod 600 moved
touch -d "2020-02-02 02:02:02" moved
truncate -s 100 moved
cat missing 2> /dev/null
mkdir big 2> /dev/null
sync
df . > /dev/null
find /share > /dev/null &
find /share -type f -exec cat {} + > /dev/null
wait
cd /
rm -r /share/work
