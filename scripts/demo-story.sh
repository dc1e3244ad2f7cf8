# Sourced by demo.sh: the story itself, step by step, and the two stages it is played on: hosts made of namespaces with
# a real block device, or two daemons of one user with their NBD sockets.

port=$((20000 + $$ % 20000))

# run_on HOST COMMAND: as a person there would, with a shell.
run_on() {
  local host=$1
  shift
  if [ "$mode" = hosts ] || [ -d "$work/hosts" ]; then
    "$root/scripts/hosts.sh" run "$host" bash -c "$*"
  else
    REPL_CONFIG=$work/$host.res REPL_RUN_DIR=$work/run/$host __DRBD_NODE__=$host bash -c "$*"
  fi
}

# at HOST COMMAND: shows the command and its output; it must succeed.
at() {
  local host=$1
  shift
  prompt "$host" "$*"
  run_on "$host" "$*" || die "on $host, \`$*\` ended with exit code $?"
}

prompt() {
  if [ "$mode" = hosts ]; then echo "root@$1:~# $2"; else echo "$1\$ $2"; fi
}

say() { printf '\n### %s\n\n' "$*"; }
note() { echo "# $*"; }

# quiet HOST COMMAND: only its output.
quiet() { run_on "$@"; }

# The blocks of the administration interface's acceptance, as seen on the first host.
block() {
  case $1 in
  a) printf 'drbd0 role:Secondary\n  disk:Inconsistent\n  %s role:Secondary\n    peer-disk:Inconsistent\n\n' $two ;;
  c) printf 'drbd0 role:Primary\n  disk:UpToDate\n  %s role:Secondary\n    peer-disk:UpToDate\n\n' $two ;;
  d) printf 'drbd0 role:Secondary\n  disk:UpToDate\n  %s role:Secondary\n    peer-disk:UpToDate\n\n' $two ;;
  esac
}

# status_is BLOCK: `repladm status drbd0` on the first host says exactly this. (x keeps the empty last line.)
status_is() {
  local said expected
  prompt $one "repladm status drbd0"
  said=$(quiet $one "repladm status drbd0" && echo x) || die "repladm status drbd0 failed"
  printf '%s' "${said%x}"
  expected=$(block "$1" && echo x)
  [ "$said" = "$expected" ] || die "that is not block ($1), which is:"$'\n'"${expected%x}"
}

# Shows status until the resync is seen to rise twice, or to be over.
watch_resync() {
  local said done_now done_before=-1 seen=0 try
  for try in $(seq 400); do
    said=$(quiet $one "repladm status drbd0")
    [[ $said =~ replication:SyncSource\ peer-disk:Inconsistent\ done:([0-9]+)\.([0-9][0-9]) ]] || {
      if grep -q 'peer-disk:UpToDate' <<<"$said"; then break; fi
      sleep 0.05
      continue
    }
    done_now=$((10#${BASH_REMATCH[1]}${BASH_REMATCH[2]}))
    [ $done_now -ge $done_before ] || die "done: fell from $done_before to $done_now hundredths of a percent"
    if [ $done_now -gt $done_before ]; then
      prompt $one "repladm status drbd0"
      echo "$said"
      echo
      seen=$((seen + 1))
      [ $seen -lt 3 ] || break
    fi
    done_before=$done_now
    sleep 0.3
  done
  [ $seen -gt 0 ] || note "the resync was over before status could show it"
}

# MARK: Stages

prepare_hosts() {
  local host device
  say "Two hosts, a disk each"
  "$root/scripts/loopback-setup.sh" up "$size" >"$work/devices"
  "$root/scripts/hosts.sh" up
  mkdir -p "$work/shared"
  while read -r host device; do
    # The disk has the name the resource file uses.
    quiet "$host" "ln -sfn $device /dev/sdb1"
    echo 'global { usage-count no; }' >"$REPL_HOSTS_DIR/$host.drbd.d/global_common.conf"
    resource_file >"$REPL_HOSTS_DIR/$host.drbd.d/drbd0.res"
  done <"$work/devices"
  if [ ! -e /etc/drbd.conf ]; then export REPL_CONFIG=/etc/drbd.d/drbd0.res; fi
  at $one "cat /etc/drbd.d/drbd0.res"
  at $one "ls -l /dev/sdb1; ip -brief address show eth0"
  at $two "ls -l /dev/sdb1; ip -brief address show eth0"
}

# The resource file of the acceptance, word for word.
resource_file() {
  cat <<'RES'
resource drbd0 {
     protocol C;
     disk /dev/sdb1;
     device /dev/drbd0;
     meta-disk internal;
     on zabbix-server01 {
          address 192.168.1.1:7789;
     }
     on zabbix-server02 {
          address 192.168.1.2:7789;
     }
}
RES
}

prepare_sockets() {
  local host
  say "Two daemons, a file each ($why: no hosts, no /dev/drbd0, no file system; the rest is the same)"
  mkdir -p "$work/shared"
  for host in $one $two; do
    mkdir -p "$work/run/$host"
    truncate -s "$size" "$work/$host.img"
    resource_file | sed -e '/ disk /d' -e "s|192.168.1.1:7789;|127.0.0.1:$port; disk $work/$one.img;|" \
      -e "s|192.168.1.2:7789;|127.0.0.1:$((port + 1)); disk $work/$two.img;|" >"$work/$host.res"
  done
  cat "$work/$one.res"
}

no_device() { if [ $mode = sockets ]; then echo " --no-device"; fi; }

# MARK: The story

story() {
  step_create
  step_sync
  step_use
  step_planned
  step_unplanned
  step_compare
}

story_until_kept() {
  step_create
  step_sync
}

say_how_to_enter() {
  say "The hosts are yours"
  if [ $mode = hosts ]; then
    echo "enter:  nsenter --all --target $("$root/scripts/hosts.sh" pid $one) env PATH=$root/.build/release:\$PATH bash   # $one"
    echo "        nsenter --all --target $("$root/scripts/hosts.sh" pid $two) env PATH=$root/.build/release:\$PATH bash   # $two"
  else
    echo "first:  export PATH=$root/.build/release:\$PATH REPL_CONFIG=$work/$one.res"
    echo "enter:  export __DRBD_NODE__=$one REPL_RUN_DIR=$work/run/$one   # or the same with $two"
  fi
  echo "end:    scripts/demo.sh --down"
}

step_create() {
  local host
  say "1. Metadata and first contact"
  for host in $one $two; do at $host "repladm create-md drbd0"; done
  for host in $one $two; do at $host "repladm up$(no_device) drbd0"; done
  at $one "repladm wait-connect drbd0"
  status_is a
}

step_sync() {
  say "2. The first host has the data: full resync"
  at $one "repladm primary --force drbd0"
  watch_resync
  at $one "timeout 300 repladm wait-sync drbd0"
  status_is c
}

step_use() {
  say "3. Roles, then data"
  at $one "repladm secondary drbd0"
  status_is d
  at $one "repladm primary drbd0"
  if [ $mode = hosts ]; then
    at $one "mkfs.xfs /dev/drbd0"
    at $one "mount /dev/drbd0 /mnt"
    at $one "cp -r /usr/share/zoneinfo /mnt/tree"
    at $one "head -c 100M /dev/urandom >/mnt/large"
    at $one "sync"
    at $one "cd /mnt && find . -type f -print0 | sort -z | xargs -0 sha256sum >$work/shared/sums; wc -l <$work/shared/sums"
    data_bytes=$(quiet $one "blockdev --getsize64 /dev/drbd0")
  else
    data_bytes=$(quiet $one 'nbdinfo --size "$(repladm sh-nbd-uri drbd0)"')
    head -c 100M /dev/urandom >"$work/shared/large"
    truncate -s "$data_bytes" "$work/shared/large"
    at $one "nbdcopy --flush $work/shared/large \"\$(repladm sh-nbd-uri drbd0)\""
  fi
}

step_planned() {
  say "4. Planned switch-over"
  if [ $mode = hosts ]; then at $one "umount /mnt"; fi
  at $one "repladm secondary drbd0"
  at $two "repladm primary drbd0"
  if [ $mode = hosts ]; then
    at $two "mount /dev/drbd0 /mnt"
    at $two "cd /mnt && sha256sum --check --quiet $work/shared/sums && echo all checksums are equal"
    at $two "cp -r /mnt/tree /mnt/tree2 && sync && du -sh /mnt"
  else
    at $two "nbdcopy \"\$(repladm sh-nbd-uri drbd0)\" $work/shared/back && cmp $work/shared/large $work/shared/back && echo equal"
    at $two "qemu-io -f raw -c 'write -P 0x5a 200M 8M' -c flush \"\$(repladm sh-nbd-uri drbd0)\""
  fi
  at $two "repladm status drbd0"
}

# Writes small pieces and notes each one only after it was made durable, until writing fails.
write_until_it_fails() {
  if [ $mode = hosts ]; then
    run_on $two "mkdir /mnt/journal; for i in \$(seq 100000); do
      { head -c 8k /dev/urandom >/mnt/journal/\$i && sync /mnt/journal/\$i; } || exit 0
      (cd /mnt && sha256sum journal/\$i) >>$work/shared/journal || exit 0
    done"
  else
    run_on $two "for i in \$(seq 100000); do
      qemu-io -f raw -c \"write -f -P \$((i % 255 + 1)) \$((300 * 1024 * 1024 + i * 4096)) 4096\" \\
        \"\$(repladm sh-nbd-uri drbd0)\" | grep -q ^wrote || exit 0
      echo \$i >>$work/shared/journal
    done"
  fi
}

step_unplanned() {
  local try
  say "5. The second host's daemon is killed while it writes"
  : >"$work/shared/journal"
  prompt $two "(files are written and fsynced one after the other, each noted when it is durable) &"
  write_until_it_fails >"$work/shared/writer.out" 2>&1 &
  writer=$!
  for try in $(seq 300); do
    [ "$(wc -l <"$work/shared/journal")" -lt 50 ] || break
    sleep 0.1
  done
  [ "$(wc -l <"$work/shared/journal")" -ge 50 ] || die "the writer does not get on: $(tail -3 "$work/shared/writer.out")"
  if [ $mode = hosts ]; then
    at $two "pkill --signal KILL --exact repld"
  else
    at $two 'kill -KILL $(cat $REPL_RUN_DIR/drbd0.pid)'
  fi
  if [ $mode = hosts ]; then
    note "its writer waits for the next repld on that host; here the other host goes on instead, and down ends the wait"
    at $two "repladm down drbd0"
  fi
  wait $writer || true
  writer=
  note "$(wc -l <"$work/shared/journal") pieces were durable when it died"
  if [ $mode = hosts ]; then
    note "one kernel plays both hosts, and XFS does not mount a file system twice: the dead mount goes first"
    at $two "umount /mnt"
  fi
  at $one "repladm status drbd0"
  at $one "repladm primary drbd0"
  if [ $mode = hosts ]; then
    at $one "mount /dev/drbd0 /mnt && umount /mnt   # replays the log"
    at $one "xfs_repair -n /dev/drbd0 >/dev/null 2>&1 && echo clean"
    at $one "mount /dev/drbd0 /mnt"
    at $one "cd /mnt && sha256sum --check --quiet $work/shared/sums $work/shared/journal && echo every file that was fsynced is there"
    at $one "head -c 20M /dev/urandom >/mnt/meanwhile && sync"
  else
    check_journal
    at $one "qemu-io -f raw -c 'write -P 0x77 250M 8M' -c flush \"\$(repladm sh-nbd-uri drbd0)\""
  fi
  at $one "repladm status drbd0 --verbose --statistics"
  note "the second host comes back"
  at $two "repladm up$(no_device) drbd0"
  at $two "timeout 60 repladm wait-connect drbd0"
  at $two "timeout 120 repladm wait-sync drbd0"
  at $two "repladm status drbd0 --verbose --statistics"
  say_what_was_resynced
  status_is c
}

check_journal() {
  local i
  prompt $one "(every piece is read back)"
  while read -r i; do
    echo "read -P $((i % 255 + 1)) $((300 * 1024 * 1024 + i * 4096)) 4096"
  done <"$work/shared/journal" >"$work/shared/reads"
  if run_on $one "qemu-io -f raw \"\$(repladm sh-nbd-uri drbd0)\" <$work/shared/reads" | grep -i -m1 'failed'; then
    die "a piece that was durable is lost"
  fi
  echo "all $(wc -l <"$work/shared/journal") are there"
}

say_what_was_resynced() {
  local kib
  kib=$(quiet $two "repladm status drbd0 --verbose --statistics" | grep -o 'received:[0-9]*' | head -1 | cut -d: -f2)
  note "resynced: ${kib:-?} KiB of a device of $((data_bytes / 1024)) KiB, by bitmap and activity log"
  [ -z "$kib" ] || [ "$kib" -lt $((data_bytes / 1024 / 2)) ] || die "that is no partial resync"
}

step_compare() {
  local first second
  say "6. Down, and the two disks are compared"
  if [ $mode = hosts ]; then at $one "umount /mnt"; fi
  at $one "repladm secondary drbd0"
  at $two "repladm down drbd0"
  at $one "repladm down drbd0"
  if [ $mode = hosts ]; then
    first=$(awk -v host=$one '$1 == host {print $2}' "$work/devices")
    second=$(awk -v host=$two '$1 == host {print $2}' "$work/devices")
  else
    first=$work/$one.img
    second=$work/$two.img
  fi
  echo "\$ cmp --bytes=$data_bytes $first $second"
  cmp --bytes="$data_bytes" "$first" "$second" || die "the two disks differ"
  echo "equal: all $((data_bytes / 1024)) KiB of data"
}
