#include "src/backend/cpu/gemm.h"

#include <memory>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>
#include <omp.h>

#include "src/base/error.h"

namespace offbook::backend {
namespace {

constexpr size_t kKeptShapes = 256;  // a model has about ten, times prompt lengths

dnnl::memory::data_type type_of(Dtype dtype) {
  return dtype == Dtype::f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

// What oneDNN compiles for: the arguments without the addresses.
GemmArgs shape_of(GemmArgs args) {
  args.a = nullptr;
  args.b = nullptr;
  args.c = nullptr;
  return args;
}

struct Hash {
  size_t operator()(const GemmArgs& g) const noexcept {
    size_t h = 0;
    for (const int64_t x : {g.m, g.n, g.k, g.lda, g.ldb, g.ldc, static_cast<int64_t>(g.in)}) {
      h = (h ^ static_cast<size_t>(x)) * 0x9e3779b97f4a7c15ull;
      h ^= h >> 29;
    }
    return h;
  }
};

class Product {
 public:
  Product(const GemmArgs& g, const dnnl::engine& engine) {
    using dnnl::memory;
    const auto strides = [](int64_t ld, bool is_transposed) {
      return is_transposed ? memory::dims{1, ld} : memory::dims{ld, 1};
    };
    const memory::desc a({g.m, g.k}, type_of(g.in), strides(g.lda, g.a_is_transposed));
    const memory::desc b({g.k, g.n}, type_of(g.in), strides(g.ldb, g.b_is_transposed));
    const memory::desc c({g.m, g.n}, type_of(g.out), strides(g.ldc, false));
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (g.alpha != 1.0f) {
      attributes.set_output_scales(0, {g.alpha});
    }
    if (g.is_accumulated) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    const dnnl::matmul::primitive_desc description({a, b, c}, attributes, engine);
    matmul_ = dnnl::matmul(description);
    scratch_bytes_ = description.scratchpad_desc().get_size();
    arguments_ = {{DNNL_ARG_SRC, memory(a, engine, nullptr)},
                  {DNNL_ARG_WEIGHTS, memory(b, engine, nullptr)},
                  {DNNL_ARG_DST, memory(c, engine, nullptr)},
                  {DNNL_ARG_SCRATCHPAD, memory(description.scratchpad_desc(), engine, nullptr)}};
  }

  size_t scratch_bytes() const { return scratch_bytes_; }

  void run(const GemmArgs& g, void* scratch, const dnnl::stream& stream) {
    arguments_.at(DNNL_ARG_SRC).set_data_handle(const_cast<void*>(g.a));
    arguments_.at(DNNL_ARG_WEIGHTS).set_data_handle(const_cast<void*>(g.b));
    arguments_.at(DNNL_ARG_DST).set_data_handle(g.c);
    arguments_.at(DNNL_ARG_SCRATCHPAD).set_data_handle(scratch);
    matmul_.execute(stream, arguments_);
  }

 private:
  dnnl::matmul matmul_;
  size_t scratch_bytes_ = 0;
  std::unordered_map<int, dnnl::memory> arguments_;
};

// One thread's primitives.
class Products {
 public:
  Products() {
    omp_set_num_threads(1);  // of teams this thread starts, which oneDNN asks for when it compiles
    engine_ = dnnl::engine(dnnl::engine::kind::cpu, 0);
    stream_ = dnnl::stream(engine_);
  }

  void run(const GemmArgs& g) {
    Product& product = find(shape_of(g));
    if (scratch_.size() < product.scratch_bytes() + kAlign) {
      scratch_.resize(product.scratch_bytes() + kAlign);
    }
    void* aligned = scratch_.data();
    size_t space = scratch_.size();
    std::align(kAlign, product.scratch_bytes(), aligned, space);
    product.run(g, aligned, stream_);
  }

 private:
  static constexpr size_t kAlign = 64;

  Product& find(const GemmArgs& shape) {
    if (const auto it = products_.find(shape); it != products_.end()) {
      return it->second;
    }
    if (products_.size() >= kKeptShapes) {
      products_.clear();
    }
    return products_.try_emplace(shape, shape, engine_).first->second;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::vector<std::byte> scratch_;
  std::unordered_map<GemmArgs, Product, Hash> products_;
};

}  // namespace

bool has_onednn() noexcept {
  return true;
}

void onednn_gemm(const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) {
    return;
  }
  OB_CHECK(args.k > 0);
  try {
    thread_local Products products;
    products.run(args);
  } catch (const dnnl::error& e) {
    OB_THROW(Unsupported, "oneDNN refuses a matrix product [{}, {}] × [{}, {}] of {}: {}", args.m,
             args.k, args.k, args.n, dtype_info(args.in).name, e.message);
  }
}

}  // namespace offbook::backend
