internal import Glibc

exit(RingFuzzer.run())
