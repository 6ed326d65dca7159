#include "src/backend/compute_device.h"

#include <gtest/gtest.h>

#include "src/backend/gpu.h"
#include "src/base/error.h"

namespace offbook::backend {
namespace {

ErrorCode code_of(const std::string& name) {
  try {
    ComputeDevice device({.name = name, .threads = 1});
  } catch (const Error& e) {
    return e.code();
  }
  return ErrorCode::Io;
}

TEST(ComputeDevice, NamesAreChecked) {
  for (const char* name : {"gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "CPU"}) {
    EXPECT_EQ(code_of(name), ErrorCode::InvalidArgument) << name;
  }
}

TEST(ComputeDevice, AutoAlwaysFindsSomething) {
  ComputeDevice device({.name = "auto", .threads = 1});
  EXPECT_NE(device.backend(), Backend::reference);
  // It says why it took the CPU exactly where a GPU could have been taken.
  EXPECT_EQ(device.note().empty(), device.is_gpu() || !has_cuda()) << device.note();
  EXPECT_FALSE(device.description().empty());
}

TEST(ComputeDevice, TheSmallerInstructionSetCanBeAskedFor) {
  EXPECT_EQ(ComputeDevice({.name = "avx2", .threads = 1}).backend(), Backend::cpu_avx2);
}

TEST(ComputeDevice, AGpuByNameIsNeverReplacedByTheCpu) {
  if (ComputeDevice({.threads = 1}).is_gpu()) {
    EXPECT_EQ(code_of("cuda:4096"), ErrorCode::Unsupported);
  } else {
    EXPECT_EQ(code_of("cuda"), ErrorCode::Unsupported);
  }
}

TEST(ComputeDevice, CpuContextsComputeOnTheCpu) {
  ComputeDevice device({.threads = 1});
  const ExecutionContext ctx = device.cpu_context(Compute::f32);
  EXPECT_EQ(ctx.device(), Device::cpu);
  EXPECT_EQ(ctx.make(Dtype::f32, {3}).device(), Device::cpu);
  EXPECT_EQ(device.context(Compute::bf16).make(Dtype::f32, {3}).device(),
            device.is_gpu() ? Device::cuda : Device::cpu);
}

// Training packs sequences, so that each pass has another number of rows. Tensors of 12 to 18 MiB
// that nothing touches: no memory is taken.
TEST(ComputeDevice, LongerPassesDoNotLeaveTheBlocksOfShorterOnesBehind) {
  ComputeDevice device({.name = "cpu", .threads = 1});
  const ExecutionContext ctx = device.context(Compute::f32);
  for (int64_t rows = 2000; rows <= 3000; rows += 100) {
    ArenaScope scope(*ctx.arena);
    for (int i = 0; i < 30; ++i) {
      ctx.make(Dtype::f32, {rows, 1536});
      ctx.make(Dtype::f32, {rows, 576});
    }
  }
  EXPECT_LE(ctx.arena->bytes_reserved(), ctx.arena->peak_bytes() * 3 / 2);
}

TEST(ComputeDevice, ArenasOfOthersGrowWithoutMovingWhatTheyGave) {
  ComputeDevice device({.name = "cpu", .threads = 1});
  Arena arena = arena_like(device.context(Compute::f32));
  const Arena::Mark start = arena.mark();
  const Tensor first = arena.make(Dtype::f32, {16});
  for (int i = 0; i < 4; ++i) {
    arena.make(Dtype::f32, {int64_t{3} << 20});
  }
  EXPECT_EQ(arena.peak_bytes(), size_t{64} + 192 + (size_t{48} << 20));
  arena.rewind(start);
  EXPECT_EQ(arena.make(Dtype::f32, {16}).raw(), first.raw());
}

}  // namespace
}  // namespace offbook::backend
