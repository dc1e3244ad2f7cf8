# Sourced by the first process of a host made of namespaces (scripts/hosts.sh, Tests/Cluster/host-init.sh): the places that each such
# host has to itself. Law: nothing that is made here is seen by the machine, and nothing of the machine is kept busy.

# What others have mounted from loop devices and FUSE stays theirs: a copy here would keep it busy.
leave_mounts_of_others() {
  local target
  awk '$0 ~ / - (fuse[^ ]*|[^ ]+ (\/dev\/(loop|nbd|drbd)|[^ ]+\.nodes\/))/ {print $5}' /proc/self/mountinfo |
    while read -r target; do umount --lazy "$target" 2>/dev/null || true; done
}

# A /dev of its own: the nodes copied, the directories shared. New names stay here. /run is the host's own already.
own_dev() {
  local entry base number
  mkdir -p /run/dev
  mount -t tmpfs -o mode=0755,size=4m tmpfs /run/dev
  for entry in /dev/* /dev/.[!.]*; do
    base=${entry##*/}
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    case $base in drbd*) continue ;; esac
    if [ -d "$entry" ] && [ ! -L "$entry" ]; then
      mkdir "/run/dev/$base"
      mount --rbind "$entry" "/run/dev/$base"
    elif [ -e "$entry" ] && [ -f "$entry" ]; then
      : # a file in /dev is a bind mount of a container: not needed
    else
      cp -a "$entry" "/run/dev/$base"
    fi
  done
  for number in $(seq 0 127); do
    [ -e "/run/dev/loop$number" ] || mknod -m 660 "/run/dev/loop$number" b 7 "$number"
  done
  mount --move /run/dev /dev
}

# The rest of the first process's life: it reaps what the host orphans.
reap() {
  exec </dev/null >/dev/null 2>&1
  trap 'exit 0' TERM
  while :; do
    sleep 3600 &
    wait $! || true
  done
}
