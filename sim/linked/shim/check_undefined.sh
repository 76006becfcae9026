#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# check_undefined.sh LIBRARY LIST: fails if LIBRARY takes a function from outside that LIST does not name. A new
# release of SPDK may have begun to call something that blocks, reads a clock or allocates in libc's heap.
known=$(sed 's/#.*//' "$2" | tr -s ' \t' '\n\n' | sort -u)
unknown=$(nm -D -u "$1" | awk '{ print $NF }' | sed 's/@.*//' | sort -u | grep -vxF "$known")
[ -z "$unknown" ] && exit 0
echo "$1 calls what $2 does not name:" $unknown >&2
echo "If it cannot block, reads no clock, draws no chance and allocates nothing, add it to the list; else wrap it." >&2
exit 1
