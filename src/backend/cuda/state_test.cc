// Needs a GPU for most of it: without one, the tests check that the error says so.
#include "src/backend/cuda/state.h"

#include <cstring>

#include <gtest/gtest.h>

#include "src/backend/cuda/allocator.h"
#include "src/backend/cuda/check.h"
#include "src/backend/cuda/gemm.h"
#include "src/backend/transfer.h"

namespace offbook::backend {
namespace {

class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    if (!find_cuda_device(0, &why_not)) {
      GTEST_SKIP() << why_not;
    }
    state = std::make_unique<CudaState>();
    context.cuda = state.get();
  }

  Tensor to_host(const Tensor& t) const {
    Tensor out = Tensor::empty(t.dtype(), t.shape());
    download(context, t, {out.raw(), static_cast<size_t>(out.bytes())});
    return out;
  }

  std::unique_ptr<CudaState> state;
  CudaAllocator memory;
  Arena arena{memory};
  ExecutionContext context{.backend = Backend::cuda, .arena = &arena};
};

// What a machine without a usable GPU says, for machines that are not here.
TEST(CudaDeviceQuery, NoDriverAnOldOneAndAnOldGpuAreNamed) {
  const auto message_of = [](void (*require)(const CudaDevice&), const CudaDevice& device) {
    try {
      require(device);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::Unsupported) << e.what();
      return std::string(e.what());
    }
    return std::string();
  };
  CudaDevice device{
      .name = "NVIDIA A100", .major = 8, .runtime_version = 13'000, .kernels_for = "80"};
  const std::string none = message_of(require_driver, device);
  EXPECT_NE(none.find("no NVIDIA driver"), std::string::npos) << none;
  EXPECT_NE(none.find("--device cpu"), std::string::npos) << none;
  device.driver_version = 12'040;
  const std::string old = message_of(require_driver, device);
  EXPECT_NE(old.find("up to 12.4, this build needs 13.0"), std::string::npos) << old;
  device.driver_version = 13'020;
  EXPECT_EQ(message_of(require_driver, device), "");
  EXPECT_EQ(message_of(require_generation, device), "");
  const std::string turing =
      message_of(require_generation, {.name = "NVIDIA T4", .major = 7, .minor = 5});
  EXPECT_NE(turing.find("NVIDIA T4 has compute capability 7.5"), std::string::npos) << turing;
}

TEST(CudaDeviceQuery, AGenerationWithoutKernelsIsNamed) {
  const auto runs = [](const char* kernels_for, int major, int minor) {
    try {
      require_generation(
          {.name = "GPU", .major = major, .minor = minor, .kernels_for = kernels_for});
    } catch (const Error& e) {
      EXPECT_NE(
          std::string(e.what()).find(fmt::format("CMAKE_CUDA_ARCHITECTURES={}{}", major, minor)),
          std::string::npos)
          << e.what();
      return false;
    }
    return true;
  };
  EXPECT_TRUE(runs("90a", 9, 0));
  EXPECT_FALSE(runs("90a", 10, 0));  // its instructions are of that generation alone
  EXPECT_FALSE(runs("90a", 8, 9));
  EXPECT_TRUE(runs("80,90a", 8, 9));
  EXPECT_TRUE(runs("80,90a", 10, 0));  // compiled when loaded
  EXPECT_FALSE(runs("80-real,90a", 10, 0));
  EXPECT_TRUE(runs("80-real,90a", 8, 6));
  EXPECT_FALSE(runs("89", 8, 0));
}

// What the runtime reports becomes what the program can act on.
TEST(CudaErrors, CodesAreSorted) {
  const auto code_of = [](cudaError_t reported) {
    try {
      throw_cuda(reported, "reading pages");
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("reading pages"), std::string::npos) << e.what();
      return e.code();
    }
  };
  EXPECT_EQ(code_of(cudaErrorMemoryAllocation), ErrorCode::OutOfMemory);
  EXPECT_EQ(code_of(cudaErrorNoKernelImageForDevice), ErrorCode::Unsupported);
  EXPECT_EQ(code_of(cudaErrorIllegalAddress), ErrorCode::DeviceLost);
  EXPECT_EQ(code_of(cudaErrorECCUncorrectable), ErrorCode::DeviceLost);
  EXPECT_EQ(code_of(cudaErrorDevicesUnavailable), ErrorCode::Unsupported);
}

TEST(CudaDeviceQuery, SaysWhatIsMissing) {
  try {
    open_cuda_device(1000);
    FAIL() << "GPU 1000 does not exist";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::Unsupported) << e.what();
  }
}

TEST_F(CudaTest, BytesGoInAndOut) {
  Tensor host = Tensor::empty(Dtype::f32, {3, 5});
  for (int i = 0; i < 15; ++i) {
    host.data<float>()[i] = static_cast<float>(i);
  }
  const Tensor back = to_host(to_device(context, host));
  EXPECT_EQ(std::memcmp(back.raw(), host.raw(), 60), 0);
}

TEST_F(CudaTest, BlocksAreKeptAndLimited) {
  CudaAllocator allocator(size_t{16} << 20);
  std::byte* first = nullptr;
  {
    const auto block = allocator.allocate(size_t{4} << 20);
    first = block->data();
    EXPECT_EQ(block->device(), Device::cuda);
    EXPECT_EQ(allocator.bytes_in_use(), size_t{4} << 20);
  }
  EXPECT_EQ(allocator.bytes_kept(), size_t{4} << 20);
  EXPECT_EQ(allocator.allocate(size_t{4} << 20)->data(), first);
  try {
    allocator.allocate(size_t{32} << 20);
    FAIL() << "over the limit";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::OutOfMemory);
    EXPECT_NE(std::string(e.what()).find("32 MiB"), std::string::npos) << e.what();
  }
  const auto after = allocator.allocate(size_t{8} << 20);
  EXPECT_NE(after, nullptr);
}

TEST_F(CudaTest, ACardThatIsFullIsAnErrorNotTheEnd) {
  CudaAllocator allocator;
  EXPECT_THROW(allocator.allocate(size_t{1} << 50), Error);
  EXPECT_NE(allocator.allocate(1024), nullptr);
}

TEST_F(CudaTest, ProductsAreRowMajor) {
  Tensor a = Tensor::empty(Dtype::f32, {2, 3});  // 1…6
  Tensor b = Tensor::empty(Dtype::f32, {4, 3});  // row j is j, j, j
  Tensor c = Tensor::zeros(Dtype::f32, {2, 4});
  for (int i = 0; i < 6; ++i) {
    a.data<float>()[i] = static_cast<float>(i + 1);
  }
  for (int i = 0; i < 12; ++i) {
    b.data<float>()[i] = static_cast<float>(i / 3);
  }
  const Tensor da = to_device(context, a);
  const Tensor db = to_device(context, b);
  const Tensor dc = to_device(context, c);
  state->gemm->run({.a = da.raw(),
                    .b = db.raw(),
                    .c = dc.raw(),
                    .m = 2,
                    .n = 4,
                    .k = 3,
                    .lda = 3,
                    .ldb = 3,
                    .ldc = 4,
                    .transpose_b = Transpose::yes,
                    .factor_dtype = Dtype::f32,
                    .c_dtype = Dtype::f32},
                   state->stream.get());
  const Tensor out = to_host(dc);
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 4; ++j) {
      EXPECT_EQ(out.data<float>()[i * 4 + j], static_cast<float>((i == 0 ? 6 : 15) * j));
    }
  }
}

}  // namespace
}  // namespace offbook::backend
