#include "src/compress/autocompressor/compressor.h"

#include <algorithm>
#include <cstring>

#include "src/backend/transfer.h"
#include "src/base/float16.h"
#include "src/compress/soft_tokens.h"
#include "src/ops/registry.h"

namespace offbook::compress {
namespace {

// Rows of bf16 [n, hidden] tensors on the CPU.
void copy_rows(const Tensor& from, int64_t begin, int64_t count, const Tensor& to, int64_t at) {
  const int64_t row = from.dim(1) * static_cast<int64_t>(sizeof(Bf16));
  std::memcpy(to.raw() + at * row, from.raw() + begin * row, static_cast<size_t>(count * row));
}

}  // namespace

// A request on its way: parts are written one after another, those of different requests together.
struct AutoCompressor::Job {
  const Request* request = nullptr;
  CompressedContext* to = nullptr;
  int32_t ratio = 1;
  int32_t part = 1;  // tokens
  int32_t done = 0;  // tokens

  int32_t tokens() const { return std::min(part, to->tokens_before - done); }
  int32_t slots() const { return (tokens() + ratio - 1) / ratio; }
  int32_t slots_done() const { return done / ratio; }
};

AutoCompressor::AutoCompressor(const backend::ExecutionContext& ctx, const BaseModel& base,
                               const CompressorWeights& weights)
    : base_(base),
      description_{.id = "autocompressor",
                   .kind = ContextKind::soft_tokens,
                   .needs_training = true,
                   .weights_hash = hash_of(weights)},
      weights_(weights),
      auto_(on_device(ctx, take_autocompressor(weights, base.llama.config()))) {}

// A whole number of slots' worth, so that parts add no slots.
int32_t AutoCompressor::part_tokens(int32_t ratio) const {
  const auto table = static_cast<int32_t>(auto_.summary.dim(0));
  const auto window =
      static_cast<int32_t>(std::min<int64_t>(kPassRows, base_.llama.config().max_positions));
  const int32_t room = window - 1 - std::min(kMostBefore, window / 4);
  const int32_t slots = std::min(table, room / (ratio + 1));
  OB_REQUIRE(slots >= 1, InvalidArgument,
             "a summary vector of this model stands for at most {} tokens, not {}", room - 1,
             ratio);
  return slots * ratio;
}

Plan AutoCompressor::plan(const Request& request) const {
  OB_REQUIRE(request.segment != nullptr, InvalidArgument, "a request without a segment");
  const auto tokens = static_cast<int32_t>(request.segment->tokens.size());
  const int32_t ratio = whole_ratio(tokens, request.budget);
  const int32_t slots = (tokens + ratio - 1) / ratio;
  const model::ModelConfig& config = base_.llama.config();
  Plan plan{
      .kept_tokens = slots,
      .bytes = static_cast<uint64_t>(slots) * static_cast<uint64_t>(config.hidden) * sizeof(Bf16)};
  const int32_t most = tokens == 0 ? 1 : part_tokens(ratio);
  for (int32_t at = 0; at < tokens; at += most) {
    const int32_t n = std::min(most, tokens - at);
    const int32_t before = auto_.carry == Carry::accumulate ? std::min(kMostBefore, at / ratio)
                                                            : std::min(at, most) / ratio;
    plan.flops += pass_flops(config, 1 + before + n + (n + ratio - 1) / ratio, false);
  }
  return plan;
}

AutoCompressor::Job AutoCompressor::start(const Request& request, CompressedContext& out) const {
  if (request.prior != nullptr) {
    check_belongs(*this, base_, *request.prior);
    check_payload(*request.prior);
  }
  const int32_t ratio = whole_ratio(out.tokens_before, request.budget);
  out.slot_spans = slot_spans(*request.segment, ratio);
  out.tokens_after = static_cast<int>(out.slot_spans.size());
  out.soft_tokens = Tensor::empty(Dtype::bf16, {out.tokens_after, base_.llama.config().hidden});
  return {.request = &request,
          .to = &out,
          .ratio = ratio,
          .part = out.tokens_before == 0 ? 1 : part_tokens(ratio)};
}

// bf16 on the CPU, or undefined: the newest vectors of the prior and of the parts that are done.
Tensor AutoCompressor::vectors_before(const Job& job) const {
  const CompressedContext* prior = job.request->prior;
  const int64_t own = job.slots_done();
  int64_t from_prior = prior == nullptr ? 0 : prior->soft_tokens.dim(0);
  int64_t from_own = own;
  if (auto_.carry == Carry::replace) {
    from_prior = own > 0 ? 0 : from_prior;
    from_own = std::min<int64_t>(own, job.part / job.ratio);
  }
  const int64_t most = std::min<int64_t>(kMostBefore, base_.llama.config().max_positions / 4);
  from_own = std::min(from_own, most);
  from_prior = std::min(from_prior, most - from_own);
  if (from_own + from_prior == 0) {
    return {};
  }
  const Tensor out =
      Tensor::empty(Dtype::bf16, {from_prior + from_own, job.to->soft_tokens.dim(1)});
  if (from_prior > 0) {
    copy_rows(prior->soft_tokens, prior->soft_tokens.dim(0) - from_prior, from_prior, out, 0);
  }
  copy_rows(job.to->soft_tokens, own - from_own, from_own, out, from_prior);
  return out;
}

// The next part of each job, in one pass.
void AutoCompressor::write(const backend::ExecutionContext& ctx, std::span<Job* const> jobs) const {
  backend::ArenaScope scope(*ctx.arena);
  std::vector<AutoSegment> segments;
  int32_t rows = 0;
  for (const Job* job : jobs) {
    AutoSegment segment{
        .tokens = std::span(job->request->segment->tokens)
                      .subspan(static_cast<size_t>(job->done), static_cast<size_t>(job->tokens())),
        .summary = job->slots()};
    if (const Tensor before = vectors_before(*job); before.defined()) {
      segment.before = ctx.make(Dtype::f32, before.shape());
      ops::copy(ctx, {.x = backend::to_device(ctx, before), .out = segment.before});
      rows += static_cast<int32_t>(before.dim(0));
    }
    rows += 1 + job->tokens() + job->slots();
    segments.push_back(std::move(segment));
  }
  const std::vector<int32_t> filler = filling(rows, 1);
  segments.push_back({.tokens = filler});
  const std::vector<AutoOutput> outputs =
      run_segments({ctx}, writer_.get(ctx, base_.llama, auto_.lora), auto_, segments,
                   {.activations = ctx.activations()});
  for (size_t i = 0; i < jobs.size(); ++i) {
    put_soft_tokens(ctx, outputs[i].vectors, jobs[i]->slots_done(), *jobs[i]->to);
    jobs[i]->done += jobs[i]->tokens();
  }
}

std::vector<CompressedContext> AutoCompressor::compress(const backend::ExecutionContext& ctx,
                                                        std::span<const Request> requests) const {
  std::vector<CompressedContext> out;
  std::vector<Job> jobs;
  out.reserve(requests.size());  // jobs point into it
  for (const Request& request : requests) {
    out.push_back(begin_context(*this, base_, request));
    jobs.push_back(start(request, out.back()));
  }
  for (bool is_done = false; !is_done;) {
    is_done = true;
    PassQueue<Job*> queue(most_pass_rows(ctx) + kMostBefore,
                          [&](auto jobs_of_pass) { write(ctx, jobs_of_pass); });
    for (Job& job : jobs) {
      if (job.done == job.to->tokens_before) {
        continue;
      }
      is_done = false;
      queue.add(&job, 1 + kMostBefore + job.tokens() + job.slots());
    }
    queue.flush();
  }
  return out;
}

void AutoCompressor::check_payload(const CompressedContext& context) const {
  check_soft_payload(context, base_.llama.config().hidden);
}

std::vector<ContextPart> AutoCompressor::attach(std::span<const Attachment> contexts,
                                                const AttachOptions& options) const {
  for (const Attachment& attachment : contexts) {
    attached_slots(attachment);
    check_belongs(*this, base_, *attachment.context);
    check_payload(*attachment.context);
  }
  return attach_soft_tokens(contexts, options, base_.llama.config().hidden);
}

}  // namespace offbook::compress
