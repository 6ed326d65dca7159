#include <limits>

#include "src/ops/ref.h"
#include "src/ops/registry.h"

namespace offbook::ops::ref {

void argmax(const ExecutionContext&, const ArgmaxArgs& a) {
  for (int64_t n = 0; n < a.x.dim(0); ++n) {
    double best = -std::numeric_limits<double>::infinity();
    int32_t at = 0;
    for (int64_t i = 0; i < a.x.dim(1); ++i) {
      if (get(a.x, n, i) > best) {
        best = get(a.x, n, i);
        at = static_cast<int32_t>(i);
      }
    }
    a.out.data<int32_t>()[n] = at;
  }
}

}  // namespace offbook::ops::ref
