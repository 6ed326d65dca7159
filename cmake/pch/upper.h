// For the folders above model and store.
#pragma once
#include <chrono>
#include <filesystem>
#include <numeric>
#include <set>

#include "src/compress/compressor.h"
#include "src/model/language_model.h"
#include "src/store/corpus.h"
