// Where and how operations run: passed as first argument, owned by whoever runs a pass.
#pragma once
#include <cstdint>
#include <string_view>

#include "src/backend/arena.h"
#include "src/backend/cpu/thread_pool.h"

namespace offbook::backend {

// A set of implementations of the operations. `reference` is the slow obvious truth on the CPU.
enum class Backend : uint8_t { reference = 0, cpu_avx2 = 1, cpu_avx512 = 2, cuda = 3 };
inline constexpr int kBackends = 4;
std::string_view to_string(Backend backend);

inline Device device_of(Backend backend) { return backend == Backend::cuda ? Device::cuda : Device::cpu; }

// Best CPU backend of this machine. Throws Unsupported, naming the CPU, without AVX2.
Backend best_cpu_backend();

// In which type matrix products multiply. Sums are always f32.
enum class Compute : uint8_t { f32, bf16 };

class OpProfile;   // times of operations: src/backend/op_profile.h
struct CudaState;  // stream, cuBLASLt handle, workspace: src/backend/cuda/state.h

// Not thread-safe: one pass at a time. Owns nothing; whoever makes it keeps the parts alive.
struct ExecutionContext {
  Backend backend = Backend::reference;
  Compute compute = Compute::f32;
  ThreadPool* pool = nullptr;
  Arena* arena = nullptr;
  CudaState* cuda = nullptr;     // set exactly when backend is cuda
  OpProfile* profile = nullptr;  // null: no operation is timed

  // A tensor in the arena, with undefined elements.
  Tensor make(Dtype dtype, const Shape& shape) const { return arena->make(dtype, shape); }
  Device device() const { return device_of(backend); }
  // Element type that models pass from operation to operation: bf16 halves what a GPU moves, where
  // products are bf16 anyway; the CPU's caches hold f32.
  Dtype activations() const {
    return device() == Device::cuda && compute == Compute::bf16 ? Dtype::bf16 : Dtype::f32;
  }
};

}  // namespace offbook::backend
