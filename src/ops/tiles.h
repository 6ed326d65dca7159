// Work cut into tiles that each need scratch memory: one piece of scratch a thread, whatever the
// number of tiles.
#pragma once
#include <algorithm>
#include <atomic>

#include "src/backend/context.h"

namespace offbook::ops {

// Calls fn(tile, scratch) for every tile in [0, tiles), in any order, on the pool's threads;
// scratch points to `scratch_bytes` of the context's arena, aligned to 64, that no other running
// call has. Memory: threads · scratch_bytes, given back on return.
template <typename Fn>
void for_tiles(const backend::ExecutionContext& ctx, int64_t tiles, int64_t scratch_bytes,
               const Fn& fn) {
  if (scratch_bytes == 0) {
    ctx.pool->run(tiles, [&](int64_t tile) { fn(tile, static_cast<std::byte*>(nullptr)); });
    return;
  }
  backend::ArenaScope scope(*ctx.arena);
  const int64_t workers = std::min<int64_t>(tiles, ctx.pool->threads());
  const int64_t each = (scratch_bytes + 63) / 64 * 64;
  const Tensor scratch = ctx.make(Dtype::u8, {workers, each});
  std::atomic<int64_t> next{0};
  ctx.pool->run(workers, [&](int64_t worker) {
    for (int64_t tile = next.fetch_add(1); tile < tiles; tile = next.fetch_add(1)) {
      fn(tile, scratch.raw() + worker * each);
    }
  });
}

}  // namespace offbook::ops
