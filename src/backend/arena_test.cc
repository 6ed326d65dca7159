#include "src/backend/arena.h"

namespace offbook::backend {
namespace {

TEST(Arena, SamePassGetsSameAddressesAndNoNewBlocks) {
  Arena arena(host_allocator(), 4096);
  std::vector<const std::byte*> first;
  size_t blocks = 0;
  for (int pass = 0; pass < 3; ++pass) {
    ArenaScope scope(arena);
    std::vector<const std::byte*> seen;
    for (int64_t n : {10, 1000, 5000, 3, 0}) {
      seen.push_back(arena.make(Dtype::f32, {n}).raw());
    }
    if (pass == 0) {
      first = seen;
      blocks = arena.blocks_allocated();
    }
    EXPECT_EQ(seen, first);
    EXPECT_EQ(arena.blocks_allocated(), blocks);
  }
}

TEST(Arena, TensorsDoNotOverlapAndAreAligned) {
  Arena arena(host_allocator(), 1024);
  std::vector<Tensor> made;
  for (int i = 1; i < 20; ++i) {
    made.push_back(arena.make(Dtype::bf16, {i * 40}));
    std::memset(made.back().raw(), i, static_cast<size_t>(made.back().bytes()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(made.back().raw()) % 64, 0u);
  }
  for (int i = 1; i < 20; ++i) {
    const Tensor& t = made[static_cast<size_t>(i - 1)];
    for (int64_t b = 0; b < t.bytes(); ++b) {
      ASSERT_EQ(static_cast<int>(t.raw()[b]), i);
    }
  }
}

}  // namespace
}  // namespace offbook::backend
