#!/bin/sh
# A real Slurm of one node on this machine, for the tests: without systemd, as root.
#
#   cluster.sh install      the Debian packages (slurm-wlm munge slurmdbd mariadb-server)
#   cluster.sh start KIND   KIND: accounting (slurmdbd on MariaDB) or none (no accounting)
#   cluster.sh stop         end what was started here, and remove its files
#
# The node has two stand-in GPUs: Slurm hands them out and sets CUDA_VISIBLE_DEVICES as for real
# ones, with nothing behind them. Slurm drops SLURM_CONF between the steps of a Snakemake job, so
# its configuration has to lie in /etc/slurm; one that this script did not write is left alone.
# Everything else lies in $HERE.
set -eu

HERE=/var/lib/slurm-for-tests
CONF=/etc/slurm
MARK='# Written by tests/slurm/cluster.sh; removed when the tests end.'
DATABASE_PORT=16816 CONTROL_PORT=16817 NODE_PORT=16818 ACCOUNTING_PORT=16819
# More than there is, so that no job waits for cores or memory that it does not use.
CPUS=4 MEMORY=256000
PATH=$PATH:/usr/sbin:/sbin

fail() { printf 'cluster.sh: %s\n' "$*" >&2; exit 1; }

# wait_for SECONDS WHAT COMMAND…: until the command succeeds.
wait_for() {
    deadline=$(($(date +%s) + $1)) what=$2
    shift 2
    until timeout 10 "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt $deadline ] || fail "$what does not answer; its log is in $HERE/log"
        sleep 0.2
    done
}

check() {
    [ "$(id -u)" = 0 ] || fail "needs root: munge, slurmd and the packages do"
    for file in slurm.conf slurmdbd.conf gres.conf; do
        [ ! -e "$CONF/$file" ] || grep -qF "$MARK" "$CONF/$file" ||
            fail "$CONF/$file belongs to another Slurm; nothing was changed"
    done
}

install() {
    check
    command -v apt-get >/dev/null || fail "needs Debian or Ubuntu (apt-get)"
    # Services are started below, without the init system.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    command -v slurmctld slurmd slurmdbd munged mariadbd >/dev/null && return
    apt-get install -qq --no-install-recommends slurm-wlm munge slurmdbd mariadb-server >/dev/null || {
        apt-get update -qq
        apt-get install -qq --no-install-recommends slurm-wlm munge slurmdbd mariadb-server >/dev/null
    }
}

write_slurm_conf() {
    mkdir -p "$CONF"
    cat >"$CONF/slurm.conf" <<END
$MARK
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmctldPort=$CONTROL_PORT
SlurmdPort=$NODE_PORT
AuthType=auth/munge
AuthInfo=socket=$HERE/munge/socket
StateSaveLocation=$HERE/state
SlurmdSpoolDir=$HERE/spool
SlurmctldPidFile=$HERE/slurmctld.pid
SlurmdPidFile=$HERE/slurmd.pid
SlurmctldLogFile=$HERE/log/slurmctld
SlurmdLogFile=$HERE/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=500000,bf_interval=5
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=10
MinJobAge=7200
GresTypes=gpu
$1
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    # Character devices that every machine has, containers too.
    cat >"$CONF/gres.conf" <<END
$MARK
Name=gpu File=/dev/null
Name=gpu File=/dev/zero
END
}

start_munge() {
    mkdir -p "$HERE/munge"
    dd if=/dev/urandom of="$HERE/munge/key" bs=1024 count=1 2>/dev/null
    chmod 600 "$HERE/munge/key"
    chown -R munge: "$HERE/munge"
    runuser -u munge -- munged --key-file "$HERE/munge/key" --socket "$HERE/munge/socket" \
        --pid-file "$HERE/munge/munged.pid" --log-file "$HERE/munge/log" --seed-file "$HERE/munge/seed"
    wait_for 10 munged munge -n --socket "$HERE/munge/socket"
}

start_database() {
    mkdir -p "$HERE/database"
    chown mysql: "$HERE/database"
    mariadb-install-db --no-defaults --user=mysql --datadir="$HERE/database" \
        --skip-test-db >"$HERE/log/database" 2>&1
    mariadbd --no-defaults --user=mysql --datadir="$HERE/database" --socket="$HERE/database/socket" \
        --port=$DATABASE_PORT --bind-address=127.0.0.1 --pid-file="$HERE/database/pid" \
        --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 >>"$HERE/log/database" 2>&1 &
    echo $! >"$HERE/mariadbd.pid"
    wait_for 30 mariadbd mariadb --no-defaults --socket="$HERE/database/socket" -e 'SELECT 1'
    mariadb --no-defaults --socket="$HERE/database/socket" -e \
        "CREATE USER slurm@127.0.0.1 IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO slurm@127.0.0.1"
    cat >"$CONF/slurmdbd.conf" <<END
$MARK
DbdHost=localhost
DbdPort=$ACCOUNTING_PORT
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$HERE/munge/socket
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$DATABASE_PORT
StorageUser=slurm
StoragePass=slurm
PidFile=$HERE/slurmdbd.pid
LogFile=$HERE/log/slurmdbd
END
    chmod 600 "$CONF/slurmdbd.conf"
    slurmdbd
    wait_for 30 slurmdbd sacctmgr -n list cluster
    sacctmgr -iQ add cluster tests >/dev/null
    sacctmgr -iQ add account lab Cluster=tests >/dev/null
    sacctmgr -iQ add user root Account=lab >/dev/null
}

start() {
    check
    missing=$(for command in slurmctld slurmd slurmdbd munged mariadbd; do
        command -v $command >/dev/null || printf ' %s' $command
    done)
    [ -z "$missing" ] || fail "not installed:$missing (cluster.sh install)"
    stop
    mkdir -p "$HERE/log" "$HERE/state" "$HERE/spool"
    start_munge
    case $1 in
        accounting)
            write_slurm_conf "JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$ACCOUNTING_PORT
AccountingStoragePass=$HERE/munge/socket"
            start_database
            ;;
        none) write_slurm_conf 'AccountingStorageType=accounting_storage/none' ;;
        *) fail "start accounting|none; found: $1" ;;
    esac
    slurmctld -c
    wait_for 30 slurmctld scontrol ping
    slurmd -c
    wait_for 30 slurmd srun --immediate=10 true
}

# End one daemon by its pid file and wait for it.
end() {
    [ -s "$HERE/$1.pid" ] || return 0
    pid=$(cat "$HERE/$1.pid")
    kill "$pid" 2>/dev/null || return 0
    left=100
    while kill -0 "$pid" 2>/dev/null && [ $left -gt 0 ]; do
        sleep 0.1
        left=$((left - 1))
    done
    kill -9 "$pid" 2>/dev/null || :
}

stop() {
    check
    if [ -s "$HERE/slurmctld.pid" ]; then
        timeout 10 scancel --user root 2>/dev/null || :
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
            sleep 1
        done
    fi
    for daemon in slurmd slurmctld slurmdbd mariadbd munge/munged; do end $daemon; done
    for file in slurm.conf slurmdbd.conf gres.conf; do rm -f "$CONF/$file"; done
    rm -rf "$HERE"
}

case ${1:-} in
    install) install ;;
    start) start "${2:-}" ;;
    stop) stop ;;
    *) fail "install, start accounting, start none or stop; found: ${1:-nothing}" ;;
esac
