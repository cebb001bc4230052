complete -c tgtimg -s o -l op -d 'What to do' -r -f -a "new\t'Make a file; one that is there is overwritten'
show\t'Show what is on a tape'"
complete -c tgtimg -s Y -l device-type -d 'The device that the file is for' -r -f -a "tape\t''
cd\t''
disk\t''"
complete -c tgtimg -s b -l barcode -d 'A new tape\'s barcode, at most 20 bytes; those of a library differ' -r
complete -c tgtimg -s s -l size -d 'A new tape\'s or disk\'s size in MiB, from 1' -r
complete -c tgtimg -s t -l type -d 'A new file\'s kind of medium: data, clean or WORM for tapes, dvd+r for discs, disk for disks' -r -f -a "data\t''
clean\t''
WORM\t''
dvd+r\t''
disk\t''"
complete -c tgtimg -s f -l file -d 'The file' -r -F
complete -c tgtimg -s T -l thin-provisioning -d 'Take no space for a new disk until it is written to'
complete -c tgtimg -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tgtimg -s V -l version -d 'Print version'
