// The tables of a corpus (docs/formats/corpus.md) and their migrations.
#pragma once
#include <span>

#include "src/store/sqlite.h"

namespace offbook::store {

inline constexpr int64_t kApplicationId = 0x6F62636F;  // "obco"

// Step i brings a database from format i to i + 1. Released steps never change.
using Migration = void (*)(Database& db);
std::span<const Migration> migrations();

// Brings a database to the format of the last step, one transaction a step; format 0 without any
// table is a new corpus. `steps` is migrations() except in tests. Throws Unsupported (naming both
// formats) for a newer one or one that a reader would have to migrate, InvalidArgument for a
// database of another program.
void bring_up_to_date(Database& db, std::span<const Migration> steps);

}  // namespace offbook::store
