#!/bin/sh
# For `git bisect run`: does what it is told, and passes the answer on.
#
#   git bisect run sh docs/bisect.sh plugfest replay target/plugfest/I6-12.kdl
#
# 0 is good and 1 is bad. 2 (does not build, a file of another version) and 3 (nothing can be said) say nothing of the
# commit: 125 makes git skip it. More than 127 would end the bisection.
"$@"
status=$?
case $status in
    0 | 1) exit $status ;;
    *) exit 125 ;;
esac
