complete -c tgtd -s C -l control-port -d 'The number of the control socket, 0 to 32767; each daemon needs its own' -r
complete -c tgtd -s t -l nr_iothreads -d 'Maximum number of I/O threads for each unit whose store blocks, 1 or more' -r
complete -c tgtd -s p -l pid-file -d 'Write the process ID of the daemon to this file; only if it runs in the background' -r -F
complete -c tgtd -s d -l debug -d '1 logs details' -r
complete -c tgtd -l iscsi -d 'Portals and NOP-In pings: portal=ADDRESS[:PORT],nop_interval=SECONDS,nop_count=N' -r
complete -c tgtd -l iser -d 'Accepted for compatibility: port=, nop=, pool_sz_mb=, buf_sz_kb=, cq_vector=. RDMA is not supported, and a warning is logged' -r
complete -c tgtd -l export -d 'Export a file or block device, in the foreground; a file that does not exist is created if a size (1G, 512M …) is given. May be repeated' -r
complete -c tgtd -l loops -d 'Let all targets share N polling loops, or with auto one per two processors; without this option each target has its own' -r
complete -c tgtd -l target-loops -d 'Polling loops of each target, or auto for one per two processors' -r
complete -c tgtd -l chap-algorithms -d 'CHAP algorithms in order of preference: the first that the initiator offers is used, and a login that offers none of them is refused' -r
complete -c tgtd -l max-connections-per-target -d 'Connections to one target at most, 0 for any number; by default half of those that are free' -r
complete -c tgtd -l max-connections-per-address -d 'Connections from one address at most, 0 for any number; by default half of what the target may still have' -r
complete -c tgtd -l max-connections-per-initiator -d 'Connections of one initiator name at most, 0 for any number; by default half of what its address may still have' -r
complete -c tgtd -l identity -d 'Derive the SCSI IDs and serial numbers of units that are given none from this UUID, or from the one in this file, which is created if it does not exist; by default from that of this installation. Hosts that export the same disks need the same UUID' -r
complete -c tgtd -s f -l foreground -d 'Stay in the foreground and log to standard error'
complete -c tgtd -s D -l nodaemonize -d 'Stay in the foreground and log to syslog'
complete -c tgtd -l compat-defaults -d 'Give new targets tgt\'s default parameters, which are slower: 8 KiB data segments, InitialR2T=Yes'
complete -c tgtd -l compat-ids -d 'Give units the SCSI IDs and serial numbers that tgt gives, which are unique only within a host'
complete -c tgtd -s V -l version -d 'Print the version and exit'
complete -c tgtd -s h -l help -d 'Print help'
