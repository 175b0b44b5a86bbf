# Boots systemd on a copy of a machine's files that lives in memory, in namespaces of its own, with no service but systemd's.
# The kernel's switches, the clock and the devices of the real machine are out of its reach.
set -eu
lower=$1 written=$2 name=$3

mkdir -p "$written"
mount -t tmpfs -o mode=755 tmpfs "$written"
mkdir "$written/upper" "$written/work" "$written/root" "$written/cgroup"
root=$written/root
mount -t overlay overlay "$root" -o "lowerdir=$lower,upperdir=$written/upper,workdir=$written/work"

# Whatever this machine enables, or keeps from starting, is not its business here.
rm -rf "$root/etc/systemd/system" "$root/var/log/journal" "$root/etc/fstab" "$root/usr/sbin/policy-rc.d"
mkdir "$root/etc/systemd/system"
for unit in systemd-sysctl systemd-modules-load systemd-timesyncd systemd-networkd systemd-udevd systemd-resolved; do
    ln -s /dev/null "$root/etc/systemd/system/$unit.service"
done
: >"$root/etc/machine-id"
# An index of the man pages of the whole machine would be made anew at each installation.
[ ! -e "$root/var/lib/dpkg/triggers/File" ] || sed -i /man-db/d "$root/var/lib/dpkg/triggers/File"

# The whole tree of processes is one control group, so that systemd has one of its own to divide.
mount -t cgroup2 cgroup2 "$written/cgroup"
mkdir -p "$written/cgroup/$name"
echo $$ >"$written/cgroup/$name/cgroup.procs"
umount "$written/cgroup"

inside='
set -eu
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
if [ -e proc/sysrq-trigger ]; then
    mount --bind proc/sysrq-trigger proc/sysrq-trigger
    mount -o remount,bind,ro proc/sysrq-trigger
fi
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
hostname machine
pivot_root . old
cd /
umount -l old
rmdir old
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-mknod,-syslog \
    env -i container=postern PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
'
exec unshare --cgroup --pid --fork --kill-child --uts --ipc sh -c "$inside" boot "$root"
