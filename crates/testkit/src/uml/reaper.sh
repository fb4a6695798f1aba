# Runs one guest in a process namespace of its own and outlives the host program if that dies.
#   $1  the guest's directory; the rest is the command line of the kernel
# Standard input and standard error are the pipes for the guest's output, standard output is
# the console log. TERM cuts the power. USR1 means that the host program is gone: cut the power and
# remove what it would have removed.
#
# User-Mode Linux is several processes, and those that run the guest's programs survive the kernel
# when it is killed. The end of a process namespace takes all of them.
directory=$1
shift
exec 3>&0 4>&2 </dev/null 2>&1
guest=
wish=
cut_power() {
    wish=$1
    if [ -n "$guest" ]; then kill -KILL "$guest"; fi
}
trap 'cut_power keep' TERM
trap 'cut_power remove' USR1
# A kernel that panics ends itself with a signal, which the first process of a namespace would not
# get: that is another shell. The second command keeps it from becoming the kernel.
ulimit -c 0
unshare --pid --fork --kill-child sh -c '"$@"; exit' sh "$@" &
guest=$!
exec 3>&- 4>&-
# The signal may have come before there was anything to kill.
if [ -n "$wish" ]; then cut_power "$wish"; fi
# A trapped signal ends a wait early.
while kill -0 "$guest" 2>/dev/null; do wait "$guest"; done
if [ "$wish" = remove ]; then rm -rf -- "$directory"; fi
