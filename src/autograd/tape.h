// Reverse-mode differentiation: a list of operations as they ran, walked backwards.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "src/ops/op.h"

namespace offbook::autograd {

using backend::ExecutionContext;
using ops::Write;

class Tape;

// How model code runs operations: forward only, or recorded on a tape.
struct Graph {
  const ExecutionContext& ctx;
  Tape* tape = nullptr;

  // A tensor of the context's arena; the tape knows it, so that it can have a gradient.
  Tensor make(Dtype dtype, const Shape& shape) const;
  // Whether a gradient will flow to t.
  bool needs_grad(const Tensor& t) const;
};

// Gradients live in twins of allocations: a view of a tensor has its gradient at the same place of
// the twin, so slices and reshapes need no operations of their own. A twin has the element type of
// its tensor and exists from the first contribution until the operation that made the tensor was
// walked.
//
// Rules for recorded code: a tensor whose old value a recorded operation still needs must not be
// overwritten; adding in place is fine where the operation before needs no output (linear,
// scatter). Not thread-safe. The arena must not be rewound before backward() returned.
class Tape {
 public:
  // `outer`: a tape whose tensors this one may read (activation checkpointing); may be null.
  explicit Tape(const ExecutionContext& ctx, Tape* outer = nullptr);
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Declares a contiguous tensor a leaf; gradients are added to `grad` (its shape, f32), which the
  // caller owns and has cleared.
  void watch(const Tensor& value, const Tensor& grad);
  bool needs_grad(const Tensor& t) const;

  // Called by Graph::make.
  void track(const Tensor& made);
  // An operation ran that made (part of) `outputs` from differentiable inputs.
  void record_all(std::span<const Tensor> outputs, std::function<void(Tape&)> backward);
  void record(std::initializer_list<Tensor> outputs, std::function<void(Tape&)> backward) {
    record_all(std::span(outputs.begin(), outputs.size()), std::move(backward));
  }

  // Keeps an object that a backward function refers to until the tape goes.
  void keep_alive(std::shared_ptr<const void> object) { kept_.push_back(std::move(object)); }

  // What make() gives, once for all who ask under this name: for what passes on this tape set up
  // alike from values that stay as they are while it lives. `name`: the address of such a value.
  Tensor once(const std::byte* name, const std::function<Tensor()>& make);

  // Gradient that has arrived at t so far. Only inside backward functions and for t whose gradient
  // exists.
  Tensor grad(const Tensor& t);
  bool has_grad(const Tensor& t) const;

  // Where an operation puts its contribution to t's gradient, and whether it must add.
  struct Target {
    Tensor tensor;
    Write write;
  };
  Target target(const Tensor& t);
  // The same, cleared when fresh: for operations that only add.
  Tensor accumulator(const Tensor& t);
  // Where an operation overwrites the gradients of parts that make up one tensor, each once. Null
  // where they do not, or where gradients have arrived already.
  std::optional<std::vector<Tensor>> parts(std::initializer_list<Tensor> whole);
  // Gives the gradient of `from`, which nothing will ask for again, to t without a copy. False
  // where that is not possible: t has a gradient, or they are not whole tensors of one size and
  // type.
  bool hand_over(const Tensor& from, const Tensor& t);

  // Walks back from the gradients that were put into target(…) of some outputs, then forgets all
  // nodes.
  void backward();

  const ExecutionContext& ctx() const { return ctx_; }
  size_t nodes() const { return nodes_.size(); }

 private:
  struct Allocation {
    size_t bytes = 0;
    Dtype dtype = Dtype::f32;
    bool needs = false;
    bool is_leaf = false;
    size_t first_node = SIZE_MAX;
    Tensor twin;  // flat; undefined while no gradient has arrived
  };
  struct Node {
    std::vector<const std::byte*> outputs;  // bases of allocations
    std::function<void(Tape&)> backward;
  };
  using Allocations = std::map<const std::byte*, Allocation>;

  Allocations::iterator find(const Tensor& t);
  Tensor view_in_twin(const Tensor& t, const std::byte* base, const Tensor& twin) const;
  Tensor take_twin(size_t bytes, Dtype dtype);
  void release(const std::byte* base);

  const ExecutionContext& ctx_;
  Tape* outer_;
  Allocations allocations_;
  std::vector<Node> nodes_;
  std::vector<std::shared_ptr<const void>> kept_;
  std::unordered_map<const std::byte*, Tensor> made_once_;
  std::unordered_map<size_t, std::vector<Tensor>> free_twins_;  // by bytes
};

// An arena scope for code that runs with and without a tape: rewinds only when nothing was
// recorded.
class GraphScope {
 public:
  explicit GraphScope(const Graph& g) : g_(g), mark_(g.ctx.arena->mark()) {}
  ~GraphScope() {
    if (g_.tape == nullptr) {
      g_.ctx.arena->rewind(mark_);
    }
  }
  GraphScope(const GraphScope&) = delete;
  GraphScope& operator=(const GraphScope&) = delete;

 private:
  const Graph& g_;
  backend::Arena::Mark mark_;
};

// Element type and shape of a tensor to come.
struct TensorSpec {
  Dtype dtype;
  Shape shape;
};

// Runs fn(graph) → tensors as `specs` say, keeping only its inputs and outputs for backward, where
// fn runs again (activation checkpointing, arXiv 1604.06174). fn must be deterministic and may read
// tensors of the outer tape and leaves. Without a tape it just runs and its memory is given back.
std::vector<Tensor> checkpoint(const Graph& g, const std::vector<TensorSpec>& specs,
                               std::function<std::vector<Tensor>(const Graph&)> fn);

}  // namespace offbook::autograd
