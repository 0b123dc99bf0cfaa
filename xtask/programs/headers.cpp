// What a compiler meets every day: large headers. Code that is optimized at length is left out, because
// heaptrack's interpreter takes 19 GB of memory for what the compiler does then, and fails.

#include <functional>
#include <map>
#include <ranges>
#include <regex>

// A quick run compiles those alone.
#ifndef QUICK
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <iostream>
#include <random>
#include <unordered_map>
#include <vector>
#endif
