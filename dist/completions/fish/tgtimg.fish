complete -c tgtimg -s o -l op -d 'What to do' -r -f -a "new\t'Create a file; an existing file is overwritten'
show\t'List the contents of a tape'"
complete -c tgtimg -s Y -l device-type -d 'The type of device that the file is for' -r -f -a "tape\t''
cd\t''
disk\t''"
complete -c tgtimg -s b -l barcode -d 'The barcode of a new tape, at most 20 bytes; unique within a library' -r
complete -c tgtimg -s s -l size -d 'The size of a new tape or disk in MiB, from 1' -r
complete -c tgtimg -s t -l type -d 'The medium of a new file: data, clean or WORM for tapes, dvd+r for discs, disk for disks' -r -f -a "data\t''
clean\t''
WORM\t''
dvd+r\t''
disk\t''"
complete -c tgtimg -s f -l file -d 'The image file' -r -F
complete -c tgtimg -s T -l thin-provisioning -d 'Allocate the space of a new disk when it is written to'
complete -c tgtimg -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tgtimg -s V -l version -d 'Print version'
