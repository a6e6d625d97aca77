internal import Glibc

exit(Fuzzer.run())
