# Sourced by bench.sh: how each contestant is started on files in $place. Each start_NAME sets uri[NAME] and adds the
# daemons that serve its I/O to pids[NAME]; what has to be ended stands in `daemons`.

declare -A uri pids
daemons=()

what_is() {
  case $1 in
  repl) echo "repl, replicated to a second repld over TCP (protocol C)" ;;
  repl-alone) echo "repl, its peer not connected" ;;
  qemu-nbd) echo "qemu-nbd, one copy only" ;;
  nbdkit) echo "nbdkit file, one copy only, acknowledges from the page cache" ;;
  mirror) echo "QEMU blockdev-mirror, write-blocking, to a qemu-nbd over TCP" ;;
  esac
}

# filled FILE: all blocks written once, so that no contestant pays for allocating them.
filled() {
  dd if=/dev/zero of="$1" bs=1M count=$((bytes >> 20)) status=none
  sync "$1"
}

# started NAME PID: a daemon of this contestant.
started() {
  daemons+=("$2")
  pids[$1]="${pids[$1]:-} $2"
}

wait_for_socket() {
  local try
  for try in $(seq 100); do
    [ ! -S "$1" ] || return 0
    sleep 0.1
  done
  die "no server came up at $1"
}

# Direct I/O where the file system has it.
cache_mode() {
  if dd if="$place/probe" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null; then echo none; else echo writeback; fi
}

start_qemu-nbd() {
  filled "$place/qemu-nbd.img"
  qemu-nbd --persistent --shared=8 --format=raw --aio=io_uring --cache="$cache" \
    --socket="$place/qemu-nbd.sock" "$place/qemu-nbd.img" &
  started qemu-nbd $!
  wait_for_socket "$place/qemu-nbd.sock"
  uri[qemu-nbd]="nbd+unix:///?socket=$place/qemu-nbd.sock"
}

start_nbdkit() {
  filled "$place/nbdkit.img"
  nbdkit --foreground --unix "$place/nbdkit.sock" file "$place/nbdkit.img" &
  started nbdkit $!
  wait_for_socket "$place/nbdkit.sock"
  uri[nbdkit]="nbd+unix:///?socket=$place/nbdkit.sock"
}

start_mirror() {
  local try line direct=on port=$((base_port + 9)) ready=
  [ "$cache" = none ] || direct=off
  filled "$place/mirror-1.img"
  filled "$place/mirror-2.img"
  qemu-nbd --persistent --shared=2 --format=raw --aio=io_uring --cache="$cache" \
    --bind=127.0.0.1 --port=$port "$place/mirror-2.img" &
  started mirror $!
  for try in $(seq 100); do
    if nbdinfo --size "nbd://127.0.0.1:$port" >/dev/null 2>&1; then break; fi
    sleep 0.1
  done
  mkfifo "$place/mirror.in" "$place/mirror.out"
  qemu-storage-daemon \
    --blockdev "driver=file,node-name=file,filename=$place/mirror-1.img,cache.direct=$direct,aio=io_uring" \
    --blockdev "driver=raw,node-name=source,file=file" \
    --blockdev "driver=nbd,node-name=target,server.type=inet,server.host=127.0.0.1,server.port=$port" \
    --nbd-server "addr.type=unix,addr.path=$place/mirror.sock,max-connections=8" \
    --export "type=nbd,id=export,node-name=source,name=,writable=on" \
    --chardev stdio,id=qmp --monitor chardev=qmp <"$place/mirror.in" >"$place/mirror.out" &
  started mirror $!
  exec 7>"$place/mirror.in" 8<"$place/mirror.out"
  echo '{"execute": "qmp_capabilities"}' >&7
  echo '{"execute": "blockdev-mirror", "arguments": {"job-id": "mirror", "device": "source", "target": "target",
    "sync": "full", "copy-mode": "write-blocking"}}' >&7
  while read -r -t 120 line <&8; do
    case $line in
    *BLOCK_JOB_READY*)
      ready=yes
      break
      ;;
    *'"error"'*) die "qemu-storage-daemon: $line" ;;
    esac
  done
  [ -n "$ready" ] || die "the mirror did not become ready"
  uri[mirror]="nbd+unix:///?socket=$place/mirror.sock"
}

# repl_on NODE COMMAND: repladm for one of the two nodes of `resource`.
repl_on() {
  local node=$1
  shift
  REPL_CONFIG=$place/$resource.res REPL_RUN_DIR=$place/$resource.$node __DRBD_NODE__=$node timeout 300 "$@"
}

write_resource() {
  mkdir -p "$place/$resource.one" "$place/$resource.two"
  cat >"$place/$resource.res" <<RES
resource $resource {
  protocol C;
  device minor $1;
  meta-disk internal;
  on one { address 127.0.0.1:$2; disk $place/$resource-1.img; }
  on two { address 127.0.0.1:$(($2 + 1)); disk $place/$resource-2.img; }
}
RES
}

repl_started() {
  local node
  for node in "$@"; do started "$name" "$(cat "$place/$resource.$node/$resource.pid")"; done
  uri[$name]=$(repl_on one repladm sh-nbd-uri $resource)
}

start_repl() {
  local name=repl resource=bench node begun
  write_resource 0 $((base_port + 1))
  filled "$place/$resource-1.img"
  filled "$place/$resource-2.img"
  for node in one two; do repl_on $node repladm create-md --force $resource >&2; done
  for node in one two; do repl_on $node repladm up --no-device $resource >&2; done
  repl_on one repladm wait-connect $resource >&2
  begun=$(date +%s%N)
  repl_on one repladm primary --force $resource >&2
  repl_on one repladm wait-sync $resource >&2
  resync_rate=$((bytes * 1000 / (($(date +%s%N) - begun) / 1000) / 1000))
  repl_started one two
}

start_repl-alone() {
  local name=repl-alone resource=alone
  write_resource 1 $((base_port + 3))
  filled "$place/$resource-1.img"
  repl_on one repladm create-md --force $resource >&2
  repl_on one repladm up --no-device $resource >&2
  repl_on one repladm primary --force $resource >&2
  repl_started one
}
