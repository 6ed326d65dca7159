// Fused attention of cuDNN over packed rows, forward and backward; cuDNN is opened when first asked
// for.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <cuda_runtime_api.h>

namespace offbook::backend {

// The bf16 tensors of attention, [rows, heads, dim]; the order is that of SdpaShape::strides and
// SdpaCall::tensors.
enum class SdpaTensor : uint8_t { q, k, v, out, d_out, d_q, d_k, d_v };
inline constexpr int kSdpaTensors = 8;
inline constexpr int kSdpaForwardTensors = 4;

enum class SdpaPass : uint8_t { forward, backward };
// Which keys query t of a sequence with `length` queries and `count` keys sees.
enum class SdpaMask : uint8_t {
  full,
  causal,           // 0…t
  causal_from_end,  // 0…count - length + t
};

// What one execution plan is made for. The plan of a packed shape serves every table that stays
// within its bounds; callers round them up (sdpa_bound), because making a plan takes 0.1–1 s.
struct SdpaShape {
  SdpaPass pass = SdpaPass::forward;
  SdpaMask mask = SdpaMask::causal;
  // Packed: each sequence lies where SdpaTables say, lse is [rows, heads]. Else there is one
  // sequence of max_queries queries and max_keys keys from row 0 on, and lse is [heads, rows].
  bool packed = false;
  bool has_lse = false;  // of a forward pass; backward reads it always
  // Same bits each time. In a backward pass it costs a [heads, queries, keys] bf16 workspace a
  // sequence, and its traffic.
  bool repeatable = true;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t dim = 0;
  int64_t sequences = 1;
  int64_t max_queries = 0;  // of one sequence
  int64_t max_keys = 0;
  int64_t query_rows = 0;  // in sum, packed only
  int64_t key_rows = 0;
  struct Strides {
    int64_t row = 0;
    int64_t head = 0;
    bool operator==(const Strides&) const = default;
  };
  std::array<Strides, kSdpaTensors> strides{};
  float scale = 0;
  bool operator==(const SdpaShape&) const = default;
};

// i32 on the device, in this order: queries [sequences], keys [sequences], then for each tensor of
// the pass its first element [sequences + 1], then that of lse. Sequences past the last have no
// rows.
int64_t sdpa_table_entries(const SdpaShape& shape);

// The least bound of a plan that is not below n: two steps a doubling, at least `least`. Four steps
// needed 117 plans of 50–80 ms for the passes of 1,350 training steps, two need 31.
int64_t sdpa_bound(int64_t n, int64_t least = 64);

struct SdpaCall {
  std::array<void*, kSdpaTensors> tensors{};
  float* lse = nullptr;
  int32_t* tables = nullptr;  // packed only
  void* workspace = nullptr;  // of the plan's workspace_bytes
};

// Not thread-safe. Needs cuDNN 9.10.2 or newer, found as libcudnn.so.9 on the loader's path or
// where the build found it.
class SdpaLibrary {
 public:
  explicit SdpaLibrary(cudaStream_t stream);
  ~SdpaLibrary();
  SdpaLibrary(const SdpaLibrary&) = delete;
  SdpaLibrary& operator=(const SdpaLibrary&) = delete;

  // Why no shape is taken: no cuDNN, or one too old. Empty when it works.
  const std::string& why_unavailable() const noexcept { return why_unavailable_; }
  int64_t version() const noexcept { return version_; }  // 91900 for 9.19.0

  // Bytes of workspace the shape needs, or -1 when cuDNN refuses it (remembered; why_refused).
  // The first call for a shape makes its plan and must not be captured into a graph.
  int64_t workspace_bytes(const SdpaShape& shape);
  const std::string& why_refused(const SdpaShape& shape);
  // Queues the pass. `shape` is one that workspace_bytes took.
  void run(const SdpaShape& shape, const SdpaCall& call);

  size_t plans_made() const noexcept { return plans_.size(); }
  double seconds_planning() const noexcept { return seconds_planning_; }
  // One line for each shape that was refused: what it is, and why.
  std::vector<std::string> refusals() const;

  // Whether the frontend's own rules take the shape on a GPU of this compute capability (90); needs
  // the library, not a GPU. Empty, or what it says against it.
  static std::string validate(const SdpaShape& shape, int compute_capability);

 private:
  struct Plan;
  struct Hash {
    size_t operator()(const SdpaShape& shape) const noexcept;
  };
  Plan& plan_for(const SdpaShape& shape);

  cudaStream_t stream_;
  void* handle_ = nullptr;  // cudnnHandle_t
  int64_t version_ = 0;
  double seconds_planning_ = 0;
  std::string why_unavailable_;
  std::unordered_map<SdpaShape, std::unique_ptr<Plan>, Hash> plans_;
};

}  // namespace offbook::backend
