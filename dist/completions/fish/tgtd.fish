complete -c tgtd -s C -l control-port -d 'The number of the control socket, 0 to 32767; a further daemon needs another one' -r
complete -c tgtd -s t -l nr_iothreads -d 'I/O threads of each unit whose store blocks, 1 or more' -r
complete -c tgtd -s p -l pid-file -d 'Write the daemon\'s process id to this file; only when it goes to the background' -r -F
complete -c tgtd -s d -l debug -d '1 logs what the daemon does in detail' -r
complete -c tgtd -l iscsi -d 'Where to listen, and how often to ping: portal=ADDRESS[:PORT],nop_interval=SECONDS,nop_count=N' -r
complete -c tgtd -l iser -d 'Accepted for compatibility: port=, nop=, pool_sz_mb=, buf_sz_kb=, cq_vector=. There is no RDMA, and only a warning is logged' -r
complete -c tgtd -l export -d 'Export a file or block device, in the foreground; a file that does not exist is made when a size (1G, 512M …) is given. May be repeated' -r
complete -c tgtd -l loops -d 'Let all targets share N polling loops, or one per two processors, however many targets there are; without this each has loops of its own' -r
complete -c tgtd -l target-loops -d 'Polling loops of each target, or `auto` for one per two processors' -r
complete -c tgtd -l chap-algorithms -d 'What CHAP may use, the best first: the first of these that an initiator knows too is taken, and one that knows none is refused' -r
complete -c tgtd -l identity -d 'What the SCSI IDs and serial numbers of units are made of that are given none: a UUID, or a file that holds one and is made if it is missing; by default this installation\'s own. Hosts that export the same disks need the same one' -r
complete -c tgtd -s f -l foreground -d 'Stay in the foreground and log to standard error'
complete -c tgtd -s D -l nodaemonize -d 'Stay in the foreground and log to syslog'
complete -c tgtd -l compat-defaults -d 'Let new targets negotiate with stock\'s defaults, which are slower: 8 KiB segments, InitialR2T=Yes'
complete -c tgtd -l compat-ids -d 'Give units stock\'s SCSI IDs and serial numbers, which differ only within a host'
complete -c tgtd -s V -l version -d 'Print the version and exit'
complete -c tgtd -s h -l help -d 'Print help'
