// How an operation finds its implementation: one table of function pointers for each backend, one
// indexed call, and a named error where a slot is empty.
#pragma once
#include <string_view>

#include "src/backend/context.h"
#include "src/backend/op_profile.h"
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
template <typename Fn>
class Picked;
template <typename Slot>
auto pick(Slot slot, const ExecutionContext& ctx, std::string_view name) {
  auto* const fn = op_table(ctx.backend).*slot;
  OB_REQUIRE(fn != nullptr, Unsupported, "{} has no implementation for {}", name, backend::to_string(ctx.backend));
  return Picked(fn, name);
}

// "linear [576, 1536]": an operation and the tensor that says most about its size.
template <typename Args>
std::string described(std::string_view name, const Args& args) {
  const auto with = [&](const Tensor& t) {
    return t.defined() ? fmt::format("{} {}", name, to_string(t.shape())) : std::string(name);
  };
  if constexpr (requires { args.weight; }) {
    return with(args.weight);
  } else if constexpr (requires {
                         args.x;
                         args.d_out;
                         args.d_weight;
                       }) {
    return with(args.d_weight);
  } else if constexpr (requires { args.q; }) {
    return with(args.q);
  } else if constexpr (requires { args.forward.q; }) {
    return with(args.forward.q);
  } else if constexpr (requires { args.out; }) {
    return with(args.out);
  } else {
    return std::string(name);
  }
}

// An implementation, timed where the context wants it.
template <typename Args>
class Picked<void(const ExecutionContext&, const Args&)> {
 public:
  using Fn = void(const ExecutionContext&, const Args&);
  Picked(Fn* fn, std::string_view name) : fn_(fn), name_(name) {}
  void operator()(const ExecutionContext& ctx, const Args& args) const {
    if (ctx.profile == nullptr) {
      return fn_(ctx, args);
    }
    ctx.profile->begin();
    fn_(ctx, args);
    ctx.profile->end(described(name_, args));
  }

 private:
  Fn* fn_;
  std::string_view name_;
};
template <typename Fn>
Picked(Fn*, std::string_view) -> Picked<Fn>;

// Throws InvalidArgument naming the operation unless the condition holds; for shapes and dtypes.
#define OB_OP_REQUIRE(op, condition, ...) \
  OB_REQUIRE(condition, InvalidArgument, op ": {}", ::fmt::format(__VA_ARGS__))

}  // namespace offbook::ops
