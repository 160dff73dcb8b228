# To be sourced: a Slurm of this machine's own, for as long as a script runs. slurmctld and two slurmd, named node1 and
# node2, on loopback and free ports, with a munge of their own; everything lies in one folder, nothing in /etc.
#
#     start_cluster FOLDER        # sets SLURM_CONF
#     stop_cluster FOLDER

# A port that nobody listens at.
free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done
  echo "$port"
}

start_cluster() {
  local folder=$1 user host processors node
  user=$(id -un) host=$(hostname -s) processors=$(nproc)
  mkdir -p "$folder/state" "$folder/tmp-node1" "$folder/tmp-node2"
  chmod 700 "$folder"
  dd if=/dev/urandom of="$folder/munge.key" bs=1 count=1024 2> /dev/null
  chmod 400 "$folder/munge.key"
  # --force: munged warns of a folder that only its owner may enter, which is as it should be here.
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" 2> /dev/null
  cat > "$folder/slurm.conf" <<C
ClusterName=crux
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# A job that is queued again waits until its credential has expired; by default that is two minutes.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmdSpoolDir=$folder/spool-%n
StateSaveLocation=$folder/state
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
SlurmdParameters=config_overrides
# Where Slurm's PMIx keeps what the ranks of an MPI job meet at: nodes that are one machine must not share it.
TmpFS=$folder/tmp-%n
ReturnToService=2
MpiDefault=none
KillWait=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$processors RealMemory=4000
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$(free_port) CPUs=$processors RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
C
  export SLURM_CONF=$folder/slurm.conf
  slurmctld
  for node in node1 node2; do slurmd -N "$node" 2> /dev/null; done
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --Node --states=idle --format=%N 2> /dev/null | sort -u | wc -l)" -eq 2 ] && return
    sleep 1
  done
  echo "the cluster did not come up; its logs:" >&2
  tail -n 20 "$folder"/*.log >&2
  return 1
}

stop_cluster() {
  local folder=$1 file left
  SLURM_CONF=$folder/slurm.conf scancel --user="$(id -un)" 2> /dev/null || true
  sleep 1
  for file in "$folder"/slurmd-*.pid "$folder/slurmctld.pid" "$folder/munged.pid"; do
    [ -f "$file" ] || continue
    left=$(cat "$file")
    kill "$left" 2> /dev/null || true
    for _ in $(seq 50); do kill -0 "$left" 2> /dev/null || break; sleep 0.2; done
  done
}
