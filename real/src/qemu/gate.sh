#!/bin/sh
# A section of fio number $1 is about to begin its I/O (`exec_prerun`): it waits until all are.
echo >>"/run/armed$1"
until [ -e "/run/go$1" ]; do
	read -r -t 0.02 _ <>/run/never
done
exit 0
