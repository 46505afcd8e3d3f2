/* The flat C limit, by sectors. */
#define FLAT_SECTORS
#include "flat-main.h"
