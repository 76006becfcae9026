#!/bin/sh
# The guest's first process: mounts, modules, then the agent. What fails here is on the console.
export PATH=/usr/bin:/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
if [ -f /plugfest/modules ]; then
	while read -r module; do
		# A scan that has ended when the driver is there, not some time later.
		options=
		[ "$module" = scsi_mod ] && options=scan=sync
		insmod "/plugfest/$module.ko" $options || echo "plugfest: cannot load $module"
	done </plugfest/modules
else
	modprobe scsi_mod scan=sync
	modprobe -a virtio_pci virtio_console virtio_scsi sd_mod || echo "plugfest: cannot load the drivers"
fi
# A task that waits for a disk for ever is told of while the host still listens.
echo 60 >/proc/sys/kernel/hung_task_timeout_secs
exec /plugfest/agent
