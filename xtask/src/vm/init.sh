#!/bin/busybox sh
# First process of the VM, in the initramfs: loads the modules that reaching the host needs, puts a
# writable layer over the host's root, and hands over to stage2.sh there. Written for busybox ash.
export PATH=/bin
/bin/busybox --install -s /bin

# To the kernel log, which is the console, which is the file whose end xtask shows on failure.
fail() {
    echo "tracer-vm: $*" >/dev/kmsg
    poweroff -f
}

mkdir -p /proc /sys /dev /lower /upper /new
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys

while read -r module; do
    insmod "/modules/$module" || fail "cannot load $module"
done </modules/order

# $1 tag, $2 ro or rw, $3 where. The root is never changed under the VM's feet in a way that
# matters, so it is cached at will; a shared directory is, so there only mmap is cached.
mount_9p() {
    cache=loose
    [ "$2" = rw ] && cache=mmap
    mount -t 9p -o "$2,trans=virtio,version=9p2000.L,msize=512000,access=any,cache=$cache" "$1" "$3" ||
        fail "cannot mount $1 of the host on $3"
}

mount_9p root ro /lower
mount -t tmpfs -o size=75%,mode=755 upper /upper || fail "no tmpfs"
mkdir /upper/up /upper/work
lower=/lower
if [ -e /vm/programs ]; then
    mkdir /programs
    mount_9p programs ro /programs
    lower=/programs:/lower
fi
mount -t overlay -o "lowerdir=$lower,upperdir=/upper/up,workdir=/upper/work" root /new ||
    fail "cannot put a writable layer over the host's root"

# The host's cache of libraries knows nothing of the layer above it; without one the loader searches.
[ -e /vm/programs ] && rm -f /new/etc/ld.so.cache

mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp /new/host /new/root
mount -t tmpfs -o mode=755 run /new/run
mount -t tmpfs -o size=75%,mode=1777 tmp /new/tmp
mount --move /lower /new/host
for folder in proc sys dev; do mount --move "/$folder" "/new/$folder"; done

release=$(uname -r)
mkdir -p "/new/lib/modules/$release"
mount_9p modules ro "/new/lib/modules/$release"
while IFS='	' read -r tag mode path; do
    mkdir -p "/new$path"
    mount_9p "$tag" "$mode" "/new$path"
done </vm/mounts

mkdir -p /new/run/vm/bin
cp /bin/busybox /new/run/vm/busybox
cp /vm/stage2 /vm/command /new/run/vm/
chmod 755 /new/run/vm/stage2
exec switch_root /new /run/vm/stage2
