#!/bin/sh
# The guest's agent: does what lines on the virtio-serial port "plugfest" ask for, and answers in lines
# (real/src/qemu/agent.rs says which). Nothing here sleeps for a while and hopes: it waits for files of
# sysfs to change, or for a process to end.
pause() { read -r -t 0.02 _ <>/run/never; }

mkfifo /run/never /run/turn
exec 4<>/run/turn
printf . >&4
# Several processes write to the port: one at a time.
begin() { read -r -n 1 _ <&4; }
end() { printf . >&4; }
say() {
	begin
	echo "$*" >&3
	end
}

find_port() {
	for port in /sys/class/virtio-ports/*; do
		read -r name <"$port/name" && [ "$name" = plugfest ] && PORT=/dev/${port##*/} && [ -c "$PORT" ] && return 0
	done
	return 1
}

# The block device (sda) of the target $2 on the HBA in PCI slot $1, if it is there and has a node.
node() {
	for block in /sys/devices/pci0000:00/0000:00:"$1".0/virtio*/host*/target*:"$2"/*/block/*; do
		[ -b "/dev/${block##*/}" ] && echo "${block##*/}" && return 0
	done
	return 1
}

disks() {
	begin
	echo "disks $1" >&3
	for block in /sys/devices/pci0000:00/0000:00:*/virtio*/host*/target*/*/block/*; do
		[ -b "/dev/${block##*/}" ] && read -r sectors <"$block/size" || continue
		slot=${block#/sys/devices/pci0000:00/0000:00:}
		target=${block#*/target}
		target=${target%%/*}
		# Identity is what the disk said of itself: its unit serial number.
		echo " ${slot%%.0/*} ${target##*:} $sectors ${block##*/} $(od -An -v -tx1 "${block%/block/*}/vpd_pg80" 2>/dev/null | tr -d ' \n')" >&3
	done
	echo "listed $1" >&3
	end
}

# Sets COUNT to the reads and writes that a disk has done; to nothing if it has gone.
count() {
	COUNT=
	read -r reads _ _ _ writes _ <"/sys/block/$1/stat" && COUNT=$reads.$writes
} 2>/dev/null

# Waits until disk $2 of fio $1 has done more I/O than $3, has gone, or the fio has ended.
moved() {
	count "$2"
	while [ -e "/run/fio$1" ] && [ -n "$COUNT" ] && [ "$COUNT" = "$3" ]; do
		pause
		count "$2"
	done
}

# Waits until all $2 sections of fio $1 are at the gate; not much longer than for the first, for one that
# cannot open its disk never comes. In seconds since boot.
armed() {
	first=
	while [ -e "/run/fio$1" ]; do
		sections=0
		while read -r _; do sections=$((sections + 1)); done <"/run/armed$1"
		read -r now _ </proc/uptime
		now=${now%.*}
		[ "$sections" -gt 0 ] && first=${first:-$now}
		[ "$sections" -ge "$2" ] || [ "$now" -ge "$((${first:-$now} + 20))" ] && return
		pause
	done
}

# fio number $1, whose job file is there, on the places that follow.
fio_run() {
	fio=$1
	shift
	number=0 used= absent=
	for place; do
		if name=$(node "${place%:*}" "${place#*:}"); then
			export "DISK$number=/dev/$name"
			used="$used $name"
		else
			absent="$absent $place"
		fi
		number=$((number + 1))
	done
	if [ -n "$absent" ]; then
		say "absent $fio$absent"
		return
	fi
	: >"/run/fio$fio"
	: >"/run/armed$fio"
	{
		armed "$fio" $number
		say "armed $fio"
		while [ -e "/run/fio$fio" ] && ! [ -e "/run/go$fio" ]; do pause; done
		before=
		for name in $used; do
			count "$name"
			before="$before $name=$COUNT"
		done
		for pair in $before; do
			moved "$fio" "${pair%=*}" "${pair#*=}"
		done
		say "io $fio"
	} &
	echo "$used" >"/run/disks$fio"
	fio --output-format=json --output="/run/json$fio" --eta=never "/run/job$fio" 2>"/run/err$fio" >&2
	exit=$?
	rm -f "/run/fio$fio"
	begin
	echo "fio $fio $exit$used" >&3
	[ -f "/run/json$fio" ] && sed -n "/^{/,\$s/^/ j$fio /p" <"/run/json$fio" >&3
	# Lines about single blocks can be thousands: how many never written ones, and the first few others.
	grep -c 'verify: bad magic header 0, wanted' <"/run/err$fio" | sed "s/^/ z$fio /" >&3
	grep -v 'bad magic header 0, wanted' <"/run/err$fio" | head -n 12 | cut -c1-300 | sed "s/^/ e$fio /" >&3
	echo "ended $fio" >&3
	end
}

until find_port; do pause; done
exec 3<>"$PORT"
read -r boot </proc/sys/kernel/random/boot_id
# Whatever was half said before a reboot ends here.
say ""
say "ready $boot"
while read -r verb id rest <&3; do
	case $verb in
	ping) say "pong $id" ;;
	disks) disks "$id" ;;
	job)
		lines=$rest
		: >"/run/job$id"
		while [ "$lines" -gt 0 ]; do
			IFS= read -r line <&3
			echo "$line" >>"/run/job$id"
			lines=$((lines - 1))
		done
		;;
	fio) fio_run "$id" $rest & ;;
	moved)
		{
			read -r used <"/run/disks$rest"
			for name in $used; do
				count "$name"
				moved "$rest" "$name" "$COUNT"
			done
			say "moved $id"
		} 2>/dev/null &
		;;
	go) : >"/run/go$id" ;;
	reboot) reboot -f ;;
	*) say "unknown $verb" ;;
	esac
done
echo "plugfest: the host has gone" >/dev/console
poweroff -f
