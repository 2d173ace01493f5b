#include "transport/memory/memory_region_cache.h"
