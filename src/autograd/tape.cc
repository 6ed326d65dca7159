#include "src/autograd/tape.h"

#include <utility>

#include "src/base/error.h"
#include "src/ops/elementwise/elementwise.h"

namespace offbook::autograd {

Tensor Graph::make(Dtype dtype, const Shape& shape) const {
  Tensor t = ctx.make(dtype, shape);
  if (tape != nullptr) {
    tape->track(t);
  }
  return t;
}

bool Graph::needs_grad(const Tensor& t) const {
  return tape != nullptr && t.defined() && tape->needs_grad(t);
}

Tape::Tape(const ExecutionContext& ctx, Tape* outer) : ctx_(ctx), outer_(outer) {
  if (outer_ != nullptr) {
    free_twins_.swap(outer_->free_twins_);
  }
}

Tape::~Tape() {
  if (outer_ != nullptr) {  // hand the twins back: layers of a model have the same shapes
    for (auto& [base, allocation] : allocations_) {
      if (allocation.twin.defined() && !allocation.is_leaf) {
        free_twins_[static_cast<size_t>(allocation.twin.bytes())].push_back(allocation.twin);
      }
    }
    free_twins_.swap(outer_->free_twins_);
  }
}

void Tape::watch(const Tensor& value, const Tensor& grad) {
  OB_REQUIRE(value.is_contiguous() && grad.is_contiguous() && grad.shape() == value.shape() &&
                 grad.dtype() == Dtype::f32,
             InvalidArgument, "the gradient of {} is a contiguous f32 tensor of its shape, not {}",
             to_string(value), to_string(grad));
  allocations_[value.raw()] = {.bytes = static_cast<size_t>(value.bytes()),
                               .dtype = Dtype::f32,
                               .needs = true,
                               .is_leaf = true,
                               .twin = grad.reshape({grad.numel()})};
}

void Tape::track(const Tensor& made) {
  allocations_[made.raw()] = {.bytes = static_cast<size_t>(made.bytes()), .dtype = made.dtype()};
}

Tape::Allocations::iterator Tape::find(const Tensor& t) {
  auto it = allocations_.upper_bound(t.raw());
  if (it == allocations_.begin()) {
    return allocations_.end();
  }
  --it;
  return t.raw() < it->first + it->second.bytes ? it : allocations_.end();
}

bool Tape::needs_grad(const Tensor& t) const {
  if (t.numel() == 0) {
    return false;
  }
  const auto it = const_cast<Tape*>(this)->find(t);
  if (it != allocations_.end()) {
    return it->second.needs;
  }
  return outer_ != nullptr && outer_->needs_grad(t);
}

void Tape::record_all(std::span<const Tensor> outputs, std::function<void(Tape&)> backward) {
  Node node;
  for (const Tensor& t : outputs) {
    if (t.numel() == 0) {
      continue;
    }
    const auto it = find(t);
    OB_CHECK(it != allocations_.end());
    it->second.needs = true;
    it->second.first_node = std::min(it->second.first_node, nodes_.size());
    node.outputs.push_back(it->first);
  }
  node.backward = std::move(backward);
  nodes_.push_back(std::move(node));
}

Tensor Tape::once(const std::byte* name, const std::function<Tensor()>& make) {
  const auto at = made_once_.find(name);
  return at != made_once_.end() ? at->second : made_once_.emplace(name, make()).first->second;
}

Tensor Tape::view_in_twin(const Tensor& t, const std::byte* base, const Tensor& twin) const {
  const int64_t elem = dtype_info(t.dtype()).block_bytes;
  return t.rebased(twin, (t.raw() - base) / elem);
}

bool Tape::has_grad(const Tensor& t) const {
  const auto it = const_cast<Tape*>(this)->find(t);
  if (it != allocations_.end()) {
    return it->second.twin.defined();
  }
  return outer_ != nullptr && outer_->has_grad(t);
}

Tensor Tape::grad(const Tensor& t) {
  const auto it = find(t);
  if (it == allocations_.end()) {
    OB_CHECK(outer_ != nullptr);
    return outer_->grad(t);
  }
  OB_CHECK(it->second.twin.defined());
  return view_in_twin(t, it->first, it->second.twin);
}

Tensor Tape::take_twin(size_t bytes, Dtype dtype) {
  const int64_t elems = static_cast<int64_t>(bytes) / dtype_info(dtype).block_bytes;
  auto& free = free_twins_[bytes];
  if (free.empty()) {
    const auto storage = ctx_.arena->allocator().allocate(bytes);
    return Tensor(storage, dtype, {elems});
  }
  const Tensor reused = free.back();
  free.pop_back();
  return Tensor(reused.storage(), dtype, {elems});
}

Tape::Target Tape::target(const Tensor& t) {
  const auto it = find(t);
  if (it == allocations_.end()) {
    OB_CHECK(outer_ != nullptr);
    return outer_->target(t);
  }
  Allocation& allocation = it->second;
  const bool fresh = !allocation.twin.defined();
  if (fresh) {
    allocation.twin = take_twin(allocation.bytes, allocation.dtype);
  }
  const Tensor view = view_in_twin(t, it->first, allocation.twin);
  const bool whole =
      fresh && t.is_contiguous() && static_cast<size_t>(t.bytes()) == allocation.bytes;
  if (fresh && !whole) {
    ops::fill(ctx_, {.value = 0, .out = allocation.twin});
  }
  return {view, whole ? Write::overwrite : Write::accumulate};
}

Tensor Tape::accumulator(const Tensor& t) {
  const Target to = target(t);
  if (to.write == Write::overwrite) {
    ops::fill(ctx_, {.value = 0, .out = to.tensor});
  }
  return to.tensor;
}

std::optional<std::vector<Tensor>> Tape::parts(std::initializer_list<Tensor> whole) {
  const auto it = find(*whole.begin());
  if (it == allocations_.end() || it->second.twin.defined()) {
    return std::nullopt;
  }
  size_t bytes = 0;
  for (const Tensor& t : whole) {
    if (find(t) != it) {
      return std::nullopt;
    }
    bytes += static_cast<size_t>(dtype_bytes(t.dtype(), t.numel()));
  }
  if (bytes != it->second.bytes) {
    return std::nullopt;
  }
  it->second.twin = take_twin(it->second.bytes, it->second.dtype);
  std::vector<Tensor> out;
  for (const Tensor& t : whole) {
    out.push_back(view_in_twin(t, it->first, it->second.twin));
  }
  return out;
}

bool Tape::hand_over(const Tensor& from, const Tensor& t) {
  const auto source = find(from);
  const auto to = find(t);
  if (source == allocations_.end() || to == allocations_.end() || source == to) {
    return false;
  }
  const auto is_whole = [](const Tensor& x, const Allocation& a) {
    return x.is_contiguous() && static_cast<size_t>(x.bytes()) == a.bytes;
  };
  Allocation& giver = source->second;
  Allocation& taker = to->second;
  // The node that is being walked is nodes_.size(): if it is the giver's first, no other needs it.
  if (giver.first_node != nodes_.size() || giver.is_leaf || taker.is_leaf || taker.twin.defined() ||
      giver.dtype != taker.dtype || giver.bytes != taker.bytes || !is_whole(from, giver) ||
      !is_whole(t, taker)) {
    return false;
  }
  taker.twin = std::exchange(giver.twin, Tensor());
  return true;
}

void Tape::release(const std::byte* base) {
  Allocation& allocation = allocations_.at(base);
  if (!allocation.is_leaf && allocation.twin.defined()) {
    free_twins_[static_cast<size_t>(allocation.twin.bytes())].push_back(
        std::exchange(allocation.twin, Tensor()));
  }
}

void Tape::backward() {
  while (!nodes_.empty()) {
    const Node node = std::move(nodes_.back());
    nodes_.pop_back();
    bool reached = false;
    for (const std::byte* base : node.outputs) {
      reached = reached || allocations_.at(base).twin.defined();
    }
    if (reached) {
      // An output that no gradient reached still gets one, so that operations with several outputs
      // can read them all.
      for (const std::byte* base : node.outputs) {
        Allocation& allocation = allocations_.at(base);
        if (!allocation.twin.defined()) {
          allocation.twin = take_twin(allocation.bytes, allocation.dtype);
          ops::fill(ctx_, {.value = 0, .out = allocation.twin});
        }
      }
      node.backward(*this);
    }
    for (const std::byte* base : node.outputs) {
      if (allocations_.at(base).first_node == nodes_.size()) {
        release(base);
      }
    }
  }
}

namespace {

// Runs fn again, recorded, and walks back from the gradients of the outputs it had.
void replay(Tape& tape, const std::vector<Tensor>& outputs,
            const std::function<std::vector<Tensor>(const Graph&)>& fn) {
  backend::ArenaScope scope(*tape.ctx().arena);
  Tape inner(tape.ctx(), &tape);
  const std::vector<Tensor> again = fn(Graph{tape.ctx(), &inner});
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (inner.needs_grad(again[i])) {
      const Tape::Target seed = inner.target(again[i]);
      ops::copy(tape.ctx(), {.x = tape.grad(outputs[i]), .write = seed.write, .out = seed.tensor});
    }
  }
  inner.backward();
}

}  // namespace

std::vector<Tensor> checkpoint(const Graph& g, const std::vector<TensorSpec>& specs,
                               std::function<std::vector<Tensor>(const Graph&)> fn) {
  std::vector<Tensor> outputs;
  for (const TensorSpec& spec : specs) {
    outputs.push_back(g.make(spec.dtype, spec.shape));
  }
  {
    backend::ArenaScope scope(*g.ctx.arena);
    const std::vector<Tensor> made = fn(Graph{g.ctx});
    OB_CHECK(made.size() == outputs.size());
    for (size_t i = 0; i < made.size(); ++i) {
      ops::copy(g.ctx, {.x = made[i], .out = outputs[i]});
    }
  }
  if (g.tape != nullptr) {
    g.tape->record_all(outputs,
                       [outputs, fn = std::move(fn)](Tape& tape) { replay(tape, outputs, fn); });
  }
  return outputs;
}

}  // namespace offbook::autograd
