#!/usr/bin/env bash
# A real Slurm on one machine, on loopback, with pretended GPUs: no systemd, no cgroups, nothing in /etc.
#   cluster.sh start DIR | stop DIR | env DIR
# Needs root and Debian's slurm-wlm and munge. A pretended GPU is a character device that reads as
# empty: Slurm then hands out indices in CUDA_VISIBLE_DEVICES as it does for real ones.
set -euo pipefail
command=${1:?start, stop or env} dir=$(realpath -m "${2:?folder of the cluster}")
: "${CLUSTER_GPUS:=4}" "${CLUSTER_CPUS:=16}" "${CLUSTER_MEM_MB:=64000}" "${CLUSTER_PORT:=16817}"
host=$(hostname -s)
PATH=$PATH:/usr/sbin:/sbin

runs() { # whether a process lives; a zombie does not
  local state
  state=$(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null) && [ "$state" != Z ]
}

end_daemon() { # by its pid file, and only if that process still is the program
  local file=$dir/run/$1.pid pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]; then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do runs "$pid" || break; sleep 0.05; done
    ! runs "$pid" || kill -9 "$pid" || true
  fi
  rm -f "$file"
}

write_configuration() {
  mkdir -p "$dir"/{etc,run,log,state,spool,gpu,bin}
  chmod 755 "$dir" "$dir"/{run,log,etc}
  chmod 700 "$dir/state"
  [ -s "$dir/etc/munge.key" ] || head -c 128 /dev/urandom > "$dir/etc/munge.key"
  chmod 600 "$dir/etc/munge.key"
  for i in $(seq 0 $((CLUSTER_GPUS - 1))); do
    [ -c "$dir/gpu/nvidia$i" ] || mknod "$dir/gpu/nvidia$i" c 1 3
  done
  echo "NodeName=toy0 Name=gpu Type=h200 File=$dir/gpu/nvidia[0-$((CLUSTER_GPUS - 1))]" > "$dir/etc/gres.conf"
  cat > "$dir/etc/slurm.conf" <<CONF
ClusterName=toy
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/run/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$CLUSTER_PORT
SlurmdPort=$((CLUSTER_PORT + 1))
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=50000,batch_sched_delay=0,bf_interval=1,defer=0
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
MinJobAge=3600
MaxJobCount=20000
KillWait=2
MessageTimeout=60
DefMemPerCPU=500
NodeName=toy0 NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$CLUSTER_CPUS Sockets=1 CoresPerSocket=$CLUSTER_CPUS ThreadsPerCore=1 RealMemory=$CLUSTER_MEM_MB Gres=gpu:h200:$CLUSTER_GPUS State=UNKNOWN
PartitionName=cpu Nodes=toy0 Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes=toy0 Default=NO MaxTime=60 State=UP
CONF
  # The executor's job step drops SLURM_CONF before its inner srun; this one in front puts it back.
  printf '#!/bin/sh\nSLURM_CONF=%s exec /usr/bin/srun "$@"\n' "$dir/etc/slurm.conf" > "$dir/bin/srun"
  chmod 755 "$dir/bin/srun"
}

start() {
  [ "$(id -u)" = 0 ] || { echo "the test cluster needs root (slurmd)" >&2; exit 2; }
  write_configuration
  export SLURM_CONF=$dir/etc/slurm.conf
  munged --force --socket="$dir/run/munge.socket" --key-file="$dir/etc/munge.key" \
    --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
    --seed-file="$dir/state/munge.seed" --num-threads=2
  slurmctld -i
  slurmd
  local state=none
  for _ in $(seq 200); do
    state=$(timeout 3 sinfo -h -n toy0 -o %t 2>/dev/null | sort -u || true)
    case $state in idle | mix | alloc) return ;; esac
    sleep 0.05
  done
  echo "the test cluster did not come up (state: $state)" >&2
  grep -hE "fatal|error" "$dir"/log/slurm*.log | tail -n 8 >&2
  stop
  exit 1
}

stop() {
  export SLURM_CONF=$dir/etc/slurm.conf
  [ ! -s "$SLURM_CONF" ] || timeout 5 scancel -u "$(id -un)" 2>/dev/null || true
  for daemon in slurmd slurmctld munged; do end_daemon "$daemon"; done
}

case $command in
  env) echo "export SLURM_CONF=$dir/etc/slurm.conf PATH=$dir/bin:\$PATH" ;;
  start) start ;;
  stop) stop ;;
  *) echo "usage: cluster.sh start DIR | stop DIR | env DIR" >&2; exit 2 ;;
esac
