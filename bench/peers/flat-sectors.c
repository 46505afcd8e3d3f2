/* The flat C limit, by sectors of 256 KiB. */
#define FLAT_SECTORS 18
#include "flat-main.h"
