// What every compression method does: predict, compress, attach, save. A method is a folder beside
// this file and one line of registry.cc.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/compress/weights_file.h"
#include "src/model/llama.h"
#include "src/records/context.h"
#include "src/text/chat_template.h"

namespace offbook::compress {

// The model that reads what is kept. All of it must outlive the compressor.
struct BaseModel {
  const model::Llama& llama;
  const text::Tokenizer& tokenizer;
  Fingerprint fingerprint;
  // How questions are put to the model, for methods that prompt it; absent: plain text.
  std::optional<text::ChatFormat> chat_format;
};

struct Description {
  std::string id;  // stable, written into artefacts, never reused
  ContextKind kind = ContextKind::text;
  bool needs_training = false;
  bool is_query_aware = false;
  std::string weights_hash;  // of the weights it holds; empty for methods without training
};

// How much may be kept of n tokens. Exactly one of the two is set.
struct Budget {
  double ratio = 0;    // ≥ 1: at most ceil(n / ratio) tokens
  int32_t tokens = 0;  // ≥ 1: at most this many
};

// Tokens (of text) or slots that may be kept of n. InvalidArgument unless exactly one field is set
// and ≥ 1.
int32_t kept_limit(int32_t tokens, const Budget& budget);
// The smallest whole ratio that stays within the budget.
int32_t whole_ratio(int32_t tokens, const Budget& budget);

// One segment to compress. Borrows everything.
struct Request {
  const Segment* segment =
      nullptr;                // tokens and their spans; may be empty, or longer than 1,536 tokens
  std::string_view text;      // the document's bytes at segment->span
  std::string_view question;  // empty: none; read by query-aware methods only
  Budget budget{.ratio = 16};
  uint64_t seed = 0;
  // What was kept of the text before: recursive methods read it before the segment. Null: the
  // segment is compressed alone.
  const CompressedContext* prior = nullptr;
};

// What compress() would keep and cost.
struct Plan {
  int32_t kept_tokens = 0;  // at most; exact for slots
  uint64_t bytes = 0;  // of the payload as made (text: UTF-8 bytes, at most those of the source)
  double flops = 0;
};

// A stretch of a prompt, exactly one field set: what model::Decoder takes.
struct ContextPart {
  std::vector<int32_t> tokens;
  Tensor soft_tokens;  // [n, hidden]
  Tensor kv;  // [layer, 2, n, kv_head, head_dim], keys before RoPE, the sink (if any) first
};

// A context to attach, or some of its slots.
struct Attachment {
  const CompressedContext* context = nullptr;
  std::optional<std::vector<int32_t>> slots;  // rising indices into slot_spans; absent: all
};

struct AttachOptions {
  // Tokens stand before the parts. They serve as attention sink, so the contexts' own is left out.
  bool has_text_before = false;
};

// Immutable after construction; const methods may run on any number of threads, each with a context
// of its own. Errors: InvalidArgument for budgets, requests without segment, contexts of another
// method or another model.
class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual const Description& describe() const = 0;
  virtual Plan plan(const Request& request) const = 0;
  // A context a request, in order, on the CPU. The same requests with the same seeds give the same
  // bytes on one kind of CPU. An empty segment gives an empty context. Memory: bounded by the
  // method's pass size, whatever the number and length of the requests, beside the result.
  virtual std::vector<CompressedContext> compress(const backend::ExecutionContext& ctx,
                                                  std::span<const Request> requests) const = 0;
  // Contexts one after another as parts of a prompt; one sink in front of all KV slots. Empty when
  // nothing is attached.
  virtual std::vector<ContextPart> attach(std::span<const Attachment> contexts,
                                          const AttachOptions& options) const = 0;
  // Adapter under which a decoder must read the parts; null: the base reads.
  virtual const model::LoraAdapter* reader_adapter() const { return nullptr; }
  // What save_weights() takes; InvalidArgument for methods without training.
  virtual const CompressorWeights& weights() const;
};

// The fields every context has; payload and slots are the method's to fill in.
CompressedContext begin_context(const Compressor& compressor, const BaseModel& base,
                                const Request& request);

// InvalidArgument, naming both, unless the context was made by this method, with these weights, for
// this model.
void check_belongs(const Compressor& compressor, const BaseModel& base,
                   const CompressedContext& context);

// Indices of the slots an attachment names. InvalidArgument unless they rise and exist.
std::vector<int32_t> attached_slots(const Attachment& attachment);

// Indices of the slots whose source has bytes of a span of the document.
std::vector<int32_t> slots_at(const CompressedContext& context, const ByteSpan& span);

// Multiply-adds × 2 of one pass of a decoder over rows of which each sees all before it.
double pass_flops(const model::ModelConfig& config, int64_t rows, bool with_head);

}  // namespace offbook::compress
