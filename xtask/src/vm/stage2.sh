#!/run/vm/busybox sh
# Second half of the VM's first process, in the host's root: mounts what a booted system has, runs
# the command with its output on virtio ports, reports its exit status, powers off.
export PATH=/run/vm/bin
/run/vm/busybox --install -s /run/vm/bin

if [ "$1" != under-systemd ]; then
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o mode=1777 shm /dev/shm
    for mounted in security:securityfs debug:debugfs tracing:tracefs; do
        mount -t "${mounted#*:}" none "/sys/kernel/${mounted%%:*}"
    done
    mount -t bpf -o mode=700 bpf /sys/fs/bpf
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # devtmpfs has none of these; shells and tests use them.
    for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
        [ -e "/dev/${link%%:*}" ] || ln -s "${link#*:}" "/dev/${link%%:*}"
    done
    hostname tracer-vm
    ip link set lo up
    # A bare kernel gives init 64 KiB (5.10 charges BPF maps against it); Debian's systemd gives root more.
    ulimit -l unlimited
    ulimit -n 1048576
    ulimit -c 0

    # Asked for on the kernel's command line: systemd is the first process, and this goes on as its child.
    if grep -qw tracer.systemd /proc/cmdline; then
        "$0" under-systemd &
        exec /lib/systemd/systemd
    fi
fi

# The device of a virtio port, by the name that xtask gave it. Ports come after the driver, one by one.
port() {
    for attempt in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for candidate in /sys/class/virtio-ports/*; do
            [ "$(cat "$candidate/name" 2>/dev/null)" = "$1" ] && echo "/dev/${candidate##*/}" && return
        done
        sleep 0.1
    done
    echo "tracer-vm: no virtio port $1" >/dev/kmsg
    poweroff -f
}
out=$(port out)
err=$(port err)
status=$(port status)

# A pipe between: a port can be opened only once, and a pipe is what a command expects in a script.
mkfifo /run/vm/out /run/vm/err
cat /run/vm/out >"$out" &
out_cat=$!
cat /run/vm/err >"$err" &
err_cat=$!

exec 3>"$status"
echo up >&3
sh /run/vm/command >/run/vm/out 2>/run/vm/err </dev/null 3>&-
code=$?

# Whatever the command left running would keep the pipes open. (Kernel threads do not care.)
for process in /proc/[0-9]*; do
    process=${process##*/}
    case $process in 1 | $$ | "$out_cat" | "$err_cat") ;; *) kill -9 "$process" 2>/dev/null ;; esac
done
wait "$out_cat" "$err_cat"
# Shared directories: what was written must be on the host before the VM is gone.
sync
echo "exit $code" >&3
sleep 0.1
poweroff -f
