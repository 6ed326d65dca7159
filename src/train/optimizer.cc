#include "src/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "src/backend/transfer.h"
#include "src/ops/registry.h"

namespace offbook::train {
namespace {

std::shared_ptr<Storage> cleared(const backend::ExecutionContext& ctx, size_t bytes) {
  const auto storage = ctx.arena->allocator().allocate(bytes);
  ops::fill(ctx,
            {.value = 0,
             .out = Tensor(storage, Dtype::f32, {static_cast<int64_t>(bytes / sizeof(float))})});
  return storage;
}

// Storages of gradients and moments beside one of values.
struct Twins {
  std::shared_ptr<Storage> grad, m, v;
};

Parameter parameter_in(const Twins& twins, const std::string& name, const Tensor& value) {
  OB_REQUIRE(value.dtype() == Dtype::f32 && value.is_contiguous(), InvalidArgument,
             "{}: parameters are contiguous f32, not {}", name, to_string(value));
  return {.name = name,
          .value = value,
          .grad = value.moved_to(twins.grad),
          .m = value.moved_to(twins.m),
          .v = value.moved_to(twins.v)};
}

// The same distance from `before` to `after` in bytes, if they share a storage.
int64_t distance(const Tensor& before, const Tensor& after) {
  return before.storage() == after.storage() ? after.raw() - before.raw() : -1;
}

// Whether what passes read of them lies as far apart, in its own elements.
bool continues_working(const Parameter& before, const Parameter& after, int64_t step) {
  const int64_t elements = step / static_cast<int64_t>(sizeof(float));
  return before.working.dtype() == after.working.dtype() &&
         distance(before.working, after.working) == dtype_bytes(before.working.dtype(), elements);
}

// Whether a step may run on from one parameter to the next: they lie behind one another in all four
// storages, with less than an alignment between them, which holds zeros and stays so.
bool continues(const Parameter& before, const Parameter& after) {
  constexpr int64_t kMostGap = 256;
  const int64_t step = distance(before.value, after.value);
  return step >= before.value.bytes() && step < before.value.bytes() + kMostGap &&
         before.lr_scale == after.lr_scale && step == distance(before.grad, after.grad) &&
         step == distance(before.m, after.m) && step == distance(before.v, after.v) &&
         before.working.defined() == after.working.defined() &&
         (!before.working.defined() || continues_working(before, after, step));
}

// As given, but those of one storage together, in the order of their addresses.
std::vector<const Parameter*> by_place(const std::vector<Parameter>& parameters) {
  std::map<const Storage*, size_t> first;
  std::vector<std::vector<const Parameter*>> groups;
  for (const Parameter& p : parameters) {
    const auto [at, is_new] = first.emplace(p.value.storage().get(), groups.size());
    if (is_new) {
      groups.emplace_back();
    }
    groups[at->second].push_back(&p);
  }
  std::vector<const Parameter*> out;
  for (auto& group : groups) {
    std::sort(group.begin(), group.end(), [](const Parameter* x, const Parameter* y) {
      return x->value.raw() < y->value.raw();
    });
    out.insert(out.end(), group.begin(), group.end());
  }
  return out;
}

// The flat stretch of n elements that begins where t does.
Tensor stretch_from(const Tensor& t, int64_t n) {
  return Tensor(t.storage(), t.dtype(), {n}, static_cast<size_t>(t.raw() - t.storage()->data()));
}

double gradient_norm(const backend::ExecutionContext& ctx, const std::vector<Parameter>& runs) {
  backend::ArenaScope scope(*ctx.arena);
  const Tensor total = ctx.make(Dtype::f32, {1});
  ops::fill(ctx, {.value = 0, .out = total});
  for (const Parameter& run : runs) {
    ops::sum_squares(ctx, {.x = run.grad, .out = total});
  }
  float squares = 0;
  backend::download(ctx, total, std::as_writable_bytes(std::span(&squares, 1)));
  return std::sqrt(static_cast<double>(squares));
}

}  // namespace

Parameter make_parameter(const backend::ExecutionContext& ctx, std::string name,
                         const Tensor& value) {
  return make_parameters(ctx, {{std::move(name), value}}).front();
}

std::vector<Parameter> make_parameters(const backend::ExecutionContext& ctx,
                                       const std::vector<NamedTensor>& values) {
  std::map<const Storage*, Twins> twins;
  std::vector<Parameter> out;
  for (const NamedTensor& named : values) {
    const Storage* storage = named.value.storage().get();
    auto at = twins.find(storage);
    if (at == twins.end()) {
      const size_t bytes = (storage->bytes() + sizeof(float) - 1) / sizeof(float) * sizeof(float);
      at = twins
               .emplace(storage,
                        Twins{cleared(ctx, bytes), cleared(ctx, bytes), cleared(ctx, bytes)})
               .first;
    }
    out.push_back(parameter_in(at->second, named.name, named.value));
  }
  return out;
}

std::vector<Parameter> make_master_parameters(const backend::ExecutionContext& ctx,
                                              const std::vector<NamedTensor>& weights) {
  // Copies lie as the weights do: what is one run there is one here.
  std::map<const Storage*, std::shared_ptr<Storage>> copies;
  std::vector<NamedTensor> values;
  for (const NamedTensor& w : weights) {
    if (w.value.dtype() == Dtype::f32) {
      values.push_back(w);
      continue;
    }
    OB_REQUIRE(w.value.dtype() == Dtype::bf16 && w.value.is_contiguous(), InvalidArgument,
               "{}: weights in training are contiguous f32 or bf16, not {}", w.name,
               to_string(w.value));
    const Storage* const storage = w.value.storage().get();
    std::shared_ptr<Storage>& copy = copies[storage];
    if (copy == nullptr) {
      copy = ctx.arena->allocator().allocate(2 * storage->bytes());
    }
    const Tensor value(copy, Dtype::f32, w.value.shape(),
                       2 * static_cast<size_t>(w.value.raw() - storage->data()));
    ops::copy(ctx, {.x = w.value, .out = value});
    values.push_back({w.name, value});
  }
  std::vector<Parameter> out = make_parameters(ctx, values);
  for (size_t i = 0; i < out.size(); ++i) {
    if (weights[i].value.dtype() != Dtype::f32) {
      out[i].working = weights[i].value;
    }
  }
  return out;
}

void refresh_working(const backend::ExecutionContext& ctx,
                     const std::vector<Parameter>& parameters) {
  for (const Parameter& p : parameters) {
    if (p.working.defined()) {
      ops::copy(ctx, {.x = p.value, .out = p.working});
    }
  }
}

std::vector<Parameter> runs_of(const std::vector<Parameter>& parameters) {
  const std::vector<const Parameter*> ordered = by_place(parameters);
  std::vector<Parameter> runs;
  for (size_t begin = 0; begin < ordered.size();) {
    size_t last = begin;
    while (last + 1 < ordered.size() && continues(*ordered[last], *ordered[last + 1])) {
      ++last;
    }
    Parameter run = *ordered[begin];
    const Parameter& end = *ordered[last];
    const int64_t n = (end.value.raw() - run.value.raw()) / static_cast<int64_t>(sizeof(float)) +
                      end.value.numel();
    for (Tensor* t : {&run.value, &run.grad, &run.m, &run.v}) {
      *t = stretch_from(*t, n);
    }
    if (run.working.defined()) {
      run.working = stretch_from(run.working, n);
    }
    runs.push_back(std::move(run));
    begin = last + 1;
  }
  return runs;
}

double adamw_step(const backend::ExecutionContext& ctx, std::vector<Parameter>& parameters,
                  const AdamwOptions& options, float lr, int64_t step, float grad_scale) {
  const std::vector<Parameter> runs = runs_of(parameters);
  const double norm = gradient_norm(ctx, runs) * grad_scale;
  if (std::isfinite(norm)) {
    const double clip =
        options.clip_norm > 0 && norm > options.clip_norm ? options.clip_norm / norm : 1;
    for (const Parameter& p : runs) {
      ops::adamw(ctx, {.param = p.value,
                       .grad = p.grad,
                       .m = p.m,
                       .v = p.v,
                       .lr = lr * p.lr_scale,
                       .beta1 = options.beta1,
                       .beta2 = options.beta2,
                       .eps = options.eps,
                       .weight_decay = options.weight_decay,
                       .step = step,
                       .grad_scale = static_cast<float>(grad_scale * clip),
                       .copy = p.working});
    }
  }
  for (const Parameter& p : runs) {
    ops::fill(ctx, {.value = 0, .out = p.grad});
  }
  return norm;
}

float cosine_rate(float lr, int64_t step, int64_t steps, int64_t warmup, float floor) {
  if (step <= warmup) {
    return lr * static_cast<float>(step) / static_cast<float>(warmup);
  }
  const double progress = static_cast<double>(step - warmup) /
                          static_cast<double>(std::max<int64_t>(1, steps - warmup));
  const double cosine = 0.5 * (1 + std::cos(3.141592653589793 * std::min(1.0, progress)));
  return static_cast<float>(lr * (floor + (1 - floor) * cosine));
}

}  // namespace offbook::train
