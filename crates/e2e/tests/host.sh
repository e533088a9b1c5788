#!/bin/bash
# Boots a host with a systemd of its own in namespaces: `host.sh NAME FOLDER`. What it sees is this
# machine's programs, an overlay on /etc, and a /var, /run, /tmp, /dev and cgroups of its own. Its
# first process is the child of this one, and all ends with it.
set -euo pipefail
name=$1 folder=$2

if [[ ${3:-} != inside ]]; then
  # A cgroup of its own, which the cgroup namespace makes its root.
  while read -r point kind; do
    group=$point/$name
    mkdir -p "$group"
    for file in cpuset.cpus cpuset.mems; do
      if [[ -f $group/$file && -z $(<"$group/$file") ]]; then cat "$point/$file" >"$group/$file"; fi
    done
    echo $$ >"$group/cgroup.procs"
  done < <(awk '$3 == "cgroup" || $3 == "cgroup2" {print $2, $3}' /proc/mounts)
  exec unshare --net --mount --pid --uts --ipc --cgroup --fork "$0" "$name" "$folder" inside
fi

groups=$(awk '$3 == "cgroup" || $3 == "cgroup2" {print $2, $3, $4}' /proc/mounts)
mount --make-rprivate /
first=$([[ -d $folder/etc ]] || echo yes)
mkdir -p "$folder"/{etc,work} "$folder"/var/{lib,log,tmp,cache}
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$folder/etc,workdir=$folder/work" /etc
mount --bind "$folder/var" /var
ln -sfn /run /var/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
if ! grep -q '^/sys/fs/cgroup cgroup2' <<<"$groups"; then
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
fi
while read -r point kind options; do
  mkdir -p "$point"
  case $options in
    *name=systemd*) options=none,name=systemd,xattr ;;
    *) options=$(tr , '\n' <<<"$options" | grep -vxE 'rw|ro|relatime|nosuid|nodev|noexec|xattr|nsdelegate|memory_recursiveprot|favordynmods' | paste -sd, || true) ;;
  esac
  mount -t "$kind" ${options:+-o "$options"} "$kind" "$point"
done <<<"$groups"

mount -t tmpfs -o mode=755 tmpfs /dev
for node in null:3 zero:5 full:7 random:8 urandom:9 kmsg:11; do
  mknod -m 666 "/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 /dev/tty c 5 0
mkdir /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd

# Of the distribution's services, those that every host has.
mkdir -p /etc/systemd/system
if [[ $first ]]; then rm -rf /etc/systemd/system/multi-user.target.wants; fi
cat >/etc/systemd/system/multi-user.target <<UNIT
[Unit]
Description=A host with nothing on it
Requires=basic.target
After=basic.target
UNIT
ln -sfn /etc/systemd/system/multi-user.target /etc/systemd/system/default.target
hostname "$name"
echo "$name" >/etc/hostname
# As Debian does it; a name that only a DNS server could know takes long where there is none.
if [[ $first ]]; then echo "127.0.1.1 $name" >>/etc/hosts; fi
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=console </dev/null
