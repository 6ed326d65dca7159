// The only file that includes the cuDNN frontend: compiling its headers takes a minute.
//
// cuDNN is opened with dlopen, so that one binary also runs, without it, where it is not installed.
#include <bit>
#include <chrono>

#include <dlfcn.h>

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include "src/backend/cuda/check.h"
#include "src/backend/cuda/sdpa.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the frontend asks its user to define it
}

namespace offbook::backend {
namespace {

namespace fe = cudnn_frontend;
using Graph = fe::graph::Graph;
using TensorPtr = std::shared_ptr<fe::graph::Tensor_attributes>;

constexpr int64_t kOldestVersion = 91002;  // 9.10.0 and 9.10.1 are refused by the frontend itself

// Opened once for the process and never closed: cuDNN keeps threads and caches of its own.
// OB_CUDNN_LIBRARY_DIR and OB_CUDART_LIBRARY_DIR are where the build found them.
void* open_library(const char* name, const char* build_folder) {
  void* handle = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
  return handle != nullptr
             ? handle
             : dlopen((std::string(build_folder) + "/" + name).c_str(), RTLD_NOW | RTLD_GLOBAL);
}

std::string open_cudnn() {
  if (fe::cudnn_dlhandle == nullptr) {
    // The frontend looks for a shared CUDA runtime by name; found here first, that name is known.
    if (open_library("libcudart.so.13", OB_CUDART_LIBRARY_DIR) == nullptr) {
      return "libcudart.so.13 was not found";
    }
    fe::cudnn_dlhandle = open_library("libcudnn.so.9", OB_CUDNN_LIBRARY_DIR);
  }
  return fe::cudnn_dlhandle != nullptr ? "" : "libcudnn.so.9 was not found";
}

enum Uid : int64_t {
  kFirstTensor = 1,
  kLse = 20,
  kQueryLengths,
  kKeyLengths,
  kFirstOffsets = 30,
  kLseOffsets = 40
};

bool is_keyed(SdpaTensor t) {
  return t == SdpaTensor::k || t == SdpaTensor::v || t == SdpaTensor::d_k || t == SdpaTensor::d_v;
}

// The graph of one shape, and the tensors it is made of.
class Builder {
 public:
  // compute_capability: of the GPU to plan for, where none can be asked; 0: of the present one.
  explicit Builder(const SdpaShape& shape, int compute_capability = 0)
      : s_(shape), graph_(std::make_shared<Graph>()) {
    if (compute_capability > 0) {
      graph_->set_sm_version(compute_capability);  // before any node: each keeps a copy
    }
    graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (s_.packed) {
      query_lengths_ = table("query_lengths", kQueryLengths, s_.sequences);
      key_lengths_ = table("key_lengths", kKeyLengths, s_.sequences);
    }
  }

  std::shared_ptr<Graph> build() {
    if (s_.pass == SdpaPass::forward) {
      forward();
    } else {
      backward();
    }
    return graph_;
  }

 private:
  TensorPtr table(const char* name, int64_t uid, int64_t entries) {
    return graph_->tensor(fe::graph::Tensor_attributes()
                              .set_name(name)
                              .set_uid(uid)
                              .set_dim({entries, 1, 1, 1})
                              .set_stride({1, 1, 1, 1})
                              .set_data_type(fe::DataType_t::INT32));
  }

  void describe(fe::graph::Tensor_attributes& to, SdpaTensor which) {
    const auto i = static_cast<int64_t>(which);
    const bool keyed = is_keyed(which);
    const int64_t rows = keyed ? s_.max_keys : s_.max_queries;
    const SdpaShape::Strides& strides = s_.strides[static_cast<size_t>(i)];
    to.set_uid(kFirstTensor + i)
        .set_dim({s_.sequences, keyed ? s_.kv_heads : s_.heads, rows, s_.dim})
        .set_stride({rows * strides.row, strides.head, strides.row, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
    if (s_.packed) {
      to.set_ragged_offset(table("offsets", kFirstOffsets + i, s_.sequences + 1));
    }
  }

  TensorPtr input(SdpaTensor which) {
    fe::graph::Tensor_attributes attributes;
    describe(attributes, which);
    attributes.set_name("input" + std::to_string(static_cast<int>(which)));
    return graph_->tensor(attributes);
  }
  void output(const TensorPtr& tensor, SdpaTensor which) {
    tensor->set_output(true);
    describe(*tensor, which);
  }

  void describe_lse(fe::graph::Tensor_attributes& to) {
    const int64_t h = s_.heads;
    const int64_t n = s_.max_queries;
    to.set_uid(kLse).set_dim({s_.sequences, h, n, 1}).set_data_type(fe::DataType_t::FLOAT);
    if (s_.packed) {
      to.set_stride({h * n, 1, h, 1})
          .set_ragged_offset(table("lse_offsets", kLseOffsets, s_.sequences + 1));
    } else {
      to.set_stride({h * n, n, 1, 1});
    }
  }

  template <class Options>
  void mask(Options& options) {
    if (s_.mask == SdpaMask::causal) {
      options.set_causal_mask(true);
    } else if (s_.mask == SdpaMask::causal_from_end) {
      options.set_causal_mask_bottom_right(true);
    }
    options.set_attn_scale(s_.scale);
    if (s_.packed) {
      options.set_padding_mask(true).set_seq_len_q(query_lengths_).set_seq_len_kv(key_lengths_);
    }
  }

  void forward() {
    auto options =
        fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(s_.has_lse);
    mask(options);
    const auto [out, stats] =
        graph_->sdpa(input(SdpaTensor::q), input(SdpaTensor::k), input(SdpaTensor::v), options);
    output(out, SdpaTensor::out);
    if (s_.has_lse) {
      stats->set_output(true);
      describe_lse(*stats);
    }
  }

  void backward() {
    auto options = fe::graph::SDPA_backward_attributes()
                       .set_name("attention_backward")
                       .set_deterministic_algorithm(s_.repeatable);
    mask(options);
    if (s_.packed) {
      options.set_max_total_seq_len_q(s_.query_rows).set_max_total_seq_len_kv(s_.key_rows);
    }
    fe::graph::Tensor_attributes lse;
    lse.set_name("lse");
    describe_lse(lse);
    const auto [d_q, d_k, d_v] = graph_->sdpa_backward(
        input(SdpaTensor::q), input(SdpaTensor::k), input(SdpaTensor::v), input(SdpaTensor::out),
        input(SdpaTensor::d_out), graph_->tensor(lse), options);
    output(d_q, SdpaTensor::d_q);
    output(d_k, SdpaTensor::d_k);
    output(d_v, SdpaTensor::d_v);
  }

  const SdpaShape& s_;
  std::shared_ptr<Graph> graph_;
  TensorPtr query_lengths_;
  TensorPtr key_lengths_;
};

int tensors_of(SdpaPass pass) {
  return pass == SdpaPass::forward ? kSdpaForwardTensors : kSdpaTensors;
}

bool reads_lse(const SdpaShape& shape) {
  return shape.has_lse || shape.pass == SdpaPass::backward;
}

}  // namespace

struct SdpaLibrary::Plan {
  std::shared_ptr<Graph> graph;
  int64_t workspace_bytes = -1;
  std::string why_refused;
};

int64_t sdpa_table_entries(const SdpaShape& shape) {
  return 2 * shape.sequences + (tensors_of(shape.pass) + 1) * (shape.sequences + 1);
}

int64_t sdpa_bound(int64_t n, int64_t least) {
  if (n <= least) {
    return least;
  }
  const int64_t step = std::max<int64_t>(
      least, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(n - 1))) / 2);
  return (n + step - 1) / step * step;
}

size_t SdpaLibrary::Hash::operator()(const SdpaShape& s) const noexcept {
  uint64_t h = 0;
  const auto mix = [&](uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  };
  mix(static_cast<uint64_t>(s.pass) | static_cast<uint64_t>(s.mask) << 8 |
      uint64_t{s.packed} << 16 | uint64_t{s.has_lse} << 17 | uint64_t{s.repeatable} << 18);
  mix(static_cast<uint64_t>(s.heads) << 40 | static_cast<uint64_t>(s.kv_heads) << 20 |
      static_cast<uint64_t>(s.dim));
  for (const int64_t value : {s.sequences, s.max_queries, s.max_keys, s.query_rows, s.key_rows}) {
    mix(static_cast<uint64_t>(value));
  }
  for (const SdpaShape::Strides& strides : s.strides) {
    mix(static_cast<uint64_t>(strides.row) << 20 ^ static_cast<uint64_t>(strides.head));
  }
  mix(std::bit_cast<uint32_t>(s.scale));
  return h;
}

SdpaLibrary::SdpaLibrary(cudaStream_t stream) : stream_(stream), why_unavailable_(open_cudnn()) {
  if (!why_unavailable_.empty()) {
    return;
  }
  version_ = static_cast<int64_t>(fe::detail::get_backend_version());
  if (version_ < kOldestVersion) {
    why_unavailable_ = fmt::format("cuDNN {} is older than {}", version_, kOldestVersion);
    return;
  }
  cudnnHandle_t handle = nullptr;
  cudnnStatus_t status = fe::detail::create_handle(&handle);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = fe::detail::set_stream(handle, stream_);
  }
  if (status != CUDNN_STATUS_SUCCESS) {
    why_unavailable_ =
        fmt::format("opening cuDNN {} failed with status {}", version_, static_cast<int>(status));
  }
  handle_ = handle;
}

SdpaLibrary::~SdpaLibrary() {
  plans_.clear();
  if (handle_ != nullptr) {
    fe::detail::destroy_handle(static_cast<cudnnHandle_t>(handle_));
  }
}

SdpaLibrary::Plan& SdpaLibrary::plan_for(const SdpaShape& shape) {
  std::unique_ptr<Plan>& plan = plans_[shape];
  if (plan != nullptr) {
    return *plan;
  }
  plan = std::make_unique<Plan>();
  if (!why_unavailable_.empty()) {
    plan->why_refused = why_unavailable_;
    return *plan;
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto graph = Builder(shape).build();
  auto* const handle = static_cast<cudnnHandle_t>(handle_);
  fe::error_t status = graph->build(handle, {fe::HeurMode_t::A});
  seconds_planning_ +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (status.is_bad()) {
    plan->why_refused = status.get_message();
    return *plan;
  }
  fe::error_t sized = graph->get_workspace_size(plan->workspace_bytes);
  if (sized.is_bad()) {
    plan->workspace_bytes = -1;
    plan->why_refused = sized.get_message();
    return *plan;
  }
  plan->graph = graph;
  return *plan;
}

int64_t SdpaLibrary::workspace_bytes(const SdpaShape& shape) {
  return plan_for(shape).workspace_bytes;
}

const std::string& SdpaLibrary::why_refused(const SdpaShape& shape) {
  return plan_for(shape).why_refused;
}

std::vector<std::string> SdpaLibrary::refusals() const {
  std::vector<std::string> out;
  for (const auto& [shape, plan] : plans_) {
    if (!plan->why_refused.empty()) {
      out.push_back(fmt::format("{}{} of {} sequences, {} queries, {} keys, heads {}/{} x {}: {}",
                                shape.packed ? "packed " : "",
                                shape.pass == SdpaPass::forward ? "forward" : "backward",
                                shape.sequences, shape.max_queries, shape.max_keys, shape.heads,
                                shape.kv_heads, shape.dim, plan->why_refused));
    }
  }
  return out;
}

void SdpaLibrary::run(const SdpaShape& shape, const SdpaCall& call) {
  const Plan& plan = plan_for(shape);
  OB_CHECK(plan.graph != nullptr);
  std::unordered_map<int64_t, void*> pack;
  const int tensors = tensors_of(shape.pass);
  for (int i = 0; i < tensors; ++i) {
    pack[kFirstTensor + i] = call.tensors[static_cast<size_t>(i)];
  }
  if (reads_lse(shape)) {
    pack[kLse] = call.lse;
  }
  if (shape.packed) {
    int32_t* at = call.tables;
    pack[kQueryLengths] = at;
    pack[kKeyLengths] = at += shape.sequences;
    at += shape.sequences;
    for (int i = 0; i < tensors; ++i, at += shape.sequences + 1) {
      pack[kFirstOffsets + i] = at;
    }
    if (reads_lse(shape)) {
      pack[kLseOffsets] = at;
    }
  }
  fe::error_t status =
      plan.graph->execute(static_cast<cudnnHandle_t>(handle_), pack, call.workspace);
  OB_REQUIRE(status.is_good(), DeviceLost, "cuDNN attention failed when queued: {}",
             status.get_message());
}

std::string SdpaLibrary::validate(const SdpaShape& shape, int compute_capability) {
  const std::string why = open_cudnn();
  if (!why.empty()) {
    return why;
  }
  const auto graph = Builder(shape, compute_capability).build();
  fe::error_t status = graph->validate();
  return status.is_bad() ? status.get_message() : "";
}

}  // namespace offbook::backend
