#!/bin/busybox sh
# The first process of a virtual machine: makes a small system, runs /job, says how it ended.
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /root /etc /scratch
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/scratch NKE_VM=1 RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs -o mode=0755 tmpfs /scratch
mount -t securityfs securityfs /sys/kernel/security
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/netns /dev/pts
echo 'root:x:0:0:root:/root:/bin/sh' > /etc/passwd
# Whom tcpdump becomes before it reads a capture.
echo 'tcpdump:x:100:100::/:/bin/false' >> /etc/passwd
ip link set lo up
echo "vm: $(uname -r), LSMs $(cat /sys/kernel/security/lsm)"
dash /job
echo "vm: exit $?"
poweroff -f
