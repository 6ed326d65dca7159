#include "src/ops/lora/parts.h"
#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {
namespace {

void add_part(const OneLora& args) {
  for (int64_t row = 0; row < args.x.dim(0); ++row) {
    const LoraFactors* f = adapter_of(args, row);
    if (f == nullptr) {
      continue;
    }
    std::vector<double> inner(static_cast<size_t>(f->a.dim(0)), 0.0);
    for (int64_t r = 0; r < f->a.dim(0); ++r) {
      for (int64_t i = 0; i < args.x.dim(1); ++i) {
        inner[static_cast<size_t>(r)] += get(args.x, row, i) * get(f->a, r, i);
      }
    }
    for (int64_t o = 0; o < args.out.dim(1); ++o) {
      double sum = 0;
      for (int64_t r = 0; r < f->a.dim(0); ++r) {
        sum += inner[static_cast<size_t>(r)] * get(f->b, o, r);
      }
      set(args.out, get(args.out, row, o) + f->scale * sum, row, o);
    }
  }
}

}  // namespace

void lora(const ExecutionContext&, const LoraArgs& args) {
  each_part(args, add_part);
}

}  // namespace offbook::ops::ref
