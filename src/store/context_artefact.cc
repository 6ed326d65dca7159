#include "src/store/context_artefact.h"

#include <algorithm>
#include <cstring>

#include "src/base/error.h"
#include "src/store/kv_quantise.h"

namespace offbook::store {
namespace {

Tensor bytes_tensor(std::span<const std::byte> bytes) {
  Tensor tensor = Tensor::empty(Dtype::u8, {static_cast<int64_t>(bytes.size())});
  std::copy(bytes.begin(), bytes.end(), tensor.raw());
  return tensor;
}

Tensor spans_tensor(std::span<const ByteSpan> spans, uint64_t origin) {
  Tensor tensor = Tensor::empty(Dtype::i64, {static_cast<int64_t>(spans.size()), 2});
  auto* out = tensor.data<int64_t>();
  for (const ByteSpan& span : spans) {
    OB_REQUIRE(origin <= span.begin && span.begin <= span.end, InvalidArgument,
               "slot span {}…{} begins before its segment ({}) or ends before it begins",
               span.begin, span.end, origin);
    *out++ = static_cast<int64_t>(span.begin - origin);
    *out++ = static_cast<int64_t>(span.end - origin);
  }
  return tensor;
}

std::vector<ByteSpan> spans_from(const Tensor& tensor, uint64_t origin) {
  OB_REQUIRE(tensor.dtype() == Dtype::i64 && tensor.rank() == 2 && tensor.dim(1) == 2, Corrupt,
             "context artefact: slot_spans is {}, not i64 [n, 2]", to_string(tensor));
  std::vector<ByteSpan> spans;
  const auto* in = tensor.data<int64_t>();
  constexpr int64_t kEndOfText = int64_t{1} << 48;
  for (int64_t i = 0; i < tensor.dim(0); ++i) {
    const int64_t begin = in[2 * i];
    const int64_t end = in[2 * i + 1];
    OB_REQUIRE(0 <= begin && begin <= end && end < kEndOfText, Corrupt,
               "context artefact: slot {} spans {}…{}", i, begin, end);
    spans.push_back({origin + static_cast<uint64_t>(begin), origin + static_cast<uint64_t>(end)});
  }
  return spans;
}

void check_slots(const CompressedContext& context) {
  const auto slots = static_cast<int64_t>(context.slot_spans.size());
  if (context.kind == ContextKind::soft_tokens) {
    const Tensor& soft = context.soft_tokens;
    OB_REQUIRE(soft.defined() && soft.rank() == 2 && soft.dim(0) == slots, InvalidArgument,
               "soft tokens {} for {} slot spans", to_string(soft), slots);
  } else if (context.kind == ContextKind::kv_prefix) {
    OB_REQUIRE(context.kv.defined() && context.kv.rank() == 5 && context.kv.dim(1) == 2 &&
                   context.kv.dim(2) == slots,
               InvalidArgument, "KV prefix {} for {} slot spans", to_string(context.kv), slots);
  }
}

void add_kv(Artefact& artefact, const CompressedContext& context, KvPrecision precision) {
  artefact.fields["kv_bits"] = static_cast<int>(precision);
  artefact.fields["kv_dtype"] = dtype_info(context.kv.dtype()).name;
  if (precision == KvPrecision::as_made) {
    artefact.tensors.push_back({"kv", context.kv});
  } else {
    QuantisedKv q = quantise_kv(context.kv, static_cast<int>(precision));
    artefact.tensors.push_back({"kv_codes", std::move(q.codes)});
    artefact.tensors.push_back({"kv_ranges", std::move(q.ranges)});
  }
  if (context.sink_kv.defined()) {
    artefact.tensors.push_back({"sink_kv", context.sink_kv});
  }
}

Tensor kv_from(const Artefact& artefact) {
  const int bits = field<int>(artefact, "kv_bits");
  if (bits == 16) {
    return artefact.at("kv");
  }
  const auto dtype = field<std::string>(artefact, "kv_dtype");
  for (const Dtype known : {Dtype::f32, Dtype::bf16, Dtype::f16}) {
    if (dtype_info(known).name == dtype) {
      return dequantise_kv(
          {.bits = bits, .codes = artefact.at("kv_codes"), .ranges = artefact.at("kv_ranges")},
          known);
    }
  }
  OB_THROW(Corrupt, "context artefact: kv_dtype '{}' is no float type", dtype);
}

std::string text_from(const Tensor& tensor) {
  OB_REQUIRE(tensor.dtype() == Dtype::u8 && tensor.rank() == 1, Corrupt,
             "context artefact: text is {}, not u8 [bytes]", to_string(tensor));
  return {reinterpret_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.dim(0))};
}

void read_payload(const Artefact& artefact, CompressedContext& context) {
  switch (context.kind) {
    case ContextKind::text:
      context.text = text_from(artefact.at("text"));
      return;
    case ContextKind::soft_tokens:
      context.soft_tokens = artefact.at("soft_tokens");
      return;
    case ContextKind::kv_prefix:
      context.kv = kv_from(artefact);
      if (const Tensor* sink = artefact.find("sink_kv")) {
        context.sink_kv = *sink;
      }
      return;
  }
  OB_THROW(Corrupt, "context artefact: kind {} is none", static_cast<int>(context.kind));
}

}  // namespace

Artefact to_artefact(const CompressedContext& context, uint64_t origin, KvPrecision precision) {
  check_slots(context);
  Artefact artefact{.kind = ArtefactKind::context,
                    .model = context.base.model,
                    .fields = {{"method", context.method},
                               {"weights", context.weights_hash},
                               {"family", context.base.family},
                               {"kind", static_cast<int>(context.kind)},
                               {"tokens_before", context.tokens_before},
                               {"tokens_after", context.tokens_after},
                               {"ratio", context.ratio}},
                    .tensors = {{"slot_spans", spans_tensor(context.slot_spans, origin)}}};
  if (context.kind == ContextKind::text) {
    artefact.tensors.push_back({"text", bytes_tensor(std::as_bytes(std::span(context.text)))});
  } else if (context.kind == ContextKind::soft_tokens) {
    artefact.tensors.push_back({"soft_tokens", context.soft_tokens});
  } else {
    add_kv(artefact, context, precision);
  }
  return artefact;
}

CompressedContext to_context(const Artefact& artefact, uint64_t origin) {
  CompressedContext context;
  context.method = field<std::string>(artefact, "method");
  context.weights_hash = field<std::string>(artefact, "weights");
  context.base = {.model = artefact.model, .family = field<std::string>(artefact, "family")};
  context.kind = static_cast<ContextKind>(field<uint8_t>(artefact, "kind"));
  context.tokens_before = field<int>(artefact, "tokens_before");
  context.tokens_after = field<int>(artefact, "tokens_after");
  context.ratio = field<double>(artefact, "ratio");
  context.slot_spans = spans_from(artefact.at("slot_spans"), origin);
  read_payload(artefact, context);
  try {
    check_slots(context);
  } catch (const Error& e) {
    OB_THROW(Corrupt, "context artefact: {}", e.what());
  }
  return context;
}

Artefact to_artefact(const VectorBlock& block) {
  OB_REQUIRE(block.ids.rank() == 1 && block.ids.dtype() == Dtype::i64 &&
                 block.vectors.rank() == 2 &&
                 (block.vectors.dtype() == Dtype::bf16 || block.vectors.dtype() == Dtype::f32) &&
                 block.ids.dim(0) == block.vectors.dim(0),
             InvalidArgument, "vectors need ids i64 [n] and bf16 or f32 [n, dims], not {} and {}",
             to_string(block.ids), to_string(block.vectors));
  return {.kind = ArtefactKind::vectors,
          .model = block.encoder,
          .tensors = {{"ids", block.ids}, {"vectors", block.vectors}}};
}

VectorBlock to_vectors(const Artefact& artefact) {
  VectorBlock block{
      .encoder = artefact.model, .ids = artefact.at("ids"), .vectors = artefact.at("vectors")};
  try {
    to_artefact(block);
  } catch (const Error& e) {
    OB_THROW(Corrupt, "vectors artefact: {}", e.what());
  }
  const auto* ids = block.ids.data<int64_t>();
  OB_REQUIRE(std::is_sorted(ids, ids + block.ids.dim(0)), Corrupt,
             "vectors artefact: passage ids do not rise");
  return block;
}

Artefact adapter_artefact(std::string base_model, std::span<const std::byte> safetensors,
                          nlohmann::json fields) {
  return {.kind = ArtefactKind::adapter,
          .model = std::move(base_model),
          .fields = std::move(fields),
          .tensors = {{"safetensors", bytes_tensor(safetensors)}}};
}

}  // namespace offbook::store
