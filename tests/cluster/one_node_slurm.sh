#!/bin/bash
# A real Slurm of one node on this machine: 16 CPUs and 256 GB are claimed, two fake GPUs, three
# partitions. No systemd, no accounting. Debian's packages are installed where they are missing.
#
#   one_node_slurm.sh start DIR     DIR: an absolute folder for keys, state and logs
#   one_node_slurm.sh stop DIR
#
# Exit code 77: Slurm cannot be had on this machine, with the reason in one sentence.
set -euo pipefail

readonly ETC=/etc/slurm
readonly DAEMONS="slurmd slurmctld munged"
command=${1:-}
dir=${2:-}
case "$dir" in
    /*) ;;
    *) echo "Usage: $0 start|stop DIR (an absolute folder)" >&2; exit 2 ;;
esac
node=$(hostname -s)

cannot() {
    echo "No Slurm on this machine: $1" >&2
    exit 77
}

# Whether a daemon whose process number lies in folder $1 runs.
lives() {
    local daemon pid
    for daemon in $DAEMONS; do
        pid=$(cat "$1/$daemon.pid" 2>/dev/null) || continue
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$daemon" ] && return
    done
    return 1
}

# Remove the set-up that a killed test run has left, which would let later ones be skipped.
clear_leftover() {
    local of
    of=$(sed -n '1s/^# of //p' "$ETC/slurm.conf" 2>/dev/null) || return 0
    [ -z "$of" ] || lives "$of" || rm -f "$ETC"/{slurm,gres,cgroup}.conf
}

install() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null &&
        command -v squeue >/dev/null && command -v munged >/dev/null && return
    [ -e /etc/debian_version ] || cannot "its packages are installed here on Debian only."
    command -v apt-get >/dev/null || cannot "there is no apt-get to install its packages."
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends \
        slurmctld slurmd slurm-client munge; } >"$dir/install.log" 2>&1 ||
        cannot "apt-get could not install slurmctld, slurmd, slurm-client and munge ($dir/install.log)."
}

configure() {
    # On a real cluster processes are tracked by cgroups; signals behave differently without.
    local track=proctrack/linuxproc
    if mkdir /sys/fs/cgroup/freezer/_probe 2>/dev/null; then
        rmdir /sys/fs/cgroup/freezer/_probe
        track=proctrack/cgroup
    fi
    mkdir -p "$ETC"
    cat >"$ETC/slurm.conf" <<CONF
# of $dir
ClusterName=onenode
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthInfo=socket=$dir/munge.sock
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=$track
TaskPlugin=task/none
# A job that takes more memory than it asked for is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
# squeue remembers ended jobs so long; there is no sacct to ask.
MinJobAge=3600
KillWait=10
MaxArraySize=10001
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$node NodeAddr=127.0.0.1 CPUs=16 RealMemory=256000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=$node Default=YES PriorityTier=10 PreemptMode=off
PartitionName=gpu Nodes=$node PriorityTier=10 PreemptMode=off
PartitionName=scavenge Nodes=$node PriorityTier=1 PreemptMode=requeue
CONF
    echo "Name=gpu Type=fake File=$dir/dev/gpu[0-1]" >"$ETC/gres.conf"
    printf '%s\n' CgroupAutomount=no CgroupPlugin=cgroup/v1 CgroupMountpoint=/sys/fs/cgroup \
        >"$ETC/cgroup.conf"
}

start() {
    [ "$(id -u)" = 0 ] || cannot "its daemons need root."
    clear_leftover
    [ -e "$ETC/slurm.conf" ] && cannot "$ETC/slurm.conf is there already; this machine has one."
    mkdir -p "$dir"/{state,spool,log,dev}
    chmod 755 "$dir"
    install
    for gpu in 0 1; do
        # Fake GPUs are copies of /dev/null.
        [ -e "$dir/dev/gpu$gpu" ] || mknod "$dir/dev/gpu$gpu" c 1 3 ||
            cannot "device files cannot be made below $dir."
    done
    if [ ! -s "$dir/munge.key" ]; then
        (umask 077 && head -c 1024 /dev/urandom >"$dir/munge.key")
    fi
    configure
    trap stop EXIT
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" \
        --pid-file="$dir/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
    slurmctld -c
    slurmd -c -N "$node"
    for _ in $(seq 100); do
        if [ "$(timeout 5 sinfo -h -p cpu -o %T 2>/dev/null)" = idle ]; then
            sinfo
            trap - EXIT
            return
        fi
        sleep 0.2
    done
    tail -n 20 "$dir"/log/*.log >&2
    cannot "its node did not come up in 20 s."
}

stop() {
    if [ -e "$ETC/slurm.conf" ] && ! grep -qx "# of $dir" "$ETC/slurm.conf"; then
        echo "$ETC/slurm.conf is not of $dir: nothing is stopped." >&2
        exit 1
    fi
    command -v scancel >/dev/null && [ -s "$dir/slurmctld.pid" ] &&
        timeout 10 scancel --user=root --full 2>/dev/null && sleep 1
    for daemon in $DAEMONS; do
        [ -s "$dir/$daemon.pid" ] || continue
        pid=$(cat "$dir/$daemon.pid")
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$daemon" ] || continue
        kill "$pid"
        for _ in $(seq 50); do
            [ -e "/proc/$pid" ] || break
            sleep 0.1
        done
    done
    rm -f "$ETC"/{slurm,gres,cgroup}.conf
}

case "$command" in
    start | stop) "$command" ;;
    *) echo "Usage: $0 start|stop DIR (an absolute folder)" >&2; exit 2 ;;
esac
