#include "src/retrieve/dense_index.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/base/float16.h"
#include "src/base/random.h"
#include "src/store/document_table.h"

namespace offbook::retrieve {
namespace {

constexpr int64_t kDims = 16;

// Random vectors of length 1, `count` for each of the documents 1 … documents.
std::vector<store::VectorBlock> random_blocks(int documents, int64_t count, Dtype dtype) {
  Random random(5);
  std::vector<store::VectorBlock> blocks;
  for (int64_t d = 1; d <= documents; ++d) {
    store::VectorBlock block{.encoder = "e",
                             .ids = Tensor::empty(Dtype::i64, {count}),
                             .vectors = Tensor::empty(dtype, {count, kDims})};
    for (int64_t i = 0; i < count; ++i) {
      block.ids.data<int64_t>()[i] = (d << store::kOrdinalBits) + i;
      double sum = 0;
      std::vector<double> row(kDims);
      for (double& x : row) {
        x = random.normal();
        sum += x * x;
      }
      for (int64_t k = 0; k < kDims; ++k) {
        const auto x = static_cast<float>(row[static_cast<size_t>(k)] / std::sqrt(sum));
        if (dtype == Dtype::f32) {
          block.vectors.data<float>()[i * kDims + k] = x;
        } else {
          block.vectors.data<uint16_t>()[i * kDims + k] = to_bf16(x).bits;
        }
      }
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

std::vector<float> row_of(const store::VectorBlock& block, int64_t row) {
  std::vector<float> out;
  for (int64_t k = 0; k < kDims; ++k) {
    out.push_back(to_float(Bf16{block.vectors.data<uint16_t>()[row * kDims + k]}));
  }
  return out;
}

class DenseIndexTest : public testing::Test {
 protected:
  backend::ThreadPool pool_{2};
  backend::Arena arena_;
  backend::ExecutionContext ctx_{
      .backend = backend::Backend::reference, .pool = &pool_, .arena = &arena_};
};

TEST_F(DenseIndexTest, FindsAVectorByItself) {
  const auto blocks = random_blocks(3, 20, Dtype::bf16);
  DenseIndex index(ctx_, blocks, kDims);
  const auto hits = index.search(row_of(blocks[1], 7), 3);
  ASSERT_EQ(hits.size(), 3u);
  EXPECT_EQ(hits[0].passage_id, (int64_t{2} << store::kOrdinalBits) + 7);
  EXPECT_NEAR(hits[0].cosine, 1, 0.01);
  EXPECT_GE(hits[1].cosine, hits[2].cosine);
}

TEST_F(DenseIndexTest, LooksOnlyAtTheDocumentsAskedFor) {
  const auto blocks = random_blocks(3, 20, Dtype::bf16);
  DenseIndex index(ctx_, blocks, kDims);
  const std::vector<int64_t> allowed{3};
  const auto hits = index.search(row_of(blocks[1], 7), 100, &allowed);
  EXPECT_EQ(hits.size(), 20u);
  EXPECT_THAT(hits, testing::Each(testing::Field(&DenseHit::passage_id,
                                                 testing::Ge(int64_t{3} << store::kOrdinalBits))));
}

TEST_F(DenseIndexTest, EqualVectorsComeInOrderOfIds) {
  auto blocks = random_blocks(1, 4, Dtype::f32);
  std::fill_n(blocks[0].vectors.data<float>(), 4 * kDims, 0.25f);
  DenseIndex index(ctx_, blocks, kDims);
  const auto hits = index.search(std::vector<float>(kDims, 0.25f), 4);
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(hits[static_cast<size_t>(i)].passage_id, (int64_t{1} << store::kOrdinalBits) + i);
  }
}

TEST_F(DenseIndexTest, TheGraphFindsWhatTheScanFinds) {
  const auto blocks = random_blocks(2, 300, Dtype::bf16);
  DenseIndex exact(ctx_, blocks, kDims);
  DenseIndex graph(ctx_, blocks, kDims, 100);
  EXPECT_TRUE(exact.is_exact());
  EXPECT_FALSE(graph.is_exact());
  int same = 0;
  for (int64_t q = 0; q < 50; ++q) {
    const auto query = row_of(blocks[0], q);
    same += exact.search(query, 1)[0].passage_id == graph.search(query, 1)[0].passage_id;
  }
  EXPECT_EQ(same, 50);
}

TEST_F(DenseIndexTest, NamesWrongSizes) {
  const auto blocks = random_blocks(1, 4, Dtype::bf16);
  EXPECT_THROW(DenseIndex(ctx_, blocks, 8), Error);
  DenseIndex index(ctx_, blocks, kDims);
  EXPECT_THROW(index.search(std::vector<float>(3), 1), Error);
  EXPECT_TRUE(index.search(std::vector<float>(kDims), 0).empty());
}

TEST_F(DenseIndexTest, AnEmptyCorpusGivesNothing) {
  DenseIndex index(ctx_, {}, kDims);
  EXPECT_TRUE(index.search(std::vector<float>(kDims), 5).empty());
}

}  // namespace
}  // namespace offbook::retrieve
