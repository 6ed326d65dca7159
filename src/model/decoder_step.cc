// Greedy steps of a Decoder: recorded on a GPU, so that the host sends one launch a token.
#include <algorithm>

#include "src/backend/transfer.h"
#include "src/model/decoder.h"
#include "src/ops/registry.h"

namespace offbook::model {
namespace {

constexpr size_t kMostRecorded = 16;

// Grows by quarters, so that a recorded step serves many lengths and none is far too large.
int64_t with_room(int64_t n, int64_t least) {
  int64_t room = least;
  while (room < n) {
    room += std::max(least, room / 4);
  }
  return room;
}

}  // namespace

// The recorded step that serves inputs_, or a new one that is not recorded yet.
Decoder::Recorded& Decoder::recorded_step(size_t rows) {
  const auto pages = static_cast<int64_t>(inputs_.page_list.size());
  const auto fits = std::find_if(recorded_.begin(), recorded_.end(), [&](const auto& r) {
    return r->rows == rows && r->adapters == adapters_ && r->page_entries >= pages &&
           r->shape.max_kv_length >= inputs_.max_kv_length && r->page_entries <= 2 * pages + 32 &&
           r->shape.max_kv_length <= 2 * inputs_.max_kv_length + 2048;
  });
  if (fits != recorded_.end()) {
    std::rotate(recorded_.begin(), fits, fits + 1);  // the newest first
    return *recorded_.front();
  }
  if (recorded_.size() == kMostRecorded) {
    recorded_.pop_back();
  }
  auto fresh = std::make_unique<Recorded>();
  fresh->rows = rows;
  fresh->page_entries = with_room(pages, 16);
  fresh->shape = shape_of_inputs();
  fresh->shape.max_kv_length = static_cast<int32_t>(with_room(inputs_.max_kv_length, 1024));
  fresh->adapters = adapters_;
  const int64_t size = inputs_.block_size(fresh->page_entries);
  const auto memory = [&](int64_t n) {
    return Tensor(arena_.allocator().allocate(static_cast<size_t>(n) * sizeof(int32_t)), Dtype::i32,
                  {n});
  };
  fresh->block = memory(size);
  fresh->chosen = memory(static_cast<int64_t>(rows));
  recorded_.insert(recorded_.begin(), std::move(fresh));
  return *recorded_.front();
}

void Decoder::step(std::span<const Append> appends, std::span<int32_t> next) {
  OB_REQUIRE(
      next.size() == appends.size() &&
          std::all_of(appends.begin(), appends.end(),
                      [](const Append& a) { return a.tokens.size() == 1 && a.wants_logits; }),
      InvalidArgument, "a step takes one token of each of {} sequences", next.size());
  check(appends);
  arena_.rewind({});
  const bool is_recorded = ctx_.device() == Device::cuda && ctx_.profile == nullptr;
  if (!is_recorded) {
    const Tensor logits = run_pass(appends, false);
    const Tensor chosen = ctx_.make(Dtype::i32, {static_cast<int64_t>(next.size())});
    ops::argmax(ctx_, {.x = logits, .out = chosen});
    backend::download(ctx_, chosen, std::as_writable_bytes(next));
    return;
  }
  gather_inputs(appends);
  Recorded& step = recorded_step(appends.size());
  const PassInputs::Views in = inputs_.fill(ctx_, step.block, step.page_entries);
  const auto work = [&] {
    arena_.rewind({});
    const Tensor x = model_.embed(Graph{ctx_}, in.ids, options_.activations);
    ops::argmax(ctx_, {.x = logits_of(in, hidden_of(in, step.shape, x)), .out = step.chosen});
  };
  if (step.pass != nullptr) {
    step.pass->run();
  } else {
    work();  // takes the memory, and is the step
    step.pass = backend::record_pass(ctx_, work);
  }
  backend::download(ctx_, step.chosen, std::as_writable_bytes(next));
}

}  // namespace offbook::model
