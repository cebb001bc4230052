complete -c tgt-setup-lun -s n -d 'The target\'s name; one that does not start with iqn becomes iqn.2001-04.com.HOST-NAME' -r
complete -c tgt-setup-lun -s d -d 'The file or block device behind the unit' -r -F
complete -c tgt-setup-lun -s b -d 'The kind of backing store; by default rdwr' -r
complete -c tgt-setup-lun -s B -d 'The unit\'s block size, a power of two from 512; by default 512' -r
complete -c tgt-setup-lun -s t -d 'The driver' -r
complete -c tgt-setup-lun -s C -d 'The number of the daemon\'s control socket, 0 to 32767' -r
complete -c tgt-setup-lun -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tgt-setup-lun -s V -l version -d 'Print version'
