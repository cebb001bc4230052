complete -c tgt-setup-lun -s n -d 'The target\'s name; a name that does not start with iqn becomes iqn.2001-04.com.HOST-NAME' -r
complete -c tgt-setup-lun -s d -d 'The file or block device that is exported' -r -F
complete -c tgt-setup-lun -s b -d 'The type of backing store; rdwr by default' -r
complete -c tgt-setup-lun -s B -d 'The logical block size, a power of two from 512; 512 by default' -r
complete -c tgt-setup-lun -s t -d 'The driver' -r
complete -c tgt-setup-lun -s C -d 'The number of the daemon\'s control socket, 0 to 32767' -r
complete -c tgt-setup-lun -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tgt-setup-lun -s V -l version -d 'Print version'
