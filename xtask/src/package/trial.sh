# The life of the package $1 on a machine whose first process is systemd: install, scrape, reload, upgrade, remove,
# purge. Run by trial.rs as root in a VM, where nothing that it changes is kept.
set -eu
package=$1
url=http://127.0.0.1:9435
drop_in=/etc/systemd/system/tracer.service.d/perf-event-paranoid.conf

step() { echo "-- $*"; }
fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --lines=0 tracer || true
    journalctl --no-pager --lines=40 --unit=tracer || true
    exit 1
}
# $1 what is waited for, in words; the rest a command that comes true, within five minutes.
wait_for() {
    what=$1
    shift
    for second in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 1
    done
    fail "no $what within 300 s"
}
main_pid() { systemctl show --value --property=MainPID tracer; }
answers() { curl --silent --fail --max-time 60 "$url/$1"; }
metric() { answers metrics | awk -v name="$1" 'index($0, name) == 1 { sum += $NF } END { printf "%.0f\n", sum }'; }
exposure() { systemd-analyze security --no-pager tracer.service | grep "Overall exposure level"; }
# What this run of the service has said.
said() {
    journalctl --output=cat _SYSTEMD_INVOCATION_ID="$(systemctl show --value --property=InvocationID tracer)" | grep "$@"
}

# Everything outside of /usr that installing might leave, and the accounts. /usr is dpkg's own book; what is inside of
# the directories of /var/lib is that of other services, but for what remembers which service is enabled.
state() {
    find /etc /var /run/systemd/system -path /var/log -prune -o -path /var/cache -prune -o -path '/var/tmp/*' -prune -o \
        -path '/var/lib/[!s]*/*' -prune -o -path '/var/lib/systemd/[!d]*' -prune -o -print | grep -v '^/etc/.*-$' | sort
    getent passwd | sort
    getent group | sort
}

wait_for systemd systemctl is-active basic.target
# The index of manual pages takes minutes on an emulated CPU.
rm -f /var/lib/man-db/auto-update
# Images of containers have one that forbids to start services.
rm -f /usr/sbin/policy-rc.d
# What any package with a service or a user leaves, once: not this package's.
systemd-sysusers
mkdir -p /var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants
state >/tmp/before

step install
dpkg --install "$package"
dpkg --listfiles tracer >/tmp/files
[ "$(systemctl is-enabled tracer)" = enabled ] || fail "the service is not enabled"
wait_for "begin of counting" said "counting every process"
echo "perf_event_paranoid $(cat /proc/sys/kernel/perf_event_paranoid): $(curl --silent "$url/-/ready")"
exposure

step "with the drop-in"
sed -i -E 's/^#(\[Service\]|AmbientCapabilities=|CapabilityBoundingSet=)/\1/' "$drop_in"
systemctl daemon-reload
systemctl restart tracer
wait_for "ready service" answers -/ready
answers status | grep -q '"state": *"complete"' || fail "coverage is not complete: $(answers status)"
pid=$(main_pid)
[ "$(stat -c %U "/proc/$pid")" = tracer ] || fail "it runs as $(stat -c %U "/proc/$pid")"
for thread in "/proc/$pid"/task/*; do
    grep -q "^NoNewPrivs:.1" "$thread/status" && grep -q "^Seccomp:.2" "$thread/status" || fail "a thread is not fenced"
    echo "thread $(cat "$thread/comm"): $(grep ^CapEff "$thread/status")"
done
exposure

step scrape
head -c 8388608 /dev/urandom >/tmp/data
before=$(metric 'tracer_copied_bytes_total{')
dd if=/tmp/data of=/dev/null bs=64k status=none
after=$(metric 'tracer_copied_bytes_total{')
[ $((after - before)) -ge 8388608 ] || fail "dd copied 8388608 bytes, $((after - before)) were counted"
answers metrics | grep -q 'tracer_copied_bytes_total{.*comm="dd"' || fail "no series of dd"

step reload
echo "# by hand" >>/etc/tracer/tracer.yml
systemctl reload tracer
wait_for reload said "the configuration was read again"
[ "$(metric tracer_config_last_reload_successful)" = 1 ] || fail "the reload failed"
[ "$(main_pid)" = "$pid" ] || fail "a reload started another process"

step upgrade
dpkg-deb --raw-extract "$package" /tmp/next
sed -i 's/^Version: .*/&+next/' /tmp/next/DEBIAN/control
# Packing takes an emulated CPU minutes.
dpkg-deb -Znone --build --root-owner-group /tmp/next /tmp/next.deb >/dev/null
dpkg --install /tmp/next.deb
[ "$(main_pid)" != "$pid" ] || fail "the upgrade did not restart the service"
grep -q "by hand" /etc/tracer/tracer.yml || fail "the upgrade changed the configuration"
wait_for "ready service" answers -/ready

step stop
begun=$(date +%s%N)
systemctl stop tracer
echo "stopped in $((($(date +%s%N) - begun) / 1000000)) ms: $(systemctl show --value --property=Result tracer)"
[ "$(systemctl show --value --property=Result tracer)" = success ] || fail "it did not end well"
systemctl start tracer
wait_for "ready service" answers -/ready

step remove
dpkg --remove tracer
if pgrep -x tracer >/dev/null; then fail "it runs after its removal"; fi
[ -e /etc/tracer/tracer.yml ] || fail "removing took the configuration"

step purge
dpkg --purge tracer
while read -r path; do
    [ -d "$path" ] || [ ! -e "$path" ] || fail "$path is left"
done </tmp/files
state >/tmp/after
diff /tmp/before /tmp/after || fail "purging left what is shown above"
