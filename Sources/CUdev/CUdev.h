// libudev as it is: Swift imports all that Discovery calls.
#include <libudev.h>
