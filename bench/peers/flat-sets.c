/* The flat C limit, set-associative. */
#include "flat-main.h"
