#include "src/compress/beacon/compressor.h"

#include <algorithm>
#include <cstring>

#include "src/backend/transfer.h"
#include "src/base/float16.h"
#include "src/ops/registry.h"

namespace offbook::compress {
namespace {

constexpr int32_t kFillerRows = 2;  // a filling segment's sink and slot

Tensor empty_kv(const model::ModelConfig& config, int64_t n, Dtype dtype) {
  return Tensor::empty(dtype, {config.layers, 2, n, config.kv_heads, config.head_dim});
}

// Rows [begin, begin + count) of `from` to rows `at` … of `to`; both [layer, 2, n, kv_head,
// head_dim] on the CPU.
void copy_rows(const Tensor& from, int64_t begin, int64_t count, const Tensor& to, int64_t at) {
  const int64_t row = from.dim(3) * from.dim(4) * dtype_info(from.dtype()).block_bytes;
  for (int64_t i = 0; i < from.dim(0) * 2; ++i) {
    std::memcpy(to.raw() + (i * to.dim(2) + at) * row, from.raw() + (i * from.dim(2) + begin) * row,
                static_cast<size_t>(count * row));
  }
}

// All rows a pass kept, as bf16 on the CPU: converted there, downloaded at once.
Tensor download_rows(const backend::ExecutionContext& ctx, const model::LayerKv& kv,
                     const model::ModelConfig& config) {
  backend::ArenaScope scope(*ctx.arena);
  const Shape rows{kv.tokens(), config.kv_heads, config.head_dim};
  const Tensor there = ctx.make(Dtype::bf16, {config.layers * 2, rows[0], rows[1], rows[2]});
  for (int64_t i = 0; i < config.layers * 2; ++i) {
    const auto layer = static_cast<size_t>(i / 2);
    ops::copy(ctx, {.x = i % 2 == 0 ? kv.k[layer] : kv.v[layer],
                    .out = there.slice(0, i, i + 1).reshape(rows)});
  }
  const Tensor out = empty_kv(config, kv.tokens(), Dtype::bf16);
  backend::download(ctx, there, {out.raw(), static_cast<size_t>(out.bytes())});
  return out;
}

// The reverse, in the arena as the pass computes: rows of a prior, its sink first.
model::LayerKv upload_rows(const backend::ExecutionContext& ctx, const Tensor& kv) {
  model::LayerKv out;
  const Shape rows{kv.dim(2), kv.dim(3), kv.dim(4)};
  for (int64_t layer = 0; layer < kv.dim(0); ++layer) {
    for (int64_t which = 0; which < 2; ++which) {
      const Tensor from = kv.slice(0, layer, layer + 1).slice(1, which, which + 1).reshape(rows);
      const Tensor to = ctx.make(ctx.activations(), rows);
      ops::copy(ctx, {.x = backend::to_device(ctx, from), .out = to});
      (which == 0 ? out.k : out.v).push_back(to);
    }
  }
  return out;
}

}  // namespace

// A run of a segment's tokens that one sequence of a writing pass reads, and where its slots go.
struct BeaconCompressor::Part {
  std::span<const int32_t> tokens;
  int32_t ratio = 1;
  int32_t first_slot = 0;
  CompressedContext* to = nullptr;

  int32_t slots() const { return (static_cast<int32_t>(tokens.size()) + ratio - 1) / ratio; }
  int32_t rows() const { return 1 + static_cast<int32_t>(tokens.size()) + slots(); }
};

BeaconCompressor::BeaconCompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                                   const CompressorWeights& weights)
    : base_(base),
      description_{.id = "beacon",
                   .kind = ContextKind::kv_prefix,
                   .needs_training = true,
                   .weights_hash = hash_of(weights)},
      weights_(weights),
      beacon_(on_device(ctx, take_beacon(weights, base.llama.config()))) {}

// Most tokens of a part: a whole number of slots' worth, so that parts add no slots.
int32_t BeaconCompressor::part_tokens(int32_t ratio, int32_t prior) const {
  const int64_t rows = std::min<int64_t>(kPassRows, base_.llama.config().max_positions - prior) - 1;
  const int64_t slots = rows / (ratio + 1);
  OB_REQUIRE(slots >= 1, InvalidArgument,
             "a beacon slot of this model closes at most {} tokens behind {} slots, not {}",
             std::max<int64_t>(0, rows - 1), prior, ratio);
  return static_cast<int32_t>(slots) * ratio;
}

Plan BeaconCompressor::plan(const Request& request) const {
  OB_REQUIRE(request.segment != nullptr, InvalidArgument, "a request without a segment");
  const auto tokens = static_cast<int32_t>(request.segment->tokens.size());
  const int32_t ratio = whole_ratio(tokens, request.budget);
  const model::ModelConfig& config = base_.llama.config();
  const int32_t slots = (tokens + ratio - 1) / ratio;
  Plan plan{.kept_tokens = slots};
  if (tokens == 0) {
    return plan;
  }
  const auto values = static_cast<uint64_t>(config.layers * 2 * config.kv_heads * config.head_dim);
  plan.bytes = (static_cast<uint64_t>(slots) + 1) * values * sizeof(Bf16);
  const int32_t most = part_tokens(ratio, 0);
  for (int32_t at = 0; at < tokens; at += most) {
    const int32_t n = std::min(most, tokens - at);
    plan.flops += pass_flops(config, 1 + n + (n + ratio - 1) / ratio, false);
  }
  return plan;
}

std::vector<BeaconCompressor::Part> BeaconCompressor::parts_of(const Request& request,
                                                               CompressedContext& out) const {
  const Segment& segment = *request.segment;
  const int32_t tokens = out.tokens_before;
  const int32_t ratio = whole_ratio(tokens, request.budget);
  const int32_t slots = (tokens + ratio - 1) / ratio;
  out.slot_spans = slot_spans(segment, ratio);
  const model::ModelConfig& config = base_.llama.config();
  out.tokens_after = slots;
  out.kv = empty_kv(config, slots, Dtype::bf16);
  std::vector<Part> parts;
  const auto prior = request.prior == nullptr
                         ? 0
                         : static_cast<int32_t>(request.prior->slot_spans.size()) + 1 + slots;
  const int32_t most = tokens == 0 ? 1 : part_tokens(ratio, prior);
  for (int32_t at = 0; at < tokens; at += most) {
    const auto n = static_cast<size_t>(std::min(most, tokens - at));
    parts.push_back(
        {std::span(segment.tokens).subspan(static_cast<size_t>(at), n), ratio, at / ratio, &out});
  }
  if (request.prior != nullptr) {
    out.sink_kv = request.prior->sink_kv;
  } else if (tokens > 0) {
    out.sink_kv = empty_kv(config, 1, Dtype::bf16);
  }
  return parts;
}

void BeaconCompressor::write(const backend::ExecutionContext& ctx,
                             std::span<const Part> parts) const {
  backend::ArenaScope scope(*ctx.arena);
  std::vector<BeaconSegment> segments;
  int32_t row_count = 0;
  for (const Part& part : parts) {
    segments.push_back(
        {.tokens = part.tokens, .ratio = part.ratio, .keeps_sink = part.first_slot == 0});
    row_count += part.rows();
  }
  const std::vector<int32_t> filler = filling(row_count, kFillerRows);
  segments.push_back(
      {.tokens = filler, .ratio = static_cast<int32_t>(filler.size()), .keeps_sink = false});
  const WrittenSlots written = write_slots({ctx}, writer_.get(ctx, base_.llama, beacon_.lora),
                                           beacon_, segments, {.activations = ctx.activations()});
  const Tensor rows = download_rows(ctx, written.kv, base_.llama.config());
  for (size_t i = 0; i < parts.size(); ++i) {
    int64_t from = written.ranges[i].begin;
    if (parts[i].first_slot == 0) {
      copy_rows(rows, from++, 1, parts[i].to->sink_kv, 0);
    }
    copy_rows(rows, from, parts[i].slots(), parts[i].to->kv, parts[i].first_slot);
  }
}

// One part after another, each reading the prior and the slots of the parts before it.
void BeaconCompressor::write_behind_prior(const backend::ExecutionContext& ctx,
                                          const Request& request,
                                          std::span<const Part> parts) const {
  check_belongs(*this, base_, *request.prior);
  check_payload(*request.prior);
  const model::ModelConfig& config = base_.llama.config();
  for (const Part& part : parts) {
    backend::ArenaScope scope(*ctx.arena);
    const int64_t before = request.prior->kv.dim(2);
    const Tensor all = empty_kv(config, 1 + before + part.first_slot, Dtype::bf16);
    copy_rows(request.prior->sink_kv, 0, 1, all, 0);
    copy_rows(request.prior->kv, 0, before, all, 1);
    copy_rows(part.to->kv, 0, part.first_slot, all, 1 + before);
    const model::LayerKv prior = upload_rows(ctx, all);
    const std::vector<int32_t> filler = filling(part.rows() - 1, kFillerRows);
    const BeaconSegment segments[] = {
        {.tokens = part.tokens,
         .ratio = part.ratio,
         .keeps_sink = false,
         .prior = {0, static_cast<int32_t>(all.dim(2))}},
        {.tokens = filler, .ratio = static_cast<int32_t>(filler.size()), .keeps_sink = false}};
    const WrittenSlots written =
        write_slots({ctx}, writer_.get(ctx, base_.llama, beacon_.lora), beacon_, segments,
                    {.prior = &prior, .activations = ctx.activations()});
    copy_rows(download_rows(ctx, written.kv, config), 0, part.slots(), part.to->kv,
              part.first_slot);
  }
}

std::vector<CompressedContext> BeaconCompressor::compress(const backend::ExecutionContext& ctx,
                                                          std::span<const Request> requests) const {
  std::vector<CompressedContext> out;
  out.reserve(requests.size());  // parts point into it
  PassQueue<Part> queue(most_pass_rows(ctx), [&](auto parts) { write(ctx, parts); });
  for (const Request& request : requests) {
    out.push_back(begin_context(*this, base_, request));
    const std::vector<Part> parts = parts_of(request, out.back());
    if (request.prior != nullptr) {
      write_behind_prior(ctx, request, parts);
      continue;
    }
    for (const Part& part : parts) {
      queue.add(part, part.rows());
    }
  }
  queue.flush();
  return out;
}

void BeaconCompressor::check_payload(const CompressedContext& context) const {
  const model::ModelConfig& config = base_.llama.config();
  const auto slots = static_cast<int64_t>(context.slot_spans.size());
  const Shape wanted{config.layers, 2, slots, config.kv_heads, config.head_dim};
  const Shape sink{config.layers, 2, 1, config.kv_heads, config.head_dim};
  OB_REQUIRE(
      context.kv.defined() && context.kv.shape() == wanted && context.kv.dtype() == Dtype::bf16,
      InvalidArgument, "a beacon context of {} slots holds bf16 {}, not {}", slots,
      to_string(wanted), to_string(context.kv));
  OB_REQUIRE(slots == 0 || (context.sink_kv.defined() && context.sink_kv.shape() == sink &&
                            context.sink_kv.dtype() == Dtype::bf16),
             InvalidArgument, "a beacon context holds a bf16 sink {}, not {}", to_string(sink),
             to_string(context.sink_kv));
}

std::vector<ContextPart> BeaconCompressor::attach(std::span<const Attachment> contexts,
                                                  const AttachOptions& options) const {
  std::vector<std::vector<int32_t>> slots;
  int64_t total = 0;
  const Tensor* sink = nullptr;
  for (const Attachment& attachment : contexts) {
    slots.push_back(attached_slots(attachment));
    check_belongs(*this, base_, *attachment.context);
    check_payload(*attachment.context);
    total += static_cast<int64_t>(slots.back().size());
    if (sink == nullptr && !slots.back().empty()) {
      sink = &attachment.context->sink_kv;
    }
  }
  if (total == 0) {
    return {};
  }
  int64_t at = options.has_text_before ? 0 : 1;
  const Tensor kv = empty_kv(base_.llama.config(), at + total, Dtype::bf16);
  if (at == 1) {
    copy_rows(*sink, 0, 1, kv, 0);
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    for (const int32_t slot : slots[i]) {
      copy_rows(contexts[i].context->kv, slot, 1, kv, at++);
    }
  }
  return {{.kv = kv}};
}

}  // namespace offbook::compress
