// How an operation finds its implementation: one table of function pointers for each backend, one
// indexed call, and a named error where a slot is empty.
#pragma once
#include <string_view>

#include "src/backend/context.h"
#include "src/base/error.h"

namespace offbook::ops {

using backend::Backend;
using backend::Compute;
using backend::ExecutionContext;

// Whether a result replaces what stands in the output or is added to it.
enum class Write : uint8_t { overwrite, accumulate };

struct OpTable;                            // ops/registry.h
const OpTable& op_table(Backend backend);  // ops/registry.cc

// The slot of one operation for the backend of ctx. Throws Unsupported naming both when it is empty;
// nothing moves to another device silently.
template <typename Slot>
auto pick(Slot slot, const ExecutionContext& ctx, std::string_view name) {
  auto* const fn = op_table(ctx.backend).*slot;
  OB_REQUIRE(fn != nullptr, Unsupported, "{} has no implementation for {}", name, backend::to_string(ctx.backend));
  return fn;
}

// Throws InvalidArgument naming the operation unless the condition holds; for shapes and dtypes.
#define OB_OP_REQUIRE(op, condition, ...) \
  OB_REQUIRE(condition, InvalidArgument, op ": {}", ::fmt::format(__VA_ARGS__))

}  // namespace offbook::ops
