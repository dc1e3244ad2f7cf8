stage_booted() { die "not there"; }
booted_down() { :; }
