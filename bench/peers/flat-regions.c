/* The flat C limit, by sectors of 2 MiB. */
#define FLAT_SECTORS 21
#include "flat-main.h"
